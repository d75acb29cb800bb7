"""Suppresses alerts that tell a ward nothing new: a repeated disease of one patient, or too many alerts an hour."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Self, TypeAlias

from engines.batcher import Lane
from inference.report import odds
from schemas.messages import Alert, Disease
from stream.bounded import RecentDict
from stream.settings import AlertSettings

Decision: TypeAlias = Literal["raised", "refractory", "budget"]
PatientDisease: TypeAlias = tuple[bool, str, Disease]
"""Whether the patient is known; the patient's pseudonym, or the record's id where there is none; the disease."""

DISEASES_KEPT = 50_000
DECISIONS_KEPT = 20_000
"""Decisions on the newest alerts. Kafka can redeliver far fewer records than that."""
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _Raised:
    at: datetime
    odds: float


class AlertSuppressor:
    """Decides on each alert before it goes out.

    The suppressor keeps what it knows in memory alone, and within bounds. All records of a patient are on one partition
    of a topic, so one worker sees them in order. The suppressor forgets a patient when the partition moves to another
    worker, when the worker restarts, and when more than `DISEASES_KEPT` diseases of patients are within the window.
    Each time, the patient's next alert is sent once too often: this errs on the side of alerting.

    Args:
        window: how long after an alert the same disease of the same patient raises no second alert.
        worsening: the factor by which the odds must rise for a second alert within the window.
        per_hour: the budget. Alerts of medium and low priority go out only while fewer than `per_hour` alerts, of any
            priority, went out in the hour before. Alerts of high priority always go out. None means no limit.
    """

    def __init__(self, window: timedelta, worsening: float, per_hour: int | None) -> None:
        self._window = window
        self._worsening = worsening
        self._latest: deque[datetime] | None = deque(maxlen=per_hour) if per_hour else None
        self._raised: RecentDict[PatientDisease, _Raised] = RecentDict(DISEASES_KEPT)
        self._decisions: RecentDict[str, Decision] = RecentDict(DECISIONS_KEPT)

    @classmethod
    def for_lane(cls, lane: Lane, settings: AlertSettings) -> Self | None:
        """Return a suppressor for this lane alone, or None if the lane raises no alerts.

        An archived ECG must not raise an alert, and must not suppress the alert of the patient's next live ECG.
        """
        return cls.from_settings(settings) if lane is Lane.REALTIME or settings.on_backfill else None

    @classmethod
    def from_settings(cls, settings: AlertSettings) -> Self:
        """Return a suppressor with the operator's limits."""
        return cls(timedelta(seconds=settings.refractory_s), settings.worsening, settings.per_hour)

    def decide(self, alert: Alert, at: datetime) -> Decision:
        """Return "raised" if the alert goes out, else why it does not. A redelivered record gets the same decision.

        Args:
            at: when the ECG was screened.
        """
        decision = self._decisions.get(alert.identifier)
        if decision is None:
            decision = self._decide(alert, at)
            self._decisions.put(alert.identifier, decision)
        return decision

    def _decide(self, alert: Alert, at: datetime) -> Decision:
        (risk,) = alert.risks
        subject = (alert.subject is not None, alert.subject or alert.record_id, alert.code)
        earlier = self._raised.get(subject)
        if earlier and self._is_fresh(earlier, at) and not self._is_worse(odds(risk.probability), earlier.odds):
            return "refractory"
        if alert.priority != "high" and self._is_exhausted(at):
            return "budget"
        self._raised.put(subject, _Raised(at, odds(risk.probability)))
        if self._latest is not None:
            self._latest.append(at)
        return "raised"

    def _is_fresh(self, earlier: _Raised, at: datetime) -> bool:
        return abs(at - earlier.at) < self._window  # abs: a clock that was set back must not silence a patient

    def _is_worse(self, now: float, before: float) -> bool:
        return now > before and now >= self._worsening * before

    def _is_exhausted(self, at: datetime) -> bool:
        """Return whether as many alerts as the budget allows went out within the last hour."""
        latest = self._latest
        return latest is not None and len(latest) == latest.maxlen and abs(at - latest[0]) < HOUR
