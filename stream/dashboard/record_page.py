"""What the page of one record shows: report, alerts, ECG, cine."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis

from inference.cine import CineProvenance
from inference.intake import screened_stretch
from inference.leads import arrange_leads, standard_name
from inference.waveform import MAX_DURATION_S
from schemas.codec import decode_ecg
from schemas.ecg_record import LEADS, MAX_STEP, MISSING_SAMPLE, EcgRecord
from schemas.errors import MalformedRecord, OversizedRecord, UnusableSignal
from schemas.messages import DISEASES, CmrRequest, CmrResult, Rejection, Risk, RiskReport, decode_message
from schemas.record_limits import MAX_VALUE_BYTES
from stream.alerting.facts import Facts, contradiction, facts_of
from stream.screening.waveform_cache import other_waveform_key, waveform_key

from .alert_rows import AlertRow
from .belonging import foreign_cine, foreign_ecg
from .explanations import Meaning, explain
from .patient_history import PatientHistory, compose_history
from .state import DashboardState


class RecordPage(msgspec.Struct, kw_only=True):
    """The page of a record. None stands for what has not come yet, or is no longer kept."""

    record_id: str
    report: RiskReport | None
    meaning: Meaning | None
    alerts: list[AlertRow]
    result: CmrResult | None
    requested: bool
    """Whether a cine was requested, so that it can be requested again."""
    others: OtherReports | None
    """Reports under the record's id that cannot be of the same ECG."""
    rejection: Rejection | None
    """Why the ECG could not be screened. One of another ECG under the id of an ECG that was is not shown."""
    history: PatientHistory | None
    """Of the patient's other ECGs."""


class OtherReports(msgspec.Struct, frozen=True, kw_only=True):
    """What came under a record's id and contradicts its report: how many reports, and what the newest of them says."""

    number: int
    contradicts: str
    """In words, how the newest contradicts the report that is shown."""
    patient_id: str | None
    recorded_at: datetime | None
    flagged: tuple[Risk, ...]


class EcgHead(msgspec.Struct, frozen=True, kw_only=True):
    """How to read the samples: int16, little-endian, lead after lead."""

    leads: tuple[str, ...]
    derived: tuple[str, ...]
    n_samples: int
    sample_rate_hz: float
    microvolts_per_step: float
    sex: str | None
    age_years: float | None
    missing: int = MISSING_SAMPLE


def compose_page(state: DashboardState, record_id: str) -> RecordPage | None:
    """Return the page of a record; None if nothing is known about it."""
    value, result = state.records.report(record_id), state.records.result(record_id)
    alerts, requested = state.alerts.of_record(record_id), state.records.request(record_id) is not None
    rejection = None if value or alerts else state.rejections.of_record(record_id)
    if value is None and result is None and rejection is None and not alerts and not requested:
        return None
    report = None if value is None else decode_message(RiskReport, value)
    return RecordPage(
        record_id=record_id,
        report=report,
        meaning=None if report is None else explain(report),
        alerts=alerts,
        result=None if result is None else decode_message(CmrResult, result),
        requested=requested,
        others=_other_reports(state, record_id),
        rejection=rejection,
        history=None if report is None else compose_history(state.records, report),
    )


def _other_reports(state: DashboardState, record_id: str) -> OtherReports | None:
    other, kept = state.records.other(record_id), state.records.facts(record_id)
    if other is None or kept is None:
        return None
    number, value = other
    report = decode_message(RiskReport, value)
    return OtherReports(
        number=number,
        contradicts=contradiction(kept, facts_of(report)) or "nothing",
        patient_id=report.patient_id,
        recorded_at=report.recorded_at,
        flagged=tuple(risk for risk in report.risks if risk.flagged)[: len(DISEASES)],
    )


async def fetch_ecg(redis: Redis, record_id: str, known: Facts | None) -> tuple[EcgHead, bytes] | None:
    """Return the ECG of a record from Redis; None if it is not there, or no longer there.

    Args:
        known: of the record, if something is known of it.

    Raises:
        RecordError: the stored value is not a 12-lead ECG, or not the ECG of this record.
        RedisError: Redis does not answer.
    """
    for key in (waveform_key(record_id), other_waveform_key(record_id)):
        if (size := int(await redis.strlen(key))) > MAX_VALUE_BYTES:
            raise OversizedRecord(f"{size:,} bytes lie at its key, and no ECG has more than {MAX_VALUE_BYTES:,}")
        value: Any = await redis.get(key)
        if value is not None:
            return await asyncio.to_thread(_own_ecg, value, record_id, known)
    return None


def _own_ecg(value: bytes, record_id: str, known: Facts | None) -> tuple[EcgHead, bytes]:
    record = decode_ecg(value)
    if foreign := foreign_ecg(record, record_id, known):
        raise MalformedRecord(f"it belongs to {foreign}")
    try:
        return arrange_ecg(record)
    except UnusableSignal:  # it was rejected, and is drawn all the same
        return arrange_incomplete(record)


def known_facts(state: DashboardState, record_id: str) -> Facts | None:
    """Return what the report of a record says of it, or else one of its alerts; None if neither is kept."""
    return state.records.facts(record_id) or state.alerts.facts(record_id)


def foreign_to(state: DashboardState, record_id: str, cine: CineProvenance) -> str | None:
    """Return in words why a cine is not that of a record; None if it may be."""
    value, requested = state.records.report(record_id), state.records.request(record_id)
    report = None if value is None else decode_message(RiskReport, value)
    request = None if requested is None else decode_message(CmrRequest, requested[1])
    return foreign_cine(cine, record_id, report, request)


def arrange_ecg(record: EcgRecord) -> tuple[EcgHead, bytes]:
    """Return the 12 leads in their usual order, as recorded, and only the seconds that were screened.

    Raises:
        RecordError: a lead is missing, or appears twice.
    """
    steps = _steps(record)[:, slice(*screened_stretch(record))]
    (arranged,), derived = arrange_leads(steps[None], record.leads)
    return _head(record, arranged, LEADS, derived), _samples(arranged)


def arrange_incomplete(record: EcgRecord) -> tuple[EcgHead, bytes]:
    """Return the leads of a rejected ECG that are there once, in their usual order, and its first seconds."""
    leads = _leads_there_once(record.leads)
    names = [standard_name(name) for name in record.leads]
    used = slice(0, round(MAX_DURATION_S * record.sample_rate_hz))
    arranged = _steps(record)[[names.index(name) for name in leads], used]
    return _head(record, arranged, leads, ()), _samples(arranged)


def _steps(record: EcgRecord) -> NDArray[np.float32]:
    steps = np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1).astype(np.float32)
    steps[steps == MISSING_SAMPLE] = np.nan
    return steps


def _samples(arranged: NDArray[np.float32]) -> bytes:
    rounded = np.clip(np.round(arranged), -MAX_STEP, MAX_STEP)
    return np.where(np.isnan(arranged), MISSING_SAMPLE, rounded).astype("<i2").tobytes()


def _head(
    record: EcgRecord, arranged: NDArray[np.float32], leads: tuple[str, ...], derived: tuple[str, ...]
) -> EcgHead:
    return EcgHead(
        leads=leads,
        derived=derived,
        n_samples=arranged.shape[1],
        sample_rate_hz=record.sample_rate_hz,
        microvolts_per_step=record.microvolts_per_step,
        sex=record.sex,
        age_years=record.age_years,
    )


def _leads_there_once(names: Sequence[str]) -> tuple[str, ...]:
    there = Counter(map(standard_name, names))
    return tuple(lead for lead in LEADS if there[lead] == 1)
