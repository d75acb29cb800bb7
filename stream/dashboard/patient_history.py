"""What changed since the earlier ECGs of a patient, as far as the two reports allow to say so.

A number that differs has not changed yet. An estimate has changed if the intervals of both do not meet, and if one
model gave both: else the difference may be the model's. A measurement of the ECG itself has changed if the two differ
by more than both can be wrong. Of an axis nobody knows how wrong it can be, and a probability has no interval: of
these the page shows both, and how the verdicts differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from inference.ecg_measurements import HEART_RATE, PR, QRS, QT, QTC
from inference.site_policy import excluded_by
from schemas.messages import EcgMeasurement, Phenotype, Risk, RiskReport, decode_message

from .explanations import ECG_LABELS, LABELS
from .recent_records import RecentRecords

SHOWN = 3
"""How many earlier ECGs stand beside the present one."""
ERRORS = {HEART_RATE: 1.2, PR: 20.0, QRS: 24.0, QT: 18.0, QTC: 18.0}
"""How wrong nine of ten measurements are at most, in their units: the larger of the two halves of LUDB in
docs/benchmarks.md. QTc is QT at a rate that is hardly wrong."""
ALWAYS = (
    "LVEF",
    "LVEDV",
    "LVESV",
    "LVM",
    "RVEF",
    "LA_max_volume",
    "LV_wall_thickness_global",
    "LV_longitudinal_strain_global",
)
"""The estimates that are compared in any case. Others are, where they changed."""

Kind = Literal["risk", "ecg", "estimate"]


class EarlierEcg(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier ECG of the patient; times are seconds since 1970."""

    record_id: str
    at: float
    """When it was recorded, or reported, where nobody knows the former."""
    model: str
    is_other_model: bool
    """Whether another model, or another version, gave its numbers."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One number of one ECG."""

    value: float
    half_width: float | None = None
    flagged: bool = False
    change: str | None = None
    """What may be said of the way from this number of an earlier ECG to that of the present one; None: nothing."""


class ComparedLine(msgspec.Struct, frozen=True, kw_only=True):
    """One quantity in the present ECG and in earlier ones. None stands for a number that is not there."""

    kind: Kind
    name: str
    label: str
    unit: str
    now: Reading | None
    then: tuple[Reading | None, ...]


class PatientHistory(msgspec.Struct, frozen=True, kw_only=True):
    """What else is kept of the patient of a record."""

    earlier: tuple[EarlierEcg, ...]
    more_earlier: int
    """How many earlier ones are kept beside those."""
    later: int
    """How many later ECGs are kept."""
    latest: str | None
    """The record id of the latest of them."""
    lines: tuple[ComparedLine, ...]


def compose_history(records: RecentRecords, report: RiskReport) -> PatientHistory | None:
    """Return the history of a report's patient; None if no other ECG of the patient is kept."""
    others = records.of_same_patient(report.record_id)
    if not others:
        return None
    here = records.recorded_at(report.record_id), report.record_id
    later = [name for name in others if (records.recorded_at(name), name) > here]
    earlier = others[len(later) :]
    shown = {name: _report(records, name) for name in earlier[:SHOWN]}
    return PatientHistory(
        earlier=tuple(_earlier(report, other, records.recorded_at(name)) for name, other in shown.items()),
        more_earlier=len(earlier) - len(shown),
        later=len(later),
        latest=next(iter(later), None),
        lines=tuple(_lines(report, list(shown.values()))) if shown else (),
    )


def _report(records: RecentRecords, record_id: str) -> RiskReport:
    return decode_message(RiskReport, records.report(record_id) or b"")


def _earlier(report: RiskReport, other: RiskReport, at: float) -> EarlierEcg:
    return EarlierEcg(
        record_id=other.record_id,
        at=at,
        model=f"{other.model.name} {other.model.version}",
        is_other_model=_is_other_model(report, other),
    )


def _is_other_model(report: RiskReport, other: RiskReport) -> bool:
    return (report.model.name, report.model.version) != (other.model.name, other.model.version)


def _lines(report: RiskReport, others: Sequence[RiskReport]) -> Iterator[ComparedLine]:
    reports = [report, *others]
    risks = [_by_disease(one.risks) for one in reports]
    yield from (_line("risk", name, name, "", _risk_readings(name, risks)) for name in risks[0])
    measured = [{one.name: one for one in each.ecg_measurements} for each in reports]
    for name, one in measured[0].items():
        yield _line("ecg", name, ECG_LABELS.get(name, name), one.unit, _ecg_readings(name, measured))
    yield from _estimate_lines(reports)


def _line(kind: Kind, name: str, label: str, unit: str, readings: Iterable[Reading | None]) -> ComparedLine:
    now, *then = readings
    return ComparedLine(kind=kind, name=name, label=label, unit=unit, now=now, then=tuple(then))


def _by_disease(risks: Iterable[Risk]) -> dict[str, Risk]:
    return {risk.disease: risk for risk in risks if risk.is_assessable}


def _risk_readings(name: str, risks: Sequence[Mapping[str, Risk]]) -> Iterator[Reading | None]:
    now = risks[0][name]
    for one in (each.get(name) for each in risks):
        if one is None:
            yield None
        else:
            verdict = None if one.flagged == now.flagged else "newly flagged" if now.flagged else "no longer flagged"
            yield Reading(value=one.probability, flagged=one.flagged, change=verdict)


def _ecg_readings(name: str, measured: Sequence[Mapping[str, EcgMeasurement]]) -> Iterator[Reading | None]:
    now, error = measured[0][name].value, ERRORS.get(name)
    for one in (each.get(name) for each in measured):
        if one is None or one.value is None:
            yield None
        else:
            changed = now is not None and error is not None and abs(one.value - now) > 2 * error
            yield Reading(value=one.value, change="changed" if changed else None)


def _estimate_lines(reports: Sequence[RiskReport]) -> Iterator[ComparedLine]:
    """Yield the estimates that are shown always, and those that changed."""
    told = [_told(report) for report in reports]
    for name, label in LABELS.items():
        if name not in told[0]:
            continue
        readings = [_estimate_reading(name, told, reports, place) for place in range(len(reports))]
        if name in ALWAYS or any(one and one.change for one in readings):
            yield _line("estimate", name, label, told[0][name].unit, readings)


def _told(report: RiskReport) -> dict[str, Phenotype]:
    """Return the estimates that say something of the patient."""
    if excluded_by(report.risks) or not report.model.trained:
        return {}
    return {one.name: one for one in report.phenotypes if one.informative}


def _estimate_reading(
    name: str, told: Sequence[Mapping[str, Phenotype]], reports: Sequence[RiskReport], place: int
) -> Reading | None:
    now, one = told[0][name], told[place].get(name)
    if one is None or one.unit != now.unit:
        return None
    comparable = not _is_other_model(reports[0], reports[place])
    return Reading(
        value=one.value,
        half_width=one.half_width,
        change="changed" if comparable and _are_apart(now, one) else None,
    )


def _are_apart(one: Phenotype, other: Phenotype) -> bool:
    """Return whether the intervals of two estimates do not meet."""
    if one.half_width is None or other.half_width is None:
        return False
    return abs(one.value - other.value) > one.half_width + other.half_width
