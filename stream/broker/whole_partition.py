"""aiokafka taught to go round what it cannot parse, and to decompress within a bound.

aiokafka raises out of the consumer at the first byte that it does not understand, below everything that could refuse
it. Nothing is acknowledged then, and the next consumer meets the same bytes. It offers no place to hook in. So two
names of its fetcher are replaced: the one that finds batches in the answer to a fetch, and the one that yields their
records. They are replaced for the whole process, because Faust makes its consumer itself, and no consumer of ours may
be without them.

What cannot be read is yielded as a message with an `UnreadablePlace` for its value. So it goes the way of any other
message, is answered and acknowledged in its turn, and the position moves past it as past any other.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatch

from schemas.errors import DeploymentError

from .batch_codecs import UnusableContent
from .record_batches import MAX_HOLE, Batch, Gap, Unparsable, check_number, frames, read_batch, unfolded
from .salvaged_records import Record, salvaged
from .unreadable_place import unreadable_place

PLAIN_BYTES = 2**20
"""A batch of more bytes is read record by record from the start: aiokafka's reader has no bound on the headers."""
NAMED_ALONE = 1000
"""Of the offsets that one fault makes unreadable the first thousand are messages of their own. The others share a
message, or a batch of one kilobyte would be answered by millions of messages."""

_KNOWN_PARAMETERS = (
    *("self", "tp", "records", "aborted_transactions", "fetch_offset", "key_deserializer", "value_deserializer"),
    *("check_crcs", "isolation_level"),
)


class FetchedContent:
    """Stands for aiokafka's `MemoryRecords`: what a fetch brought of a partition, not looked at yet."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def has_next(self) -> bool:
        """Return whether there is anything."""
        return bool(self.content)

    def size_in_bytes(self) -> int:
        """Return how much there is."""
        return len(self.content)


class WholePartition(PartitionRecords):  # type: ignore[misc]  # aiokafka is untyped
    """Stands for aiokafka's `PartitionRecords`: yields messages, and holds the offset that the next fetch begins at."""

    _records: FetchedContent
    _aborted_producers: set[int]
    next_fetch_offset: int

    def __iter__(self) -> Iterator[Any]:
        """Return what yields the messages, without aiokafka's detour by `__next__` for each."""
        return self._records_iterator  # type: ignore[no-any-return]

    def _unpack_records(self) -> Iterator[Any]:
        for frame, is_enclosed in frames(self._records.content):
            try:
                batch = read_batch(frame, is_enclosed)
            except Unparsable as error:
                # Its end is not known. The next fetch begins one further on, and may bring the same batch again.
                yield from self._messages_of(Gap(self.next_fetch_offset, self.next_fetch_offset, str(error)))
                return
            if not (self._was_aborted(batch) or batch.is_control):
                yield from self._messages(batch)
            self.next_fetch_offset = max(self.next_fetch_offset, batch.next_offset)

    def _was_aborted(self, batch: Batch) -> bool:
        """Return whether the batch is of a transaction that was aborted, where only committed ones are asked for."""
        if self._isolation_level == READ_UNCOMMITTED:
            return False
        self._consume_aborted_up_to(batch.base_offset)
        if batch.is_control:  # of an aborted transaction the next mark is its end
            self._aborted_producers.discard(batch.producer)
        return batch.is_transactional and batch.producer in self._aborted_producers

    def _messages(self, batch: Batch) -> Iterator[Any]:
        try:
            check_number(batch)
            whole = unfolded(batch)
        except UnusableContent as error:
            rest = Gap(max(batch.base_offset, self.next_fetch_offset), batch.next_offset - 1, str(error))
            return self._messages_of(rest, is_oversized=error.is_oversized)
        if len(whole) > PLAIN_BYTES or not batch.adds_up(whole):
            return self._salvaged_messages(batch, whole)
        return self._sound_messages(batch, whole)

    def _sound_messages(self, batch: Batch, whole: memoryview) -> Iterator[Any]:
        """Yield the messages of a batch as aiokafka reads it, and from its first fault on what can be salvaged."""
        message_of, partition, begin = self._consumer_record, self._tp, self.next_fetch_offset
        expected = batch.base_offset
        try:
            for record in DefaultRecordBatch(whole):
                offset = record.offset
                if offset != expected:
                    batch.check_order(offset, expected)
                expected = offset + 1
                if offset >= begin:  # an earlier fetch has brought the others
                    message = message_of(partition, record)
                    self.next_fetch_offset = expected
                    yield message
        except Exception:  # noqa: BLE001  whatever it is, it is the fault of these bytes, and the others go on
            yield from self._salvaged_messages(batch, whole)

    def _salvaged_messages(self, batch: Batch, whole: memoryview) -> Iterator[Any]:
        for read in salvaged(batch, whole):
            if isinstance(read, Gap):
                yield from self._messages_of(read._replace(first=max(read.first, self.next_fetch_offset)))
            elif read.offset >= self.next_fetch_offset:
                self.next_fetch_offset = read.offset + 1
                yield self._consumer_record(self._tp, read)

    def _messages_of(self, gap: Gap, *, is_oversized: bool = False) -> Iterator[Any]:
        first = gap.first
        for size in chain(repeat(1, NAMED_ALONE), repeat(MAX_HOLE)):
            if first > gap.last:
                return
            last = min(gap.last, first + size - 1)
            place = unreadable_place(Gap(first, last, gap.reason), is_oversized=is_oversized)
            first = self.next_fetch_offset = last + 1
            yield self._consumer_record(self._tp, Record(last, None, None, None, place, ()))


def go_round_unreadable_places() -> None:
    """Have every consumer of this process go round what cannot be read; once is enough, and more does no harm.

    Raises:
        DeploymentError: this aiokafka is not the one that is known here.
    """
    known = tuple(inspect.signature(PartitionRecords.__init__).parameters) == _KNOWN_PARAMETERS
    if not known or not hasattr(PartitionRecords, "_unpack_records") or not hasattr(fetcher, "MemoryRecords"):
        raise DeploymentError("this aiokafka reads batches in another way than is known here: install aiokafka 0.14")
    fetcher.MemoryRecords, fetcher.PartitionRecords = FetchedContent, WholePartition
