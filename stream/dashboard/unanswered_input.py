"""Notices that ECGs arrive and nobody answers. A worker that is down sends no message that says so."""

from __future__ import annotations

from collections.abc import Mapping

PATIENCE_S = 120.0


class UnansweredInput:
    """Compares the end of the input topic with the time of the last answer; times are seconds since 1970.

    It only looks at whether an end has moved. How far an end moves depends on the broker: Tansu counts whole batches.
    """

    def __init__(self) -> None:
        self._ends: dict[int, int] = {}
        self._asked_at = 0.0
        self._answered_at = 0.0
        self._since: float | None = None

    def note_answer(self, now: float) -> None:
        """Take note of a report or a rejection."""
        self._answered_at, self._since = now, None

    def note_ends(self, ends: Mapping[int, int], asked_at: float) -> None:
        """Take note of where the input's partitions ended when the broker was asked.

        Records that arrived since the last check count as unanswered only if no answer came since then.
        """
        if asked_at < self._asked_at:  # the clock was set back, so earlier times cannot be compared with later ones
            self._asked_at = self._answered_at = asked_at
            self._since = None if self._since is None else asked_at
        arrived = any(end > self._ends.get(partition, end) for partition, end in ends.items())
        if arrived and self._answered_at < self._asked_at and self._since is None:
            self._since = asked_at
        self._ends |= ends
        self._asked_at = asked_at

    def since(self, now: float) -> float | None:
        """Return since when ECGs have arrived without an answer; None if that is not long ago."""
        return self._since if self._since is not None and now - self._since > PATIENCE_S else None
