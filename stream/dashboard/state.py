"""What the dashboard knows. Everything comes from the topics, and everything is bounded.

Messages of different topics come in any order, and more than once: an acknowledgement may come before its alert, and a
result before its report. So each message is merged into what is known already, and the order makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from schemas import topics
from schemas.errors import MalformedRecord
from schemas.messages import Acknowledgement, Alert, CmrRequest, CmrResult, Rejection, RiskReport, decode_message
from stream.settings import AlertSettings

from .alert_rows import AlertRows
from .recent_records import MAX_MESSAGE_BYTES, RecentRecords
from .recent_rejections import RecentRejections
from .traffic import LIVE_S, Latency, Traffic
from .unanswered_input import UnansweredInput

READ_TOPICS = (
    topics.ECG_RISK,
    topics.ECG_ALERTS,
    topics.ECG_REJECTED,
    topics.CMR_REQUESTS,
    topics.CMR_RESULTS,
    topics.ECG_ALERTS_ACK,
)
ANSWERS = (topics.ECG_RISK, topics.ECG_REJECTED)
"""Every ECG is answered on one of these topics."""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers in the header of the pages."""

    records: int
    rejected: int
    per_minute: int
    last_report: float | None
    """When the newest report was made."""
    unanswered_since: float | None
    """Since when ECGs have arrived without an answer, if that is long ago."""
    seen: Latency | None
    """From the report's creation to its arrival here."""
    recorded: Latency | None
    """From the recording of the ECG to the arrival of its report here."""
    live_s: float = LIVE_S
    """The age up to which an ECG counts for `recorded`."""
    alerts: dict[str, int]
    """The number of alerts by status."""
    unreadable: int


class DashboardState:
    """Merges messages into its parts, which answer what the pages ask. It does no input or output.

    Args:
        capacity: how many records are kept, and how many alerts.
        started_at: seconds since 1970; what was made earlier comes from a replay.
    """

    def __init__(self, capacity: int, settings: AlertSettings, *, started_at: float) -> None:
        self.alerts = AlertRows(settings, limit=capacity)
        self.records = RecentRecords(capacity, spared=self.alerts.open_records)
        self.rejections = RecentRejections()
        self.traffic = Traffic(started_at)
        self.unanswered = UnansweredInput()
        self._unreadable = 0
        self._receivers: dict[str, Callable[[bytes | None, bytes, float], None]] = {
            topics.ECG_RISK: self._receive_report,
            topics.ECG_ALERTS: self._receive_alert,
            topics.ECG_REJECTED: self._receive_rejection,
            topics.CMR_REQUESTS: self._receive_request,
            topics.CMR_RESULTS: self._receive_result,
            topics.ECG_ALERTS_ACK: self._receive_acknowledgement,
        }

    def receive(self, topic: str, key: bytes | None, value: bytes | None, now: float) -> bool:
        """Merge a message in, and return true. A message that breaks the contract is counted, and has no other effect.

        Args:
            now: seconds since 1970.
        """
        if topic in ANSWERS:
            self.unanswered.note_answer(now)
        try:
            self._receivers[topic](key, _bounded(value), now)
        except MalformedRecord:
            self._unreadable += 1
            return False
        return True

    def overview(self, now: float) -> Overview:
        """Return the numbers of the header."""
        return Overview(
            records=self.traffic.screened,
            rejected=self.rejections.count,
            per_minute=self.traffic.per_minute(now),
            last_report=self.traffic.last_report,
            unanswered_since=self.unanswered.since(now),
            seen=self.traffic.seen(now),
            recorded=self.traffic.recorded(now),
            alerts=self.alerts.counts(),
            unreadable=self._unreadable,
        )

    def _receive_report(self, _key: bytes | None, value: bytes, now: float) -> None:
        report = decode_message(RiskReport, value)
        if self.records.receive_report(report, value):
            self.traffic.note(report, now)

    def _receive_alert(self, key: bytes | None, value: bytes, _now: float) -> None:
        alert = decode_message(Alert, value)
        if not alert.risks:
            raise MalformedRecord("an alert without a risk")
        self.alerts.receive(alert, key)

    def _receive_acknowledgement(self, _key: bytes | None, value: bytes, _now: float) -> None:
        self.alerts.acknowledge(decode_message(Acknowledgement, value))

    def _receive_rejection(self, _key: bytes | None, value: bytes, _now: float) -> None:
        self.rejections.receive(decode_message(Rejection, value), value)

    def _receive_request(self, key: bytes | None, value: bytes, _now: float) -> None:
        self.records.receive_request(decode_message(CmrRequest, value), value, key)

    def _receive_result(self, _key: bytes | None, value: bytes, _now: float) -> None:
        self.records.receive_result(decode_message(CmrResult, value), value)


def _bounded(value: bytes | None) -> bytes:
    if value is None or len(value) > MAX_MESSAGE_BYTES:
        raise MalformedRecord("no message of this project is empty, or as large as this one")
    return value
