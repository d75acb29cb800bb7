"""Kafka's record batches as they lie in the answer to a fetch: found, checked, and unfolded within a bound.

Nothing is asked of the bytes: anybody may have written them. https://kafka.apache.org/documentation/#recordbatch has
the format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from aiokafka.record.util import calc_crc32c

from .batch_codecs import MAX_CONTENT_BYTES, NONE, UnusableContent, decompress_into, new_buffer

FRAME = struct.Struct(">qi")
HEAD_BYTES = 61
CHECKED = struct.Struct(">qiibIhi")
"""The part of the head that every batch is judged by."""
TIMES, TIMES_AT = struct.Struct(">qq"), CHECKED.size
PRODUCER, PRODUCER_AT = struct.Struct(">q"), 43
NUMBER, NUMBER_AT = struct.Struct(">i"), 57
ATTRIBUTES, CHECKSUM_FROM = struct.Struct(">h"), 21
"""The checksum is over all that follows it, and the attributes are the first of that."""
FORMAT = 2
CODEC_MASK, APPEND_TIME, TRANSACTIONAL, CONTROL = 0x07, 0x08, 0x10, 0x20
MIN_RECORD_BYTES = 7
MAX_RECORDS = 10_000
"""A batch of a kilobyte may hold two million records of a few bytes, and each of them would be answered."""
MAX_HOLE = 100_000
"""How many offsets between two messages may be missing, as they are in a compacted topic."""
PADDING: Final = bytes(16)
"""aiokafka's compiled reader may look some bytes beyond a damaged end. They shall be ours."""
CONTINUES = 0x80
"""The mark of a byte that is not the last one of its number."""


class Unparsable(Exception):  # noqa: N818  it names the condition
    """A record or a batch that cannot be read; the sentence says why."""


class Gap(NamedTuple):
    """Offsets that cannot be read, from the first to the last, and why."""

    first: int
    last: int
    reason: str


class Batch(NamedTuple):
    """A batch whose checksum is right.

    Attributes:
        frame: all of it.
        is_enclosed: whether a reader that looks beyond its end still looks at what is ours.
        next_offset: the offset behind its last record.
    """

    frame: memoryview
    is_enclosed: bool
    base_offset: int
    next_offset: int
    attributes: int

    @property
    def is_control(self) -> bool:
        """Whether the broker wrote it, as the mark at the end of a transaction: no consumer is given it."""
        return bool(self.attributes & CONTROL)

    @property
    def is_transactional(self) -> bool:
        """Whether it is a part of a transaction, which may have been aborted."""
        return bool(self.attributes & TRANSACTIONAL)

    @property
    def producer(self) -> int:
        """The broker's number of whoever wrote it."""
        return int(PRODUCER.unpack_from(self.frame, PRODUCER_AT)[0])

    @property
    def records(self) -> int:
        """How many records it says that it has."""
        return int(NUMBER.unpack_from(self.frame, NUMBER_AT)[0])

    @property
    def offsets(self) -> int:
        """How many offsets it takes. It has fewer records where the topic was compacted."""
        return self.next_offset - self.base_offset

    @property
    def times(self) -> tuple[int, int]:
        """The time of its first record and the latest of all, in milliseconds since 1970."""
        first, latest = TIMES.unpack_from(self.frame, TIMES_AT)
        return first, latest

    def adds_up(self, whole: memoryview) -> bool:
        """Return whether it has no more records than offsets, and not many more offsets than it has room for."""
        room = (len(whole) - HEAD_BYTES) // MIN_RECORD_BYTES
        return self.records <= self.offsets <= MAX_HOLE + min(max(0, self.records), room)

    def check_order(self, offset: int, expected: int) -> None:
        """Check the offset of a record, where `expected` is the next one that is free.

        Raises:
            Unparsable: no record can have this offset.
        """
        is_dense = self.records == self.offsets
        end = expected + 1 if is_dense else min(self.next_offset, expected + MAX_HOLE)
        if not expected <= offset < end:
            raise Unparsable("the number of the record is not in order")


def frames(content: bytes) -> Iterator[tuple[memoryview, bool]]:
    """Yield the batches of a fetch's answer, unread, without the last one if the broker cut it short.

    With each comes whether a reader that looks beyond its end still looks at what is ours. A first batch that is cut
    short, and one of an impossible length, is yielded as it lies there, to the end.
    """
    view, at, size = memoryview(content), 0, len(content)
    while at < size:
        end = _end_of_frame(content, at)
        if end is None or (at == 0 and end > size):
            yield view[at:], False
            return
        if end > size:
            return
        # Python ends each content by a zero, and there the last number ends that begins within it.
        yield view[at:end], content[end - 1] < CONTINUES if end == size else end + len(PADDING) <= size
        at = end


def read_batch(frame: memoryview, is_enclosed: bool) -> Batch:
    """Return a batch, not unfolded yet.

    Raises:
        Unparsable: nothing that it says of itself can be trusted, its last offset among it.
    """
    if len(frame) < HEAD_BYTES:
        raise Unparsable(f"the batch has {len(frame)} bytes, fewer than its head")
    base, length, _, version, checksum, attributes, last = CHECKED.unpack_from(frame)
    if version != FORMAT:
        raise Unparsable(f"the batch is of format {version}, and not of format {FORMAT}")
    if length != len(frame) - FRAME.size:
        raise Unparsable(f"the batch says that {length} bytes follow, and {len(frame) - FRAME.size} do")
    if calc_crc32c(frame[CHECKSUM_FROM:]) != checksum:
        raise Unparsable("the checksum of the batch is wrong")
    if last < 0:
        raise Unparsable(f"the last record of the batch has the number {last}")
    return Batch(frame, is_enclosed, base, base + last + 1, attributes)


def check_number(batch: Batch) -> None:
    """Check how many records a batch says that it has.

    Raises:
        UnusableContent: they are too many.
    """
    if batch.records > MAX_RECORDS:
        sentence = f"its batch says that it has {batch.records} records, and at most {MAX_RECORDS} are allowed"
        raise UnusableContent(sentence, is_oversized=True)


def unfolded(batch: Batch) -> memoryview:
    """Return the batch as it was before its writer compressed it: the head, and the records.

    Padding, or what is ours as well, lies behind it in memory.

    Raises:
        UnusableContent: it cannot be decompressed within the bound.
    """
    frame, codec = batch.frame, batch.attributes & CODEC_MASK
    if codec != NONE:
        return _decompressed(frame, batch.attributes, codec)
    return frame if batch.is_enclosed else memoryview(b"".join((frame, PADDING)))[: len(frame)]


def _decompressed(frame: memoryview, attributes: int, codec: int) -> memoryview:
    buffer = new_buffer(HEAD_BYTES + MAX_CONTENT_BYTES + len(PADDING))
    room = buffer[HEAD_BYTES : HEAD_BYTES + MAX_CONTENT_BYTES]
    size = HEAD_BYTES + decompress_into(room, frame[HEAD_BYTES:], codec)
    buffer[:HEAD_BYTES] = frame[:HEAD_BYTES]
    ATTRIBUTES.pack_into(buffer, CHECKSUM_FROM, attributes & ~CODEC_MASK)
    buffer[size : size + len(PADDING)] = PADDING
    return buffer[:size]


def _end_of_frame(content: bytes, at: int) -> int | None:
    """Return where the frame ends, beyond the content if it is cut short; None if its length is impossible."""
    if len(content) - at < FRAME.size:
        return len(content) + 1
    _, length = FRAME.unpack_from(content, at)
    return at + FRAME.size + int(length) if length >= 0 else None
