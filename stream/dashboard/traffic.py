"""How many reports come, and how long they take; times are seconds since 1970."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import msgspec
import numpy as np

from schemas.messages import RiskReport

RATE_WINDOW_S = 60
LATENCIES_KEPT = 500
LATENCY_WINDOW_S = 600.0
CLOCKS_AGREE_S = 1.0
"""A latency below 0 by no more than this counts as 0. By more, two clocks disagree, and it is no latency."""
LIVE_S = 600.0
"""An ECG is live if it was recorded at most this long ago. The age of an older ECG says nothing about our latency."""


class Latency(msgspec.Struct, frozen=True):
    """Seconds, over the live records of the last minutes."""

    p50: float
    p95: float


class Measured(NamedTuple):
    """A latency in seconds, and when it was measured."""

    at: float
    seconds: float


class Traffic:
    """Counts reports, and measures their latencies.

    Args:
        started_at: a report that was made earlier comes from a replay, so its age is no latency.

    Attributes:
        last_report: when the newest report was made.
    """

    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        self._per_second: Counter[int] = Counter()
        self._seen: deque[Measured] = deque(maxlen=LATENCIES_KEPT)
        self._recorded: deque[Measured] = deque(maxlen=LATENCIES_KEPT)
        self.screened = 0
        self.last_report: float | None = None

    def note(self, report: RiskReport, made_at: datetime, now: float) -> None:
        """Count the first report of a record, and measure its latency if it is live.

        Args:
            made_at: when the report was made, as far as its worker's clock is right.
        """
        self.screened += 1
        created = made_at.timestamp()
        # A worker whose clock is ahead must not make the newest report look new for longer than it is.
        self.last_report = max(min(created, now), self.last_report or 0.0)
        self._count(created, now)
        if created < self._started_at:
            return
        if made_at == report.created_at:  # else the worker's clock is wrong, and tells no latency
            _measure(self._seen, now, now - created)
        if report.recorded_at is not None and now - report.recorded_at.timestamp() < LIVE_S:
            _measure(self._recorded, now, now - report.recorded_at.timestamp())

    def per_minute(self, now: float) -> int:
        """Return how many reports were made in the last minute."""
        return sum(n for second, n in self._per_second.items() if now - RATE_WINDOW_S <= second <= now)

    def seen(self, now: float) -> Latency | None:
        """Return the latency from a report's creation to its arrival here; None if no report came lately."""
        return _latency(self._seen, now)

    def recorded(self, now: float) -> Latency | None:
        """Return the latency from an ECG's recording to the arrival of its report here; None if none came lately."""
        return _latency(self._recorded, now)

    def _count(self, created: float, now: float) -> None:
        if abs(now - created) <= RATE_WINDOW_S:
            self._per_second[int(created)] += 1
        for second in [second for second in self._per_second if second < now - RATE_WINDOW_S]:
            del self._per_second[second]


def _measure(kept: deque[Measured], now: float, seconds: float) -> None:
    """Keep a latency, unless a clock is so far ahead of ours that it is none."""
    if seconds >= -CLOCKS_AGREE_S:
        kept.append(Measured(now, max(0.0, seconds)))


def _latency(measured: Iterable[Measured], now: float) -> Latency | None:
    """Return the latency of the last minutes. Older measurements are left out: a worker may be down since then."""
    seconds = [one.seconds for one in measured if now - one.at <= LATENCY_WINDOW_S]
    if not seconds:
        return None
    return Latency(*(round(float(p), 3) for p in np.percentile(seconds, (50, 95))))
