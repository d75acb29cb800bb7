"""What belongs to a record: everything that comes under its id is held against what else is known of it.

An id alone proves nothing. Two ECGs may have one id, and whoever may write to a topic or to Redis can name any record.
"""

from __future__ import annotations

from inference.cine import CineProvenance
from schemas.ecg_record import EcgRecord
from schemas.identity import embedding_digest
from schemas.messages import CmrRequest, RiskReport
from stream.alerting.facts import Facts, listed


def foreign_ecg(ecg: EcgRecord, record_id: str, known: Facts | None) -> str | None:
    """Return in words why an ECG is not that of a record; None if it may be."""
    differences = {
        "another record": ecg.record_id != record_id,
        "another patient": known is not None and ecg.patient_id != known.subject,
        "another time of recording": known is not None and ecg.recorded_at != known.recorded_at,
    }
    return listed(name for name, differs in differences.items() if differs)


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
    return listed(name for name, differs in differences.items() if differs)
