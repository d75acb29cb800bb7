"""Suppresses alerts that a ward does not want: repeated ones, too many an hour, and what a person has shelved."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Self, TypeAlias

from engines.batcher import Lane
from inference.report import odds
from schemas.messages import Alert, Disease
from stream.alerting.shelvings import Shelvings
from stream.bounded import RecentDict
from stream.settings import AlertSettings

Decision: TypeAlias = Literal["raised", "refractory", "budget", "shelved"]
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

    What the lane of any worker has raised is learned from the topic of alerts (`alert_topics.py`), and kept in memory
    within bounds. So the rules hold across a rebalance and a restart, and for patients whose ECGs come to two workers.
    What was raised elsewhere a moment ago may not be known yet, and more than `DISEASES_KEPT` diseases of patients may
    be within the window. Then the patient's next alert is sent once too often: this errs on the side of alerting.

    Args:
        shelvings: what people have shelved.
        window: how long after an alert the same disease of the same patient raises no second alert.
        worsening: the factor by which the odds must rise for a second alert within the window.
        per_hour: the budget of the site. Alerts of medium and low priority go out only while fewer than `per_hour`
            alerts, of any priority, went out in the hour before. Alerts of high priority always go out. None means no
            limit.
    """

    def __init__(
        self, window: timedelta, worsening: float, per_hour: int | None, shelvings: Shelvings | None = None
    ) -> None:
        self._shelvings = shelvings or Shelvings()
        self._window = window
        self._worsening = worsening
        self._per_hour = per_hour
        self._latest: list[datetime] = []
        self._raised: RecentDict[PatientDisease, _Raised] = RecentDict(DISEASES_KEPT)
        self._decisions: RecentDict[str, Decision] = RecentDict(DECISIONS_KEPT)

    @classmethod
    def for_lane(cls, lane: Lane, settings: AlertSettings, shelvings: Shelvings | None = None) -> Self | None:
        """Return a suppressor for this lane alone, or None if the lane raises no alerts.

        An archived ECG must not raise an alert, and must not suppress the alert of the patient's next live ECG.
        """
        return cls.from_settings(settings, shelvings) if lane is Lane.REALTIME or settings.on_backfill else None

    @classmethod
    def from_settings(cls, settings: AlertSettings, shelvings: Shelvings | None = None) -> Self:
        """Return a suppressor with the operator's limits."""
        return cls(timedelta(seconds=settings.refractory_s), settings.worsening, settings.per_hour, shelvings)

    def learn(self, alert: Alert, now: datetime) -> None:
        """Take note of an alert that is on the topic: that of another worker, of one before, or our own."""
        if self.knows(alert.identifier):
            return
        self._decisions.put(alert.identifier, "raised")
        at, known = min(alert.onset, now), self._raised.get(_subject(alert))
        if known is None or at >= known.at:  # of other partitions the older ones may come later
            self._note(alert, at)
        else:
            self._spend(at)

    def knows(self, identifier: str) -> bool:
        """Return whether an alert was raised, here or elsewhere."""
        return self._decisions.get(identifier) == "raised"

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
        if self._shelvings.holds(alert, at):
            return "shelved"
        earlier = self._raised.get(_subject(alert))
        if earlier and self._is_fresh(earlier, at) and not self._is_worse(odds(risk.probability), earlier.odds):
            return "refractory"
        if alert.priority != "high" and self._is_exhausted(at):
            return "budget"
        self._note(alert, at)
        return "raised"

    def _note(self, alert: Alert, at: datetime) -> None:
        (risk,) = alert.risks
        self._raised.put(_subject(alert), _Raised(at, odds(risk.probability)))
        self._spend(at)

    def _spend(self, at: datetime) -> None:
        """Take note that an alert went out: of the budget the newest ones count, in whatever order they are learned."""
        if self._per_hour is not None:
            insort(self._latest, at)
            del self._latest[: -self._per_hour]

    def _is_fresh(self, earlier: _Raised, at: datetime) -> bool:
        return abs(at - earlier.at) < self._window  # abs: a clock that was set back must not silence a patient

    def _is_worse(self, now: float, before: float) -> bool:
        return now > before and now >= self._worsening * before

    def _is_exhausted(self, at: datetime) -> bool:
        """Return whether as many alerts as the budget allows went out within the last hour."""
        return len(self._latest) == self._per_hour and abs(at - self._latest[0]) < HOUR


def _subject(alert: Alert) -> PatientDisease:
    return alert.subject is not None, alert.subject or alert.record_id, alert.code
