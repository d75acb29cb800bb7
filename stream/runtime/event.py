"""The part of a Faust event that a lane uses, and how often a lane tries a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

BACKOFF_GROWTH = 2.0


class Event(Protocol):
    """The part of a Faust event that a lane uses."""

    @property
    def key(self) -> Any:
        """The record's key, bytes or None."""

    @property
    def value(self) -> Any:
        """The record's bytes as they came, or None."""

    @property
    def headers(self) -> Any:
        """The record's headers: bytes or None by name."""

    @property
    def message(self) -> Any:
        """Where the record came from: topic, partition, offset, timestamp in seconds."""

    def ack(self) -> bool:
        """Let the offset be committed."""


@dataclass(frozen=True, slots=True)
class Tries:
    """How often a record is tried after a `TransientError`, and how long to wait between two tries."""

    limit: int
    backoff_s: float

    def delay_s(self, failed: int) -> float:
        """Return the wait after `failed` tries."""
        return self.backoff_s * BACKOFF_GROWTH ** (failed - 1)
