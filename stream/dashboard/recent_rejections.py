"""The newest rejections that the dashboard keeps."""

from __future__ import annotations

from itertools import islice

from schemas.messages import Rejection, decode_message
from stream.bounded import SizedDict

REJECTIONS_KEPT = 1000
MAX_BYTES = 2 * 2**20
"""Of all rejections together: four times what as many of ours take. So a list and a search stay quick."""


class RecentRejections:
    """Keeps each rejection once, and at most `REJECTIONS_KEPT` of them and `MAX_BYTES`.

    Attributes:
        count: how many different rejections came.
    """

    def __init__(self) -> None:
        self._values: SizedDict[str, bytes] = SizedDict(REJECTIONS_KEPT, MAX_BYTES)
        self.count = 0

    def receive(self, rejection: Rejection, value: bytes) -> None:
        """Keep a rejection; one that came before changes nothing."""
        if rejection.rejection_id not in self._values:
            self.count += 1
            self._values.put_sized(rejection.rejection_id, value, len(value))

    def find(self, limit: int, text: str = "") -> list[Rejection]:
        """Return the newest rejections whose record id, code or sentence contains `text`, in any case."""
        wanted = text.casefold()
        found = (decode_message(Rejection, value) for value in self._values.newest_first())
        matching = (r for r in found if wanted in f"{r.record_id} {r.code} {r.detail}".casefold())
        return list(islice(matching, limit))
