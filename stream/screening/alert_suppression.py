"""Holds alerts back that would tell a ward nothing new: the same finding of the same patient, or too many an hour."""

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

Verdict: TypeAlias = Literal["raised", "refractory", "budget"]
Finding: TypeAlias = tuple[bool, str, Disease]
"""Whether the patient is known, the patient's pseudonym or else the record's id, and the disease."""

FINDINGS_KEPT = 50_000
VERDICTS_KEPT = 20_000
"""Of the newest alerts: many times what can be redelivered."""
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _Raised:
    at: datetime
    odds: float


class Refractory:
    """Judges each alert before it goes out.

    It remembers in memory alone, and within bounds. A patient's records lie on one partition of a topic, so that one
    worker sees them in order; what it forgets when the partition moves on, when it restarts, or when more findings
    than `FINDINGS_KEPT` are fresh costs one repeated alert a finding: the error is on the side of alerting.

    Args:
        window: for so long after an alert a finding raises no second one,
        worsening: unless its odds have risen by this factor since then.
        per_hour: alerts of medium and low priority go out only while fewer than this many, of whatever priority, have
            gone out in the hour before; those of high priority always do. None for no limit.
    """

    def __init__(self, window: timedelta, worsening: float, per_hour: int | None) -> None:
        self._window = window
        self._worsening = worsening
        self._latest: deque[datetime] | None = deque(maxlen=per_hour) if per_hour else None
        self._raised: RecentDict[Finding, _Raised] = RecentDict(FINDINGS_KEPT)
        self._verdicts: RecentDict[str, Verdict] = RecentDict(VERDICTS_KEPT)

    @classmethod
    def for_lane(cls, lane: Lane, settings: AlertSettings) -> Self | None:
        """Return a lane's own, or None where it raises no alerts.

        An archive's ECG is no news for a ward, let alone may it silence what the patient's next one says.
        """
        return cls.from_settings(settings) if lane is Lane.REALTIME or settings.on_backfill else None

    @classmethod
    def from_settings(cls, settings: AlertSettings) -> Self:
        """Return one as the operator wants it."""
        return cls(timedelta(seconds=settings.refractory_s), settings.worsening, settings.per_hour)

    def judge(self, alert: Alert, at: datetime) -> Verdict:
        """Return whether the alert goes out, or why it does not; a record that is delivered again gets the same answer.

        Args:
            at: when the ECG was screened.
        """
        verdict = self._verdicts.get(alert.identifier)
        if verdict is None:
            verdict = self._judge(alert, at)
            self._verdicts.put(alert.identifier, verdict)
        return verdict

    def _judge(self, alert: Alert, at: datetime) -> Verdict:
        (risk,) = alert.risks
        finding = (alert.subject is not None, alert.subject or alert.record_id, alert.code)
        earlier = self._raised.get(finding)
        if earlier and self._is_fresh(earlier, at) and not self._is_worse(odds(risk.probability), earlier.odds):
            return "refractory"
        if alert.priority != "high" and self._is_exhausted(at):
            return "budget"
        self._raised.put(finding, _Raised(at, odds(risk.probability)))
        if self._latest is not None:
            self._latest.append(at)
        return "raised"

    def _is_fresh(self, earlier: _Raised, at: datetime) -> bool:
        return abs(at - earlier.at) < self._window  # abs: a clock that was set back must not silence a patient

    def _is_worse(self, now: float, before: float) -> bool:
        return now > before and now >= self._worsening * before

    def _is_exhausted(self, at: datetime) -> bool:
        """Return whether the oldest of the alerts that would fill the budget is less than an hour old."""
        latest = self._latest
        return latest is not None and len(latest) == latest.maxlen and abs(at - latest[0]) < HOUR
