"""The file of one partition that is being filled, in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from inference.reading.file_note import FileNote
from schemas.errors import RecordError
from stream.bounded import RecentDict

from .answers import Counts, Delivered, Kind, WantedLane, row_of
from .columns import as_batch
from .ranges import Place, Range

ROWS_A_BATCH = 200
"""As rows of Python they take ten times the memory that they take as columns."""
KNOWN_IDS = 10_000
"""So many ids of a partition's last rows are known. A worker that was killed repeats 128 answers at most."""


class Judge:
    """Says what becomes of the messages of one partition. It knows the ids of the last rows.

    Args:
        ids: of the rows that the files have, oldest first.
        tell: is told of the messages that are no answers.
    """

    def __init__(
        self,
        kind: Kind[Any],
        place: Place,
        wanted: WantedLane,
        ids: list[str],
        tell: Callable[[FileNote], object],
    ) -> None:
        self.kind, self.place = kind, place
        self._wanted, self._tell = wanted, tell
        self._ids: RecentDict[str, None] = RecentDict(KNOWN_IDS)
        for identifier in ids:
            self._ids.put(identifier, None)

    def row(self, delivered: Delivered, counts: Counts) -> dict[str, Any] | None:
        """Return the row of a message; None if it becomes none, which is counted."""
        try:
            row = row_of(self.kind, delivered, self._wanted)
        except RecordError as error:
            counts.malformed += 1
            self._tell(self._note(delivered, error))
            return None
        if isinstance(row, str):
            setattr(counts, row, getattr(counts, row) + 1)
            return None
        if row[self.kind.identifier] in self._ids:
            counts.repeated += 1
            return None
        self._ids.put(row[self.kind.identifier], None)
        return row

    def _note(self, delivered: Delivered, error: RecordError) -> FileNote:
        path = f"{self.place.topic}/{self.place.partition}/{delivered.offset}"
        return FileNote(path=path, status="refused", code=error.wire_code, detail=str(error), numbers=error.numbers)


class Filling:
    """A file that is being filled: rows of the offsets from the first one up to the next one.

    Attributes:
        rows: how many there are.
        first: the first offset that the file holds.
        next: the offset behind the last one.
        counts: of the messages that are no rows.
        since: when the file was begun, by the monotonic clock.
    """

    def __init__(self, judge: Judge, first: int) -> None:
        self._judge = judge
        self._waiting: list[dict[str, Any]] = []
        self._batches: list[pa.RecordBatch] = []
        self.rows = 0
        self.first = self.next = first
        self.counts = Counts()
        self.since = time.monotonic()

    @property
    def held(self) -> Range | None:
        """The offsets that the file holds; None if there are none yet."""
        return Range(self.first, self.next - 1) if self.next > self.first else None

    def take(self, delivered: Delivered) -> None:
        """Take a message in."""
        self.reach(delivered.offset + 1)
        row = self._judge.row(delivered, self.counts)
        if row is not None:
            self.rows += 1
            self._waiting.append(row)
            if len(self._waiting) >= ROWS_A_BATCH:
                self._turn_into_columns()

    def reach(self, offset: int) -> None:
        """Note that all messages before the offset were taken in: some offsets have no message."""
        self.next = max(self.next, offset)

    def table(self) -> pa.Table:
        """Return the rows."""
        self._turn_into_columns()
        return pa.Table.from_batches(self._batches, self._judge.kind.schema)

    def _turn_into_columns(self) -> None:
        if self._waiting:
            self._batches.append(as_batch(self._judge.kind.schema, self._waiting))
            self._waiting = []
