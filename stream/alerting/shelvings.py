"""Which diseases of which patients raise no alert for a while, because a person wants it so."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

from schemas.errors import MalformedRecord
from schemas.messages import LONGEST_SHELVING, Alert, Disease, Shelving, decode_message
from schemas.topics import ECG_ALERTS_SHELVED, bounded_value
from stream.bounded import RecentDict

from .arrival import CLOCKS_AGREE

SHELVINGS_KEPT = 10_000

Shelved: TypeAlias = tuple[str, Disease]


class Shelvings:
    """Keeps the latest shelving of each patient and disease. Messages may come in any order, and more than once."""

    def __init__(self) -> None:
        self._latest: RecentDict[Shelved, Shelving] = RecentDict(SHELVINGS_KEPT)

    def receive(self, value: bytes | None, now: datetime) -> Shelving:
        """Take in a message of `ecg.alerts.shelved.v1`, and return it.

        Raises:
            MalformedRecord: it breaks the contract, or its writer's clock is ahead: it would hold for ever.
        """
        shelving = decode_message(Shelving, bounded_value(ECG_ALERTS_SHELVED, value))
        if shelving.shelved_at > now + CLOCKS_AGREE:
            raise MalformedRecord("a shelving from the future")
        self.note(shelving)
        return shelving

    def note(self, shelving: Shelving) -> None:
        """Take note of a shelving: the latest one holds."""
        name = (shelving.subject, shelving.code)
        known = self._latest.get(name)
        if known is None or shelving.shelved_at >= known.shelved_at:
            self._latest.put(name, shelving)

    def holds(self, alert: Alert, now: datetime) -> bool:
        """Return whether an alert is shelved. One without a patient never is."""
        shelving = self._latest.get((alert.subject, alert.code)) if alert.subject is not None else None
        return shelving is not None and now < ends_at(shelving)

    def at_present(self, now: datetime) -> list[Shelving]:
        """Return those that have not ended, the newest first."""
        return [shelving for shelving in self._latest.newest_first() if now < ends_at(shelving)]


def ends_at(shelving: Shelving) -> datetime:
    """Return when a shelving ends by itself."""
    return min(shelving.until, shelving.shelved_at + LONGEST_SHELVING)
