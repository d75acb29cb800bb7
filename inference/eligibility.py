"""Whether a model may say anything of an ECG: the manifest says whom it is for, and a site may be stricter."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import msgspec

from schemas.ecg_record import EcgRecord
from schemas.messages import Phenotype, Quality, QualityWarning, Risk

from .manifest import ADULT_YEARS, Manifest
from .readout import Finding
from .site_policy import HEAD_NOT_LEARNED, REASONS, Reason, SitePolicy

EXCLUDING_WARNINGS: dict[str, Reason] = {
    "paced": "paced",
    "pacing_spikes": "paced",
    "limb_lead_reversal": "leads_exchanged",
    "chest_lead_reversal": "leads_exchanged",
    "lead_order": "leads_exchanged",
    "einthoven": "leads_exchanged",
    "no_like_beats": "low_quality",
    "implausible_rate": "low_quality",
    "narrow_qrs": "low_quality",
    "partly_flat_lead": "low_quality",
    "high_peak": "low_quality",
}
"""The warnings after which an ECG is not assessable. A low amplitude is none of them: it may be a sign of disease."""


def excluding(reason: Reason) -> tuple[str, ...]:
    """Return the warnings that make an ECG not assessable for a reason."""
    return tuple(code for code, own in EXCLUDING_WARNINGS.items() if own == reason)


class EligibilityRule:
    """What the model and the site ask of an ECG, together."""

    def __init__(self, manifest: Manifest, site: SitePolicy) -> None:
        asked = manifest.for_whom
        self._youngest = max(asked.min_age_years, site.min_age_years or 0.0)
        self._oldest = min(_or_infinite(asked.max_age_years), _or_infinite(site.max_age_years))
        self._age_required = asked.age_required or site.age_required
        self._passed_over = site.screen_anyway | set(asked.takes)
        self._always: tuple[Reason, ...] = () if manifest.trained else ("untrained_weights",)
        self._unlearned = frozenset(head.name for head in manifest.diseases if not head.learned)
        self._remark = _screened_anyway(site) if site.screen_anyway else None

    def judge(self, record: EcgRecord, quality: Quality, finding: Finding) -> tuple[Quality, Finding]:
        """Return the quality with what the rule remarks, and the finding with what the rule makes of its risks."""
        remarks = tuple(self._remarks(record))
        if remarks:
            quality = msgspec.structs.replace(quality, warnings=(*quality.warnings, *remarks))
        reasons = self.reasons(record, quality)
        if not reasons and not self._unlearned:
            return quality, finding
        risks = tuple(self._risk(risk, reasons) for risk in finding.risks)
        phenotypes = tuple(map(_uninformative, finding.phenotypes)) if reasons else finding.phenotypes
        return quality, replace(finding, risks=risks, phenotypes=phenotypes)

    def reasons(self, record: EcgRecord, quality: Quality) -> tuple[Reason, ...]:
        """Return why the ECG is not assessable; nothing if it is."""
        codes = {warning.code for warning in quality.warnings}
        found = {EXCLUDING_WARNINGS[code] for code in codes & EXCLUDING_WARNINGS.keys()}
        found.update(self._of_age(record.age_years), self._always)
        return tuple(reason for reason in REASONS if reason in found and reason not in self._passed_over)

    def _of_age(self, years: float | None) -> Iterator[Reason]:
        if years is None:
            if self._age_required:
                yield "age_unknown"
        elif not self._youngest <= years <= self._oldest:
            yield "paediatric" if years < ADULT_YEARS else "age_out_of_range"

    def _remarks(self, record: EcgRecord) -> Iterator[QualityWarning]:
        if record.age_years is None and (self._youngest > 0 or self._oldest < math.inf):
            yield QualityWarning(code="age_unknown", detail=f"no age is given, and the model is for {self._ages()}")
        if self._remark is not None:
            yield self._remark

    def _ages(self) -> str:
        until = f" to {self._oldest:g}" if self._oldest < math.inf else " and more"
        return f"{self._youngest:g}{until} years"

    def _risk(self, risk: Risk, reasons: tuple[Reason, ...]) -> Risk:
        codes = (*reasons, HEAD_NOT_LEARNED) if risk.disease in self._unlearned else reasons
        if not codes:
            return risk
        return msgspec.structs.replace(risk, flagged=False, verdict="not_assessable", reasons=codes)


def _uninformative(phenotype: Phenotype) -> Phenotype:
    return msgspec.structs.replace(phenotype, half_width=None, informative=False)


def _or_infinite(years: float | None) -> float:
    return math.inf if years is None else years


def _screened_anyway(site: SitePolicy) -> QualityWarning:
    listed = ", ".join(reason for reason in REASONS if reason in site.screen_anyway)
    sentence = f"this site screens ECGs that the model is not for: {listed}"
    return QualityWarning(code="screened_anyway", detail=sentence, numbers={"reasons": listed})
