"""Notices that ECGs arrive and nobody answers: a worker that is down sends no message that says so."""

from __future__ import annotations

from collections.abc import Mapping

PATIENCE_S = 120.0


class Silence:
    """Compares where the input topic ends with when the last report or rejection came; times are seconds since 1970.

    Only that an end has moved is taken from it: how far is the broker's own affair (Tansu's counts whole batches).
    """

    def __init__(self) -> None:
        self._ends: dict[int, int] = {}
        self._asked_at = 0.0
        self._answered_at = 0.0
        self._since: float | None = None

    def answered(self, now: float) -> None:
        """Take note of a report or a rejection."""
        self._answered_at, self._since = now, None

    def see(self, ends: Mapping[int, int], asked_at: float) -> None:
        """Take note of where the input's partitions ended when the broker was asked.

        What has arrived since the last time may have been answered since the last time: it waits only if nothing was.
        """
        if asked_at < self._asked_at:  # the clock was set back: what was noted by it before compares with nothing
            self._asked_at = self._answered_at = asked_at
            self._since = None if self._since is None else asked_at
        arrived = any(end > self._ends.get(partition, end) for partition, end in ends.items())
        if arrived and self._answered_at < self._asked_at and self._since is None:
            self._since = asked_at
        self._ends |= ends
        self._asked_at = asked_at

    def since(self, now: float) -> float | None:
        """Return since when ECGs have arrived without an answer, None while that is not long."""
        return self._since if self._since is not None and now - self._since > PATIENCE_S else None
