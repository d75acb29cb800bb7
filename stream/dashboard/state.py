"""What the dashboard knows: the newest records, alerts and rejections, all of it from the topics and bounded.

Messages of different topics come in any order, and more than once: an acknowledgement may precede its alert, a result
its report. So every message is merged into what is there, and the order makes no difference.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import msgspec
import numpy as np

from schemas import topics
from schemas.errors import MalformedRecord
from schemas.messages import (
    Acknowledgement,
    Alert,
    CmrRequest,
    CmrResult,
    Rejection,
    RiskReport,
    decode_message,
)
from schemas.zstd_frames import compress, decompress
from stream.bounded import RecentDict

from .alert_book import AlertBook, AlertEntry
from .unanswered_input import Silence

READ_TOPICS = (
    topics.ECG_RISK,
    topics.ECG_ALERTS,
    topics.ECG_REJECTED,
    topics.CMR_REQUESTS,
    topics.CMR_RESULTS,
    topics.ECG_ALERTS_ACK,
)
ANSWERS = (topics.ECG_RISK, topics.ECG_REJECTED)
"""Every ECG gets one of them."""

MAX_MESSAGE_BYTES = 256 * 1024
"""A report takes 8 kB; what is larger than this was not written by us."""
REJECTIONS_KEPT = 1000
SLACK = 256
"""How far a collection may grow over its bound before the oldest are dropped together."""
RATE_WINDOW_S = 60
LATENCIES_KEPT = 500
LATENCY_WINDOW_S = 600.0
LIVE_S = 600.0
"""An ECG that was recorded longer ago is no news, and its age is no latency; main.js tells this bound."""


class AlertRow(msgspec.Struct, kw_only=True):
    """An alert as the list shows it; times are seconds since 1970."""

    identifier: str
    record_id: str
    patient_id: str | None
    disease: str
    probability: float
    threshold: float
    priority: str
    status: str
    onset: float
    recorded_at: float | None
    late: bool
    """Whether the ECG was old when it was screened, or may have been: it does not tell."""
    trained: bool
    acknowledged_by: str | None = None
    acknowledged_at: float | None = None
    comment: str | None = None


class RecordRow(msgspec.Struct, kw_only=True):
    """A record as the list of records shows it."""

    record_id: str
    patient_id: str | None
    created_at: float
    risks: tuple[tuple[str, float, float, bool], ...]
    """Disease, probability, threshold, flagged."""
    warnings: int
    trained: bool
    cine: str | None
    """'requested', 'generated' or 'failed'; None where none was asked for."""


class Latency(msgspec.Struct, frozen=True):
    """Seconds, over the live records of the last minutes."""

    p50: float
    p95: float


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The header's numbers."""

    records: int
    rejected: int
    per_minute: int
    last_report: float | None
    """When the newest report was made."""
    unanswered_since: float | None
    """Since when ECGs have arrived and none was answered, once that is long."""
    seen: Latency | None
    """From the report's creation to its arrival here."""
    recorded: Latency | None
    """From the recording of the ECG to the arrival of its report here."""
    alerts: dict[str, int]
    """How many there are, by status."""
    unreadable: int


class Measured(NamedTuple):
    """A latency, and when it was measured; seconds, and seconds since 1970."""

    at: float
    seconds: float


@dataclass(slots=True)
class Kept:
    """What is kept of a record; the messages are compressed, for thousands of them lie here."""

    patient_id: str | None = None
    created_at: float = 0.0
    report: bytes | None = None
    request: bytes | None = None
    request_key: bytes | None = None
    result: bytes | None = None
    result_at: float = 0.0


