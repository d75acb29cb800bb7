"""The Huffman codes of SCP-ECG (EN 1064, section 2), decoded for a whole lead at once.

The code that begins at a bit does not depend on what came before it. So the length and the value of the code at every
bit are looked up together, and then the bits at which codes do begin are followed.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

DEFAULT = 19999
"""This number of tables means the table of the standard."""
MAX_TABLES = 8
MAX_CODES = 256
MAX_LONG_CODES = 64
"""Of a table, and of its codes with prefixes that are compared one by one. What decodes a lead is bounded by these."""
WINDOW_BITS = 56
"""So many bits of a code, with its prefix, are looked at: from any bit on, these lie within 8 bytes."""
LOOKED_UP_BITS = 16
"""Prefixes up to this length are looked up, longer ones are compared."""
ENTRY = struct.Struct("<BBBhI")


class BrokenCode(Exception):  # noqa: N818 -- it names the condition, as the others do
    """A table or a stream of codes contradicts itself; says how."""


@dataclass(frozen=True, slots=True)
class Code:
    """One code of a table.

    Attributes:
        prefix: its first bits, as a number; `prefix_bits` of them.
        total_bits: with the bits after the prefix, which are a signed number.
        switches: whether the code names the next table rather than a value.
        value: to which the number is added.
    """

    prefix: int
    prefix_bits: int
    total_bits: int
    switches: bool
    value: int


@dataclass(frozen=True)
class Table:
    """A table of codes."""

    codes: tuple[Code, ...]

    @cached_property
    def starts(self) -> NDArray[np.int32]:
        """Return for each 16 bits the place of the code that begins with them, or -1."""
        starts = np.full(1 << LOOKED_UP_BITS, -1, np.int32)
        for place, code in reversed(list(enumerate(self.codes))):
            if code.prefix_bits <= LOOKED_UP_BITS:
                free = LOOKED_UP_BITS - code.prefix_bits
                starts[code.prefix << free : (code.prefix + 1) << free] = place
        return starts

    def places(self, windows: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Return for each window the place of the code that it begins with, or -1."""
        found = self.starts[(windows >> np.uint64(WINDOW_BITS - LOOKED_UP_BITS)).astype(np.intp)]
        for place, code in enumerate(self.codes):
            if code.prefix_bits > LOOKED_UP_BITS:
                found[windows >> np.uint64(WINDOW_BITS - code.prefix_bits) == code.prefix] = place
        return found


def tables_of(section: bytes) -> tuple[Table, ...]:
    """Return the tables of a section 2.

    Raises:
        BrokenCode: the section contradicts itself.
    """
    count = int.from_bytes(section[:2], "little")
    if count == DEFAULT:
        return (standard_table(),)
    if not 1 <= count <= MAX_TABLES:
        raise BrokenCode(f"section 2 announces {count} Huffman tables")
    tables, place = [], 2
    for _ in range(count):
        codes = int.from_bytes(section[place : place + 2], "little")
        end = place + 2 + codes * ENTRY.size
        if not 1 <= codes <= MAX_CODES or end > len(section):
            raise BrokenCode(f"section 2 announces {codes} codes in {len(section) - place} bytes")
        tables.append(_table(section[place + 2 : end]))
        place = end
    return tuple(tables)


@cache
def standard_table() -> Table:
    """Return the table of the standard: 0 to ±8 in 1 to 10 bits, and then numbers of 8 and 16 bits."""
    codes = [Code(0, 1, 1, switches=False, value=0)]
    for magnitude in range(1, 9):
        ones, bits = (1 << magnitude) - 1, magnitude + 2
        codes.append(Code(ones << 2, bits, bits, switches=False, value=magnitude))
        codes.append(Code(ones << 2 | 1, bits, bits, switches=False, value=-magnitude))
    codes.append(Code(0b1111111110, 10, 18, switches=False, value=0))
    codes.append(Code(0b1111111111, 10, 26, switches=False, value=0))
    return Table(tuple(codes))


