"""The messages that tell of a finding: its report, an alert a flagged disease, and a CMR request if there is one."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Literal, TypeAlias

from schemas.ecg_record import EcgRecord
from schemas.identity import alert_id, cine_seed, report_id, request_id
from schemas.messages import Alert, CmrRequest, ModelReference, Quality, Risk, RiskReport

from .readout import Finding

Priority: TypeAlias = Literal["high", "medium", "low"]

HIGH_ODDS_RATIO = 9.0
MEDIUM_ODDS_RATIO = 3.0
"""How many times the threshold's odds make a priority; against a threshold of 0.5, probabilities of 0.9 and 0.75."""


def compose_report(
    record: EcgRecord, quality: Quality, finding: Finding, reference: ModelReference, created_at: datetime
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
        created_at=created_at,
        recorded_at=record.recorded_at,
    )


def compose_alerts(report: RiskReport) -> list[Alert]:
    """Return one alert a flagged disease, the most urgent first.

    The priority says how far the risk is above its threshold, not how grave the disease is.
    """
    flagged = sorted((risk for risk in report.risks if risk.flagged), key=odds_ratio, reverse=True)
    return [_alert(report, risk) for risk in flagged]


def compose_cmr_request(report: RiskReport, finding: Finding) -> CmrRequest | None:
    """Return the request for the cine that the ECG suggests, or None where nothing is flagged."""
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


def odds(probability: float) -> float:
    """Return the odds of a probability, infinite where it is certain."""
    return probability / (1 - probability) if probability < 1 else math.inf


def odds_ratio(risk: Risk) -> float:
    """Return the odds of a risk over the odds of its threshold.

    Unlike the difference or the ratio of the probabilities it means the same for rare and for common diseases.
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
    )


def _priority(ratio: float) -> Priority:
    if ratio >= HIGH_ODDS_RATIO:
        return "high"
    return "medium" if ratio >= MEDIUM_ODDS_RATIO else "low"