class DashboardState:
    """Merges messages, and answers what the pages ask; no input or output of its own.

    Args:
        capacity: how many records are kept.
        book: the alerts, which keeps its own bound.
        started_at: seconds since 1970; what was made earlier is a replay, and its age is no latency.
    """

    def __init__(self, capacity: int, book: AlertBook, *, started_at: float) -> None:
        self._capacity = capacity
        self.book = book
        self._started_at = started_at
        self._records: dict[str, Kept] = {}
        self._rejections: RecentDict[str, bytes] = RecentDict(REJECTIONS_KEPT)
        self._changed: dict[str, None] = {}
        self._changed_records: dict[str, None] = {}
        self._per_second: Counter[int] = Counter()
        self._seen: deque[Measured] = deque(maxlen=LATENCIES_KEPT)
        self._recorded: deque[Measured] = deque(maxlen=LATENCIES_KEPT)
        self._last_report: float | None = None
        self._rejected = self._screened = self._unreadable = 0
        self._drops_at = capacity + SLACK
        self.silence = Silence()
        self._receivers: dict[str, Callable[[bytes | None, bytes, float], None]] = {
            topics.ECG_RISK: self._receive_report,
            topics.ECG_ALERTS: self._receive_alert,
            topics.ECG_REJECTED: self._receive_rejection,
            topics.CMR_REQUESTS: self._receive_request,
            topics.CMR_RESULTS: self._receive_result,
            topics.ECG_ALERTS_ACK: self._receive_acknowledgement,
        }

    def receive(self, topic: str, key: bytes | None, value: bytes | None, now: float) -> bool:
        """Merge a message in and return true; what is not of the contract is counted, and otherwise passed over.

        Args:
            now: seconds since 1970.
        """
        if topic in ANSWERS:
            self.silence.answered(now)
        try:
            self._receivers[topic](key, _bounded(value), now)
        except MalformedRecord:
            self._unreadable += 1
            return False
        return True

    # --- what the pages ask

    def alert_rows(self) -> list[AlertRow]:
        """Return all alerts, the most urgent first."""
        return [_alert_row(entry) for entry in self.book.entries(limit=self._capacity)]

    def alerts_of(self, record_id: str) -> list[AlertRow]:
        """Return the alerts of a record, the most probable first."""
        rows = [_alert_row(entry) for entry in self.book.entries(record_id=record_id)]
        return sorted(rows, key=lambda row: -row.probability)

    def take_changed(self) -> list[AlertRow]:
        """Return the alerts that changed since the last call."""
        changed, self._changed = self._changed, {}
        return [_alert_row(entry) for identifier in changed if (entry := self.book.get(identifier))]

    def take_changed_records(self) -> list[str]:
        """Return the ids of the records whose report or cine came since the last call."""
        changed, self._changed_records = self._changed_records, {}
        return list(changed)

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Merge an acknowledgement in."""
        if self.book.receive_ack(acknowledgement):
            self._changed[acknowledgement.identifier] = None

    def due(self, now: datetime) -> list[AlertEntry]:
        """Return the alerts whose new state is to be published."""
        entries = self.book.due(now)
        self._changed |= dict.fromkeys(entry.alert.identifier for entry in entries)
        return entries

    def report(self, record_id: str) -> bytes | None:
        """Return a record's report as JSON."""
        return _unpacked((self._records.get(record_id) or Kept()).report)

    def result(self, record_id: str) -> bytes | None:
        """Return the newest result of a record's cine as JSON."""
        return _unpacked((self._records.get(record_id) or Kept()).result)

    def request(self, record_id: str) -> tuple[bytes | None, bytes] | None:
        """Return key and value of the request for a record's cine."""
        kept = self._records.get(record_id)
        value = _unpacked(kept.request) if kept else None
        return None if kept is None or value is None else (kept.request_key, value)

    def record_rows(self, limit: int, patient: str = "") -> list[RecordRow]:
        """Return the newest records, those of patients or with ids that contain `patient` (any case)."""
        return [_record_row(record_id, kept) for record_id, kept in self._newest(limit, patient.casefold())]

    def rejections(self, limit: int, needle: str = "") -> list[Rejection]:
        """Return the newest rejections whose record id, code or sentence contains `needle` (any case)."""
        found = (decode_message(Rejection, value) for value in self._rejections.newest_first())
        wanted = needle.casefold()
        matching = (r for r in found if wanted in f"{r.record_id} {r.code} {r.detail}".casefold())
        return [rejection for rejection, _ in zip(matching, range(limit), strict=False)]

    def overview(self, now: float) -> Overview:
        """Return the header's numbers."""
        return Overview(
            records=self._screened,
            rejected=self._rejected,
            per_minute=sum(n for second, n in self._per_second.items() if now - RATE_WINDOW_S <= second <= now),
            last_report=self._last_report,
            unanswered_since=self.silence.since(now),
            seen=_latency(self._seen, now),
            recorded=_latency(self._recorded, now),
            alerts={str(status): number for status, number in self.book.counts().items()},
            unreadable=self._unreadable,
        )

    # --- what the topics say

    def _receive_report(self, _key: bytes | None, value: bytes, now: float) -> None:
        report = decode_message(RiskReport, value)
        kept = self._keep(report.record_id, report.created_at)
        if kept.report is None:
            self._screened += 1
            self._measure(report.created_at, report.recorded_at, now)
        kept.patient_id, kept.report = report.patient_id, compress(value)
        self._changed_records[report.record_id] = None

    def _measure(self, created_at: datetime, recorded_at: datetime | None, now: float) -> None:
        """Note when a report was made, for throughput and, if it is new, for latency."""
        created = created_at.timestamp()
        self._last_report = max(created, self._last_report or created)
        if abs(now - created) <= RATE_WINDOW_S:
            self._per_second[int(created)] += 1
        for second in [second for second in self._per_second if second < now - RATE_WINDOW_S]:
            del self._per_second[second]
        if created < self._started_at:
            return
        self._seen.append(Measured(now, max(0.0, now - created)))
        if recorded_at is not None and now - recorded_at.timestamp() < LIVE_S:
            self._recorded.append(Measured(now, max(0.0, now - recorded_at.timestamp())))

    def _receive_alert(self, key: bytes | None, value: bytes, _now: float) -> None:
        alert = decode_message(Alert, value)
        if not alert.risks:
            raise MalformedRecord("an alert of no risk")
        self.book.receive_alert(alert, key)
        self._changed[alert.identifier] = None

    def _receive_acknowledgement(self, _key: bytes | None, value: bytes, _now: float) -> None:
        self.acknowledge(decode_message(Acknowledgement, value))

    def _receive_rejection(self, _key: bytes | None, value: bytes, _now: float) -> None:
        rejection = decode_message(Rejection, value)
        if rejection.rejection_id not in self._rejections:
            self._rejected += 1
            self._rejections.put(rejection.rejection_id, value)

    def _receive_request(self, key: bytes | None, value: bytes, _now: float) -> None:
        request = decode_message(CmrRequest, value)
        kept = self._keep(request.record_id, request.created_at)
        kept.request, kept.request_key = compress(value), key

    def _receive_result(self, _key: bytes | None, value: bytes, _now: float) -> None:
        result = decode_message(CmrResult, value)
        kept = self._keep(result.record_id, None)
        if (at := result.created_at.timestamp()) >= kept.result_at:
            kept.result, kept.result_at = compress(value), at
            self._changed_records[result.record_id] = None

    # --- bounds

    def _keep(self, record_id: str, created_at: datetime | None) -> Kept:
        kept = self._records.setdefault(record_id, Kept())
        if created_at is not None:
            kept.created_at = max(kept.created_at, created_at.timestamp())
        if len(self._records) > self._drops_at:
            self._drop_records()
        return kept

    def _drop_records(self) -> None:
        """Drop the oldest, but for those of open alerts: a backfill must not empty the page that an alert leads to.

        The book bounds how many these are, so that about twice the capacity is kept at most.
        """
        spared = self.book.open_records()
        by_age = sorted(self._records, key=lambda record_id: self._records[record_id].created_at)
        for record_id in by_age[: len(by_age) - self._capacity]:
            if record_id not in spared:
                del self._records[record_id]
        self._drops_at = len(self._records) + SLACK

    def _newest(self, limit: int, wanted: str) -> Iterable[tuple[str, Kept]]:
        reported = ((name, kept) for name, kept in self._records.items() if kept.report is not None)
        matching = (item for item in reported if wanted in f"{item[0]} {item[1].patient_id or ''}".casefold())
        return heapq.nlargest(limit, matching, key=lambda item: item[1].created_at)


