"""Counts what comes back for the records that went out: answers, duplicates, losses, latencies."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from schemas.messages import Alert, Rejection, RiskReport, decode_message
from schemas.topics import ECG_ALERTS, ECG_REJECTED, ECG_RISK

PERCENTILES = (50, 95, 99)
RECENT = 12
LATENCIES_KEPT = 100_000
ANSWERS_KEPT = 200_000

TALLIED_TOPICS = (ECG_RISK, ECG_REJECTED, ECG_ALERTS)


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds from publishing a record to its answer."""

    p50: float
    p95: float
    p99: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the records: `demo --once --json` prints it."""

    published: int
    reports: int
    rejected: int
    alerts: int
    duplicates: int
    lost: int
    records_per_s: float
    latency_ms: Latency | None


class Tally:
    """Matches answers with records by record id.

    A further answer to the same record is a duplicate, which at-least-once delivery allows; one with another id than
    the first would be a contradiction, which nothing allows. Memory is bounded: only the latest `ANSWERS_KEPT` answers
    are compared.
    """

    def __init__(self) -> None:
        self._outstanding: dict[str, float] = {}
        self._answers: OrderedDict[str, str] = OrderedDict()
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._kinds: Counter[str] = Counter()
        self._first_sent = self._last_answer = 0.0
        self.published = self.duplicates = self.contradictions = self._alerts_due = 0
        self.recent: deque[RiskReport | Rejection] = deque(maxlen=RECENT)

    def sent(self, record_id: str) -> None:
        """Note that a record goes out now."""
        now = time.monotonic()
        self._first_sent = self._first_sent or now
        self._outstanding[record_id] = now
        self.published += 1

    def receive(self, topic: str, value: bytes) -> None:
        """Note a message from one of `TALLIED_TOPICS`."""
        if topic == ECG_RISK:
            report = decode_message(RiskReport, value)
            flagged = any(risk.flagged for risk in report.risks)
            self._alerts_due += self._answered(report.record_id, report.report_id, report) and flagged
        elif topic == ECG_REJECTED:
            rejection = decode_message(Rejection, value)
            self._answered(rejection.record_id or rejection.source, rejection.rejection_id, rejection)
        elif topic == ECG_ALERTS:
            alert = decode_message(Alert, value)
            self._kinds["Alert"] += self._is_first(alert.identifier, alert.identifier)

    def _answered(self, record_id: str, answer_id: str, answer: RiskReport | Rejection) -> bool:
        if not self._is_first(record_id, answer_id):
            self.duplicates += 1
            return False
        self._last_answer = time.monotonic()
        self._kinds[type(answer).__name__] += 1
        self.recent.append(answer)
        if sent_at := self._outstanding.pop(record_id, None):
            self._latencies_s.append(self._last_answer - sent_at)
        return True

    def _is_first(self, subject: str, answer_id: str) -> bool:
        if (earlier := self._answers.get(subject)) is not None:
            self.contradictions += earlier != answer_id
            return False
        self._answers[subject] = answer_id
        if len(self._answers) > ANSWERS_KEPT:
            self._answers.popitem(last=False)
        return True

    @property
    def lost(self) -> int:
        """Records sent and not yet answered."""
        return len(self._outstanding)

    @property
    def missing(self) -> int:
        """What is still to come: answers, and the alerts of flagged reports."""
        return self.lost + max(0, self._alerts_due - self._kinds["Alert"])

    @property
    def received(self) -> int:
        """Messages that counted: first answers and alerts."""
        return self._kinds.total()

    def outcome(self) -> Outcome:
        """Return the account so far."""
        elapsed_s = max(self._last_answer - self._first_sent, 1e-9)
        return Outcome(
            published=self.published,
            reports=self._kinds["RiskReport"],
            rejected=self._kinds["Rejection"],
            alerts=self._kinds["Alert"],
            duplicates=self.duplicates,
            lost=self.lost,
            records_per_s=round((self.received - self._kinds["Alert"]) / elapsed_s, 2),
            latency_ms=latency(self._latencies_s),
        )


def latency(seconds: Iterable[float]) -> Latency | None:
    """Return the percentiles in milliseconds, None without a single answer."""
    values: Sequence[float] = list(seconds)
    if not values:
        return None
    return Latency(*(round(float(p) * 1e3, 1) for p in np.percentile(values, PERCENTILES)))
