"""The newest rejections that the dashboard keeps."""

from __future__ import annotations

from collections.abc import Iterator
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

    def find(self, limit: int, text: str = "", site: str | None = None) -> list[Rejection]:
        """Return the newest rejections whose record id, code or sentence contains `text`, in any case.

        Args:
            site: where the records were recorded; the empty site is that of records without one. None: anywhere.
        """
        wanted = text.casefold()
        matching = (r for r in self._newest_first() if wanted in f"{r.record_id} {r.code} {r.detail}".casefold())
        return list(islice((r for r in matching if site in {None, r.site or ""}), limit))

    def of_record(self, record_id: str) -> Rejection | None:
        """Return the newest rejection under a record's id."""
        return next((r for r in self._newest_first() if r.record_id == record_id), None)

    def _newest_first(self) -> Iterator[Rejection]:
        return (decode_message(Rejection, value) for value in self._values.newest_first())
