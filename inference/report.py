"""The messages that answer an ECG: report, alerts and CMR request of a screening; rejection of a refusal."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Literal, TypeAlias

from schemas.ecg_record import EcgRecord
from schemas.errors import CardiacNetsError, RecordError
from schemas.identity import alert_id, cine_seed, rejection_id, report_id, request_id
from schemas.messages import Alert, CmrRequest, EcgMeasurement, ModelReference, Quality, Rejection, Risk, RiskReport

from .readout import Finding
from .screener import Refused

Priority: TypeAlias = Literal["high", "medium", "low"]

HIGH_ODDS_RATIO = 9.0
MEDIUM_ODDS_RATIO = 3.0
"""A priority's least ratio of a risk's odds to its threshold's odds. At a threshold of 0.5 these are the probabilities
0.9 and 0.75."""


def compose_report(
    record: EcgRecord,
    quality: Quality,
    finding: Finding,
    reference: ModelReference,
    created_at: datetime,
    *,
    measurements: tuple[EcgMeasurement, ...] = (),
) -> RiskReport:
    """Return the report of one record; its id depends on the record's id and the model alone."""
    return RiskReport(
        report_id=report_id(record.record_id, reference),
        record_id=record.record_id,
        patient_id=record.patient_id,
        device_id=record.device_id,
        site=record.site,
        model=reference,
        risks=finding.risks,
        phenotypes=finding.phenotypes,
        cardiomyopathy_subtype=finding.subtype if "cardiomyopathy" in finding.flagged_diseases else None,
        quality=quality,
        ecg_measurements=measurements,
        created_at=created_at,
        recorded_at=record.recorded_at,
    )


def compose_alerts(report: RiskReport) -> list[Alert]:
    """Return one alert for each flagged disease, the most urgent first.

    The priority says how far the risk is above its threshold. It does not say how serious the disease is.
    """
    flagged = sorted((risk for risk in report.risks if risk.flagged), key=odds_ratio, reverse=True)
    return [_alert(report, risk) for risk in flagged]


def compose_cmr_request(report: RiskReport, finding: Finding) -> CmrRequest | None:
    """Return the request for the cine that the ECG suggests, or None if nothing is flagged."""
    if not finding.flagged_diseases:
        return None
    return CmrRequest(
        request_id=request_id(report.report_id),
        report_id=report.report_id,
        record_id=report.record_id,
        patient_id=report.patient_id,
        model=report.model,
        embedding=tuple(finding.embedding.tolist()),
        seed=cine_seed(report.record_id, report.model),
        created_at=report.created_at,
    )


def compose_rejection(refused: Refused, source: str, created_at: datetime) -> Rejection:
    """Return the rejection of a refused ECG, with what is known of the ECG's record.

    Args:
        source: topic/partition/offset of the ECG.
    """
    error = refused.error
    origin = refused.record or (error if isinstance(error, RecordError) else None)
    record_id = origin.record_id if origin else None
    return Rejection(
        rejection_id=rejection_id(_subject(error) or record_id or source, error.wire_code),
        record_id=record_id,
        device_id=origin.device_id if origin else None,
        site=origin.site if origin else None,
        code=error.wire_code,
        detail=str(error),
        numbers=error.numbers,
        source=source,
        created_at=created_at,
    )


def _subject(error: CardiacNetsError) -> str | None:
    return error.subject if isinstance(error, RecordError) else None


def odds(probability: float) -> float:
    """Return the odds of a probability; the odds of a certain event are infinite."""
    return probability / (1 - probability) if probability < 1 else math.inf


def odds_ratio(risk: Risk) -> float:
    """Return the odds of a risk divided by the odds of its threshold.

    This ratio means the same for rare and for common diseases. The difference or the ratio of the two probabilities
    does not.
    """
    above = risk.probability * (1 - risk.threshold)
    below = risk.threshold * (1 - risk.probability)
    return above / below if below > 0 else math.inf


def _alert(report: RiskReport, risk: Risk) -> Alert:
    return Alert(
        identifier=alert_id(report.report_id, risk.disease),
        status="raised",
        priority=_priority(odds_ratio(risk)),
        derived_from=report.report_id,
        record_id=report.record_id,
        subject=report.patient_id,
        device_id=report.device_id,
        site=report.site,
        code=risk.disease,
        risks=(risk,),
        model=report.model,
        onset=report.created_at,
        recorded_at=report.recorded_at,
        ecg_quality=report.quality,
    )


def _priority(ratio: float) -> Priority:
    if ratio >= HIGH_ODDS_RATIO:
        return "high"
    return "medium" if ratio >= MEDIUM_ODDS_RATIO else "low"
