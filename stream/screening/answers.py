"""What goes out for one ECG that came in: its report with alerts and CMR request, or its rejection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from inference.report import compose_alerts, compose_cmr_request, compose_report
from inference.screener import Screening
from schemas import topics
from schemas.cloudevents import JSON, event_headers
from schemas.ecg_record import EcgRecord
from schemas.errors import CardiacNetsError, RecordError
from schemas.identity import alert_event_id, rejection_id
from schemas.messages import Alert, Message, ModelReference, Rejection, encode_message

SOURCE = "urn:cardiacnets:worker"


class Outgoing(NamedTuple):
    """One message for one topic."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]]


def report_answers(
    screening: Screening, model: ModelReference, key: bytes | None, at: datetime, raises: Callable[[Alert], bool]
) -> list[Outgoing]:
    """Return the report of a screened ECG and, where a risk is flagged, its alerts and its CMR request.

    Args:
        raises: whether an alert goes out. The report and the request do so anyway: every flagged ECG has its cine.
    """
    report = compose_report(screening.record, screening.quality, screening.finding, model, at)
    answers = [_outgoing(topics.ECG_RISK, report.report_id, report, key, at)]
    alerts = filter(raises, compose_alerts(report))
    answers += [_outgoing(topics.ECG_ALERTS, alert_event_id(alert), alert, key, at) for alert in alerts]
    if request := compose_cmr_request(report, screening.finding):
        answers.append(_outgoing(topics.CMR_REQUESTS, request.request_id, request, key, at))
    return answers


def rejection_answers(
    error: CardiacNetsError, origin: EcgRecord | RecordError | None, source: str, key: bytes | None, at: datetime
) -> list[Outgoing]:
    """Return the rejection of the ECG at `source` (topic/partition/offset), with the code and the numbers.

    Args:
        origin: what knows the ids of the record, its device and its site; None where nothing does.
    """
    record_id = origin.record_id if origin else None
    rejection = Rejection(
        rejection_id=rejection_id(record_id or source, error.wire_code),
        record_id=record_id,
        device_id=origin.device_id if origin else None,
        site=origin.site if origin else None,
        code=error.wire_code,
        detail=str(error),
        numbers=error.numbers,
        source=source,
        created_at=at,
    )
    return [_outgoing(topics.ECG_REJECTED, rejection.rejection_id, rejection, key, at)]


def _outgoing(topic: str, identifier: str, message: Message, key: bytes | None, at: datetime) -> Outgoing:
    headers = event_headers(kind=topic, identifier=identifier, source=SOURCE, time=at, content_type=JSON)
    return Outgoing(topic, key, encode_message(message), headers)
