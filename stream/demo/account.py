"""The account of a demonstration: which answers came back for the records that went out, and after how long."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec
import numpy as np

from schemas.messages import Alert, CmrResult, Disease, Rejection, RiskReport, decode_message
from schemas.topics import CMR_RESULTS, ECG_ALERTS, ECG_REJECTED, ECG_RISK
from stream.bounded import RecentDict

PERCENTILES = (50, 95, 99)
RECENT = 12
LATENCIES_KEPT = 100_000
ANSWERS_KEPT = 200_000

ACCOUNT_TOPICS = (ECG_RISK, ECG_REJECTED, ECG_ALERTS, CMR_RESULTS)

FlaggedDisease: TypeAlias = tuple[str, Disease]
"""The patient's pseudonym (without one, the record's id), and the disease that was flagged."""


class AnswerLatency(msgspec.Struct, frozen=True):
    """Milliseconds from the publication of a record to its answer."""

    p50: float
    p95: float
    p99: float


class CineSeconds(msgspec.Struct, frozen=True):
    """How many seconds it took to draw a cine."""

    p50: float
    p95: float


class DemoOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the records: `demo --once --json` prints it."""

    published: int
    reports: int
    rejected: int
    alerts: int
    duplicates: int
    contradictions: int
    """Records with two different answers, which nothing allows."""
    lost: int
    records_per_s: float
    latency_ms: AnswerLatency | None
    cines: int
    """Flagged records whose cine was drawn."""
    cines_failed: int
    cine_seconds: CineSeconds | None


class DemoAccount:
    """Matches answers with records by record id.

    A second answer to a record is a duplicate, which at-least-once delivery allows. A second answer with another id
    is a contradiction, which nothing allows. Memory is bounded: only the latest `ANSWERS_KEPT` answers are compared.

    The reader of a report cannot know how many alerts the report raises, because a patient's second alert for the same
    disease is held back. But each disease that was flagged in a patient raises at least one alert, which the account
    waits for.

    Args:
        cines: whether the account also waits for the cine, or its failure, of each flagged record.
    """

    def __init__(self, *, cines: bool = False) -> None:
        self._cines = cines
        self._drawn: RecentDict[str, None] = RecentDict(ANSWERS_KEPT)
        self._undrawn: RecentDict[str, None] = RecentDict(ANSWERS_KEPT)
        self._cine_seconds: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._outstanding: dict[str, float] = {}
        self._answers: RecentDict[str, str] = RecentDict(ANSWERS_KEPT)
        self._alerted: RecentDict[FlaggedDisease, None] = RecentDict(ANSWERS_KEPT)
        self._awaited: RecentDict[FlaggedDisease, None] = RecentDict(ANSWERS_KEPT)
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._kinds: Counter[str] = Counter()
        self._first_sent = self._last_answer = 0.0
        self.published = self.duplicates = self.contradictions = 0
        self.recent: deque[RiskReport | Rejection] = deque(maxlen=RECENT)

    def sent(self, record_id: str) -> None:
        """Note that a record is published now."""
        now = time.monotonic()
        self._first_sent = self._first_sent or now
        self._outstanding[record_id] = now
        self.published += 1

    def receive(self, topic: str, value: bytes) -> None:
        """Note a message from one of `ACCOUNT_TOPICS`."""
        if topic == ECG_RISK:
            report = decode_message(RiskReport, value)
            if self._answered(report.record_id, report.report_id, report):
                self._await_alerts(report)
        elif topic == ECG_REJECTED:
            rejection = decode_message(Rejection, value)
            self._answered(rejection.record_id or rejection.source, rejection.rejection_id, rejection)
        elif topic == ECG_ALERTS:
            self._receive_alert(decode_message(Alert, value))
        elif topic == CMR_RESULTS:
            self._receive_cine(decode_message(CmrResult, value))

    def _receive_alert(self, alert: Alert) -> None:
        if alert.status != "raised":  # a later state is no second alert
            return
        self._kinds["Alert"] += self._is_first(alert.identifier, alert.identifier)
        flagged_disease = (alert.subject or alert.record_id, alert.code)
        self._alerted.put(flagged_disease, None)
        self._awaited.pop(flagged_disease)

    def _receive_cine(self, result: CmrResult) -> None:
        self._undrawn.pop(result.record_id)
        if result.record_id in self._drawn:
            return
        self._drawn.put(result.record_id, None)
        self._kinds[f"Cine {result.status}"] += 1
        if result.seconds is not None:
            self._cine_seconds.append(result.seconds)

    def _await_alerts(self, report: RiskReport) -> None:
        for risk in report.risks:
            flagged_disease = (report.patient_id or report.record_id, risk.disease)
            if risk.flagged and flagged_disease not in self._alerted:
                self._awaited.put(flagged_disease, None)
        if self._cines and any(risk.flagged for risk in report.risks) and report.record_id not in self._drawn:
            self._undrawn.put(report.record_id, None)

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
        self._answers.put(subject, answer_id)
        return True

    @property
    def lost(self) -> int:
        """Records that were sent and are not answered yet."""
        return len(self._outstanding)

    @property
    def missing(self) -> int:
        """What is still awaited: answers, the first alert for each disease flagged in a patient, cines."""
        return self.lost + len(self._awaited) + len(self._undrawn)

    @property
    def received(self) -> int:
        """First answers, alerts and cines so far."""
        return self._kinds.total()

    def outcome(self) -> DemoOutcome:
        """Return the account so far."""
        elapsed_s = max(self._last_answer - self._first_sent, 1e-9)
        return DemoOutcome(
            published=self.published,
            reports=self._kinds["RiskReport"],
            rejected=self._kinds["Rejection"],
            alerts=self._kinds["Alert"],
            duplicates=self.duplicates,
            contradictions=self.contradictions,
            lost=self.lost,
            records_per_s=round((self._kinds["RiskReport"] + self._kinds["Rejection"]) / elapsed_s, 2),
            latency_ms=latency(self._latencies_s),
            cines=self._kinds["Cine generated"],
            cines_failed=self._kinds["Cine failed"],
            cine_seconds=cine_seconds(self._cine_seconds),
        )


def latency(seconds: Iterable[float]) -> AnswerLatency | None:
    """Return the percentiles in milliseconds, None where there is no answer."""
    values: Sequence[float] = list(seconds)
    if not values:
        return None
    return AnswerLatency(*(round(float(p) * 1e3, 1) for p in np.percentile(values, PERCENTILES)))


def cine_seconds(seconds: Iterable[float]) -> CineSeconds | None:
    """Return the percentiles, None where there is no cine."""
    values: Sequence[float] = list(seconds)
    if not values:
        return None
    p50, p95 = (round(float(p), 3) for p in np.percentile(values, (50, 95)))
    return CineSeconds(p50, p95)