def _bounded(value: bytes | None) -> bytes:
    if value is None or len(value) > MAX_MESSAGE_BYTES:
        raise MalformedRecord("no message of ours is empty, or as large as this")
    return value


def _alert_row(entry: AlertEntry) -> AlertRow:
    alert, acknowledgement = entry.alert, entry.acknowledgement
    return AlertRow(
        identifier=alert.identifier,
        record_id=alert.record_id,
        patient_id=alert.subject,
        disease=alert.code,
        probability=alert.risks[0].probability,
        threshold=alert.risks[0].threshold,
        priority=alert.priority,
        status=alert.status,
        onset=alert.onset.timestamp(),
        recorded_at=alert.recorded_at.timestamp() if alert.recorded_at else None,
        late=alert.recorded_at is None or (alert.onset - alert.recorded_at).total_seconds() > LIVE_S,
        trained=alert.model.trained,
        acknowledged_by=acknowledgement.acknowledged_by if acknowledgement else None,
        acknowledged_at=acknowledgement.acknowledged_at.timestamp() if acknowledgement else None,
        comment=acknowledgement.comment if acknowledgement else None,
    )


def _record_row(record_id: str, kept: Kept) -> RecordRow:
    report = decode_message(RiskReport, _unpacked(kept.report) or b"")
    return RecordRow(
        record_id=record_id,
        patient_id=report.patient_id,
        created_at=report.created_at.timestamp(),
        risks=tuple((risk.disease, risk.probability, risk.threshold, risk.flagged) for risk in report.risks),
        warnings=len(report.quality.warnings),
        trained=report.model.trained,
        cine=_cine_state(kept),
    )


def _cine_state(kept: Kept) -> str | None:
    if (value := _unpacked(kept.result)) is not None:
        return decode_message(CmrResult, value).status
    return None if kept.request is None else "requested"


def _latency(measured: Iterable[Measured], now: float) -> Latency | None:
    """Return the latency of what came lately: of a worker that is down, what it once took says nothing."""
    seconds = [one.seconds for one in measured if now - one.at <= LATENCY_WINDOW_S]
    if not seconds:
        return None
    return Latency(*(round(float(p), 3) for p in np.percentile(seconds, (50, 95))))


def _unpacked(value: bytes | None) -> bytes | None:
    return None if value is None else decompress(value, max_bytes=MAX_MESSAGE_BYTES)
