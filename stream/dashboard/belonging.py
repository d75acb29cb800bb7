"""What belongs to a record: everything that comes under its id is held against what else is known of it.

An id alone proves nothing. Two ECGs may have one id, and whoever may write to a topic or to Redis can name any record.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from inference.cine import CineProvenance
from schemas.ecg_record import EcgRecord
from schemas.identity import embedding_digest
from schemas.messages import Alert, CmrRequest, RiskReport


class Facts(NamedTuple):
    """What a report or an alert says of its record."""

    record_id: str
    subject: str | None
    recorded_at: datetime | None
    report_id: str
    model: tuple[str, str]
    """Name and version."""


def facts_of(message: RiskReport | Alert) -> Facts:
    """Return what a message says of its record."""
    if isinstance(message, RiskReport):
        subject, report_id = message.patient_id, message.report_id
    else:
        subject, report_id = message.subject, message.derived_from
    model = message.model.name, message.model.version
    return Facts(message.record_id, subject, message.recorded_at, report_id, model)


def contradiction(kept: Facts, other: Facts) -> str | None:
    """Return in words how another message about a record contradicts the kept one; None if it does not.

    Another model has another report of the same ECG, and that is no contradiction.
    """
    if kept == other:
        return None
    differences = {
        "another record": kept.record_id != other.record_id,
        "another patient": kept.subject != other.subject,
        "another time of recording": kept.recorded_at != other.recorded_at,
        "another report": kept.model == other.model and kept.report_id != other.report_id,
    }
    return _listed(name for name, differs in differences.items() if differs)


def foreign_ecg(ecg: EcgRecord, record_id: str, known: Facts | None) -> str | None:
    """Return in words why an ECG is not that of a record; None if it may be."""
    differences = {
        "another record": ecg.record_id != record_id,
        "another patient": known is not None and ecg.patient_id != known.subject,
        "another time of recording": known is not None and ecg.recorded_at != known.recorded_at,
    }
    return _listed(name for name, differs in differences.items() if differs)


def foreign_cine(
    cine: CineProvenance, record_id: str, report: RiskReport | None, request: CmrRequest | None
) -> str | None:
    """Return in words why a cine is not that of a record; None if it may be."""
    drawn_from = None if request is None else embedding_digest(request.embedding)
    differences = {
        "another record": cine.record_id != record_id,
        "another report": report is not None and cine.report_id != report.report_id,
        "another request": request is not None and (cine.report_id, cine.seed) != (request.report_id, request.seed),
        "another embedding": None not in {cine.embedding, drawn_from} and cine.embedding != drawn_from,
    }
    return _listed(name for name, differs in differences.items() if differs)


def _listed(names: Iterable[str]) -> str | None:
    return ", ".join(names) or None
