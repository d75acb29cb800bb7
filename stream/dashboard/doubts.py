"""What a person must know before the numbers of a report are believed, in a few words each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from inference.eligibility import EXCLUDING_WARNINGS
from inference.site_policy import excluded_by, reasons_in_words
from schemas.messages import DISEASES, Quality, QualityWarning, Risk, RiskReport

OTHER = "other"
MAX_WORDS = 200
"""Characters of a doubt: whoever writes a report may invent reasons."""
NOT_ASSESSABLE = "not_assessable"
WORDS = {
    "limb_lead_reversal": "limb leads look exchanged",
    "chest_lead_reversal": "chest leads look exchanged",
    "lead_order": "aVR, aVL and aVF look exchanged",
    "einthoven": "I + III is not II",
    "lead_called_otherwise": "a lead has two names",
    "paced": "paced",
    "pacing_spikes": "pacing spikes",
    "no_like_beats": "no beats alike",
    "implausible_rate": "implausible rate",
    "narrow_qrs": "implausibly narrow QRS",
    "partly_flat_lead": "a lead is partly flat",
    "doubtful_lead": "the recorder doubts a lead",
    "high_peak": "artefact",
    "low_amplitude": "small amplitudes",
    "short_nan_run": "missing samples filled in",
    "gap_left_out": "missing samples left out",
    "uncalibrated": "gain not stated",
    "assumed_rate": "sample rate not stated",
    "age_unknown": "age unknown",
}
"""The gate's warnings that make an ECG's numbers doubtful, the gravest first."""
NO_DOUBTS = frozenset(
    {
        "longer_than_10s",
        "derived_leads",
        "leads_aligned",
        "cut_to_fit",
        "padding_kept",
        "offset_not_applied",
        "implausible_time",
        "recorded_at_unsure",
        "screened_anyway",
    }
)
"""Warnings that say nothing against the numbers of this ECG. A time is doubted beside the time; what a site screens
anyway stands in every one of its reports, and what is special about an ECG has a warning of its own."""


class Doubt(msgspec.Struct, frozen=True):
    """One doubt."""

    code: str
    """Of the warning; `not_assessable`; or `other` for those that are only counted."""
    words: str


def doubts_of(report: RiskReport) -> tuple[Doubt, ...]:
    """Return the doubts about a report, the gravest first. There are few, however many warnings a report has."""
    risks = report.risks[: len(DISEASES)]
    return (*_exclusions(risks), *_warnings(report.quality.warnings, excluded_by(risks)))


def doubts_about(quality: Quality | None) -> tuple[Doubt, ...]:
    """Return the doubts about a signal alone, the gravest first."""
    return () if quality is None else tuple(_warnings(quality.warnings, ()))


def _exclusions(risks: Sequence[Risk]) -> Iterator[Doubt]:
    if excluded := excluded_by(risks):
        yield Doubt(NOT_ASSESSABLE, f"not assessable: {reasons_in_words(excluded)}"[:MAX_WORDS])
        return
    for reasons in dict.fromkeys(risk.reasons for risk in risks if not risk.is_assessable):
        diseases = ", ".join(risk.disease.replace("_", " ") for risk in risks if risk.reasons == reasons)
        yield Doubt(NOT_ASSESSABLE, f"not assessable for {diseases}: {reasons_in_words(reasons)}"[:MAX_WORDS])


def _warnings(warnings: Iterable[QualityWarning], said: Sequence[str]) -> Iterator[Doubt]:
    """Yield the doubts of the warnings, but for those that an exclusion says already."""
    found = {warning.code for warning in warnings}
    for code, words in WORDS.items():
        if code in found and EXCLUDING_WARNINGS.get(code, code) not in said:
            yield Doubt(code, words)
    if others := len(found - WORDS.keys() - NO_DOUBTS):
        yield Doubt(OTHER, f"{others} other warning{'' if others == 1 else 's'}")
