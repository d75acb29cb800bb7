"""What a lane needs of a Faust event, and how often a lane tries again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

BACKOFF_GROWTH = 2.0


class Event(Protocol):
    """What a lane needs of Faust's event."""

    @property
    def key(self) -> Any:
        """The record's key, bytes or None."""

    @property
    def value(self) -> Any:
        """The record as it came, bytes or None."""

    @property
    def headers(self) -> Any:
        """The record's headers: bytes or None by name."""

    @property
    def message(self) -> Any:
        """Where it came from: topic, partition, offset, timestamp in seconds."""

    def ack(self) -> bool:
        """Let the offset be committed."""


@dataclass(frozen=True, slots=True)
class Tries:
    """How often a record is tried while the moment is bad, and how long to wait between."""

    limit: int
    backoff_s: float

    def delay_s(self, failed: int) -> float:
        """Return the wait after `failed` tries."""
        return self.backoff_s * BACKOFF_GROWTH ** (failed - 1)
