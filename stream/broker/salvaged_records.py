"""The records of a batch, read one by one as far as they can be read: a fault in one costs no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from .record_batches import APPEND_TIME, HEAD_BYTES, MAX_RECORDS, Batch, Gap, Unparsable

Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]

MAX_HEADERS = 1000
"""Two bytes of a record may be a header, which takes 70 bytes of memory."""
MAX_VARINT_BYTES = 10


class Record(NamedTuple):
    """A record, with the names that aiokafka's has."""

    offset: int
    timestamp: int | None
    timestamp_type: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers
    checksum: None = None


def salvaged(batch: Batch, whole: memoryview) -> Iterator[Record | Gap]:
    """Yield each record of an unfolded batch that can be read, and the offsets that cannot, in order.

    What lies behind the batch's last offset has no offset of its own: it is neither given nor named.
    """
    at, expected, found, reason = HEAD_BYTES, batch.base_offset, 0, ""
    while at < len(whole) and expected < batch.next_offset:
        try:
            body, at = _next_body(whole, at, found)
        except Unparsable as error:  # then nobody knows where the next record begins
            reason = str(error)
            break
        read = _record_or_gap(body, batch, expected)
        yield read
        expected, found = (read.last if isinstance(read, Gap) else read.offset) + 1, found + 1
    if expected < batch.next_offset and (reason := reason or _why_short(batch, found, expected)):
        yield Gap(expected, batch.next_offset - 1, reason)


def _why_short(batch: Batch, found: int, expected: int) -> str:
    """Return why the offsets that are left are unreadable; nothing if a compacted batch lacks them."""
    if found < batch.records:
        return f"the batch says that it has {batch.records} records, and it has {found}"
    try:
        batch.check_order(batch.next_offset - 1, expected)
    except Unparsable:
        return f"the batch says that it takes {batch.offsets} offsets, and it has {found} records"
    return ""


def _next_body(whole: memoryview, at: int, found: int) -> tuple[memoryview, int]:
    if found == MAX_RECORDS:
        raise Unparsable(f"the batch has more than {MAX_RECORDS} records")
    length, at = _varint(whole, at)
    if not 0 <= length <= len(whole) - at:
        raise Unparsable(f"a record says that it has {length} bytes, and {len(whole) - at} are left")
    return whole[at : at + length], at + length


def _record_or_gap(body: memoryview, batch: Batch, expected: int) -> Record | Gap:
    """Return the record of these bytes. One without a usable number is the one that is expected."""
    offset = expected
    try:
        since_first, at = _varint(body, 1)  # behind the attributes, of which none is in use
        number, at = _varint(body, at)
        batch.check_order(batch.base_offset + number, expected)
        offset = batch.base_offset + number
        time, time_type = _time(batch, since_first)
        key, value, headers = _parts(body, at)
        return Record(offset, time, time_type, key, value, headers)
    except Unparsable as error:
        return Gap(offset, offset, str(error))


def _time(batch: Batch, since_first: int) -> tuple[int | None, int | None]:
    """Return the time of a record, and whether the broker set it; nothing where there is none."""
    first, latest = batch.times
    by_broker = bool(batch.attributes & APPEND_TIME)
    at_ms = latest if by_broker else first + since_first
    return (at_ms, int(by_broker)) if at_ms != -1 else (None, None)


def _parts(body: memoryview, at: int) -> tuple[bytes | None, bytes | None, Headers]:
    key, at = _bytes(body, at)
    value, at = _bytes(body, at)
    headers, at = _headers(body, at)
    if at != len(body):
        raise Unparsable(f"{len(body) - at} bytes of the record belong to nothing")
    return key, value, headers


def _headers(body: memoryview, at: int) -> tuple[Headers, int]:
    count, at = _varint(body, at)
    if not 0 <= count <= MAX_HEADERS:
        raise Unparsable(f"the record says that it has {count} headers, and at most {MAX_HEADERS} are allowed")
    headers = []
    for _ in range(count):
        name, at = _bytes(body, at)
        value, at = _bytes(body, at)
        headers.append((_name(name), value))
    return tuple(headers), at


def _name(name: bytes | None) -> str:
    if name is None:
        raise Unparsable("a header of the record has no name")
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise Unparsable("the name of a header is not UTF-8") from error


def _bytes(body: memoryview, at: int) -> tuple[bytes | None, int]:
    length, at = _varint(body, at)
    if length == -1:
        return None, at
    if not 0 <= length <= len(body) - at:
        raise Unparsable(f"a part of the record says that it has {length} bytes, and {len(body) - at} are left")
    return bytes(body[at : at + length]), at + length


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """Return the number that begins here, and where it ends."""
    value = 0
    for shift, byte in enumerate(content[at : at + MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at + shift + 1
    raise Unparsable("a number of the record does not end")