def decode(data: bytes, count: int, tables: Sequence[Table]) -> NDArray[np.int64]:
    """Return the numbers that the codes stand for: as many as are asked for, or as the data hold.

    Raises:
        BrokenCode: the data hold something that is no code.
    """
    windows = _windows(data)
    streams: dict[int, _Stream] = {}
    found: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    left, place, table = count, 0, 1
    while left > 0 and table:
        if not 1 <= table <= len(tables):
            raise BrokenCode(f"a code switches to Huffman table {table} of {len(tables)}")
        if table not in streams:
            streams[table] = _Stream(windows, tables[table - 1])
        stream = streams[table]
        starts, place, table = stream.follow(place, left)
        found.append(stream.values(starts))
        left -= len(starts)
    return np.concatenate(found)


class _Stream:
    """What one table makes of each bit of the data."""

    def __init__(self, windows: NDArray[np.uint64], table: Table) -> None:
        self._windows = windows
        self._codes = table.codes
        self._places = table.places(windows)
        self._totals, self._prefixes, self._bases = np.array(
            [(code.total_bits, code.prefix_bits, code.value) for code in table.codes], np.int64
        ).T
        self._next = (np.arange(len(windows)) + np.where(self._places >= 0, self._totals[self._places], 0)).tolist()
        switches = np.array([code.switches for code in table.codes])
        self._switches = frozenset(np.flatnonzero((self._places >= 0) & switches[self._places]).tolist())

    def follow(self, place: int, count: int) -> tuple[list[int], int, int]:
        """Return the bits at which codes begin, where the next one begins, and its table, or 0 at the end."""
        starts: list[int] = []
        following, end, switches = self._next, len(self._next), self._switches
        while len(starts) < count and place < end:
            after = following[place]
            if after > end:
                break
            if after == place:
                raise BrokenCode(f"at bit {place} of {end} begins no Huffman code")
            if place in switches:
                return starts, after, self._codes[self._places[place]].value
            starts.append(place)
            place = after
        return starts, place, 0

    def values(self, starts: Sequence[int]) -> NDArray[np.int64]:
        """Return the numbers of the codes that begin at some bits."""
        places, windows = self._places[starts], self._windows[starts]
        totals = self._totals[places]
        free = np.minimum(64 - (totals - self._prefixes[places]), 63)
        tails = (windows >> (WINDOW_BITS - totals).astype(np.uint64)).astype(np.int64)
        has_tail = totals > self._prefixes[places]
        return np.asarray(self._bases[places] + np.where(has_tail, (tails << free) >> free, 0))


def _windows(data: bytes) -> NDArray[np.uint64]:
    """Return for each bit the bits that follow it, as a number; zeros follow the data."""
    padded = np.frombuffer(data + bytes(8), np.uint8).astype(np.uint64)
    words = np.zeros(len(data), np.uint64)
    for place in range(8):
        words |= padded[place : place + len(data)] << np.uint64(56 - 8 * place)
    shifted = words[:, None] << np.arange(8, dtype=np.uint64)
    return (shifted >> np.uint64(64 - WINDOW_BITS)).ravel()


def _table(entries: bytes) -> Table:
    codes = tuple(_code(*entry) for entry in ENTRY.iter_unpack(entries))
    if sum(code.prefix_bits > LOOKED_UP_BITS for code in codes) > MAX_LONG_CODES:
        raise BrokenCode(f"section 2 has more than {MAX_LONG_CODES} Huffman codes beyond {LOOKED_UP_BITS} bits")
    return Table(codes)


def _code(prefix_bits: int, total_bits: int, mode: int, value: int, stored: int) -> Code:
    """Return a code as a section writes it: the first bit of its prefix is the lowest one of a number."""
    if not 1 <= prefix_bits <= 32 or not prefix_bits <= total_bits <= WINDOW_BITS:
        raise BrokenCode(f"section 2 has a Huffman code of {prefix_bits} and {total_bits} bits")
    prefix = int(f"{stored & ((1 << prefix_bits) - 1):0{prefix_bits}b}"[::-1], 2)
    return Code(prefix, prefix_bits, total_bits, switches=not mode, value=value)
