"""The newest rejections that the dashboard keeps."""

from __future__ import annotations

from itertools import islice

from schemas.messages import Rejection, decode_message
from stream.bounded import RecentDict

REJECTIONS_KEPT = 1000


class RecentRejections:
    """Keeps each rejection once, and at most `REJECTIONS_KEPT` of them.

    Attributes:
        count: how many different rejections came.
    """

    def __init__(self) -> None:
        self._values: RecentDict[str, bytes] = RecentDict(REJECTIONS_KEPT)
        self.count = 0

    def receive(self, rejection: Rejection, value: bytes) -> None:
        """Keep a rejection; one that came before changes nothing."""
        if rejection.rejection_id not in self._values:
            self.count += 1
            self._values.put(rejection.rejection_id, value)

    def find(self, limit: int, text: str = "") -> list[Rejection]:
        """Return the newest rejections whose record id, code or sentence contains `text`, in any case."""
        wanted = text.casefold()
        found = (decode_message(Rejection, value) for value in self._values.newest_first())
        matching = (r for r in found if wanted in f"{r.record_id} {r.code} {r.detail}".casefold())
        return list(islice(matching, limit))
