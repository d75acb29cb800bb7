"""When something really happened, where a clock may be wrong.

The time that a message names is that of its writer's clock. Where it is far from the message's arrival, one of the two
clocks is wrong, and the arrival counts: for the order, for the age, and for what the pages say.
"""

from __future__ import annotations

from datetime import datetime, timedelta

CLOCKS_AGREE = timedelta(minutes=5)
"""Clocks that differ by less agree: a message takes a moment to arrive."""
NEWS_S = 600.0


def as_of_arrival(said: datetime, arrived: datetime | None, *, only_future: bool = False) -> datetime:
    """Return the time that a message names, or its arrival where the two are too far apart.

    Args:
        arrived: when the message arrived; None if that is not known.
        only_future: whether the message may name a time of long ago, as one that repeats an earlier message does.
    """
    if arrived is None:
        return said
    ahead = said - arrived
    return arrived if ahead > CLOCKS_AGREE or (ahead < -CLOCKS_AGREE and not only_future) else said


class Clocks:
    """Remembers how far a worker's clock is off, for as long as that is news."""

    def __init__(self) -> None:
        self._off_s = self._noted_at = 0.0

    def note(self, off_s: float | None, arrived_at: float) -> None:
        """Take note of a message whose time is so far ahead of its arrival; None if the clocks agree."""
        if off_s is not None and arrived_at >= self._noted_at:
            self._off_s, self._noted_at = off_s, arrived_at

    def off_s(self, now: float) -> float | None:
        """Return how far the last clock that was wrong is ahead of ours; None if none was wrong lately."""
        return self._off_s if now - self._noted_at < NEWS_S else None


class Arrivals:
    """Tells when the messages of each partition arrived, though a log may only hold what their writers say.

    A message that is read as it comes arrives now. One that is read later has the timestamp that Kafka keeps: the
    writer's, unless the topic has the broker's. A log is written in order. So a message arrived no earlier than any
    message before it in its partition, and no later than now.
    """

    def __init__(self) -> None:
        self._latest: dict[object, float] = {}

    def of(self, partition: object, timestamp: float, now: float, *, is_live: bool) -> float:
        """Return when a message arrived, in seconds since 1970.

        Args:
            timestamp: that Kafka keeps with the message.
            is_live: whether the message is read as it comes.
        """
        if is_live:
            return now
        latest = self._latest.get(partition, 0.0)
        if latest < timestamp <= now + CLOCKS_AGREE.total_seconds():
            self._latest[partition] = latest = timestamp
        return min(latest or now, now)
