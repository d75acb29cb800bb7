"""MFER files (ISO 22077-1) as what they are made of: definitions of a tag, a length and a value, in order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from schemas.errors import UnreadableFile

from .content import MAX_FILE_BYTES

BYTE_ORDER, VERSION, BLOCK, CHANNELS, SEQUENCES, POINTER = 0x01, 0x02, 0x04, 0x05, 0x06, 0x07
WAVEFORM, LEAD, DATA_TYPE, INTERVAL, SENSITIVITY, OFFSET, COMPRESSION = 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E
NULL, SAMPLES, CHANNEL, PREAMBLE, SKEW, GROUP, END = 0x12, 0x1E, 0x3F, 0x40, 0x43, 0x67, 0x80
AGE, SEX, TIME = 0x83, 0x84, 0x85
PASSED_OVER = frozenset(
    {0x03, 0x0F, 0x11, 0x15, 0x16, 0x17, 0x41, 0x42, 0x44, 0x45, 0x46, 0x81, 0x82, 0x86, 0x87, 0x88}
)
"""Texts, filters, events, values, the patient's name and number, and the like."""
NUMBERS = frozenset({BLOCK, CHANNELS, SEQUENCES, POINTER})
LENGTHS = {
    BYTE_ORDER: range(2),
    VERSION: range(4),
    **dict.fromkeys(NUMBERS, range(5)),
    DATA_TYPE: range(2),
    INTERVAL: range(7),
    SENSITIVITY: range(7),
    OFFSET: range(9),
    NULL: range(9),
    COMPRESSION: range(7),
    SKEW: range(5),
    AGE: range(8),
    SEX: range(2),
    TIME: range(12),
}
"""How long values may be. The others may have any length."""
CORE = frozenset({BLOCK, CHANNELS, SEQUENCES, DATA_TYPE, INTERVAL, SENSITIVITY, LEAD, WAVEFORM, CHANNEL})
KNOWN = frozenset(LENGTHS) | CORE | PASSED_OVER | {SAMPLES, PREAMBLE, SKEW, GROUP}

MAX_DEFINITIONS = 100_000
"""A file has no more."""
MAX_DEPTH = 4
"""How deep definitions may lie in channels and groups."""
FEWEST = 3
"""Fewer definitions may look like MFER by chance."""

MAX_NUMBER_BYTES = 4
ZEROS = b"\x00\x00"
_NO_PADDING = re.compile(rb"[^\x00]")


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition.

    Attributes:
        channel: the number of the channel that it is for, where it stands in a channel's attributes.
        value: cut short where the file ends within it.
        is_whole: whether it is not.
    """

    tag: int
    value: bytes
    channel: int | None
    is_whole: bool = True


def is_mfer(head: bytes) -> bool:
    """Return whether a content begins as MFER does: with its preamble, or with definitions that can all be."""
    if head[:1] == bytes([PREAMBLE]) and head[2:6] == b"MFR ":
        return True
    said: set[int] = set()
    try:
        for definition in definitions(head):
            if not _can_be(definition):
                return False
            said |= {definition.tag} if definition.value and definition.tag in CORE else set()
            if not definition.is_whole or definition.tag == SAMPLES:
                break
    except UnreadableFile:
        return False
    return len(said) >= FEWEST


def definitions(content: bytes) -> Iterator[Definition]:
    """Yield the definitions of a content up to its end mark, those within channels and groups one by one.

    Raises:
        UnreadableFile: there are more than a file has, or they cannot be told apart. Its words end a sentence.
    """
    yield from _Walk(content).within(len(content))


def _can_be(definition: Definition) -> bool:
    if definition.tag not in KNOWN:
        return False
    return not definition.is_whole or len(definition.value) in LENGTHS.get(definition.tag, range(MAX_FILE_BYTES))


class _Walk:
    """A walk through a content, definition by definition."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0
        self._left = MAX_DEFINITIONS

    def within(
        self, stop: int, channel: int | None = None, depth: int = 0, ends_by_zeros: bool = False
    ) -> Iterator[Definition]:
        """Yield the definitions from here up to a place, or up to two zero bytes before it."""
        while self._finds_one(stop, ends_by_zeros):
            tag, number = self._tag(), channel
            if tag == END:
                self._place = len(self._content)
                return
            if tag == CHANNEL:
                number = self._channel(stop)
            length = self._length(stop)
            end = stop if length is None else min(self._place + length, stop)
            if tag in {CHANNEL, GROUP}:
                if depth == MAX_DEPTH:
                    raise UnreadableFile("definitions lie too deep in each other")
                yield from self.within(end, number, depth + 1, length is None)
            elif length is None:
                raise UnreadableFile(f"the value of tag 0x{tag:02X} has no length")
            else:
                yield Definition(tag, self._content[self._place : end], channel, self._place + length == end)
            self._place = self._place if length is None else max(end, self._place)

    def _finds_one(self, stop: int, ends_by_zeros: bool) -> bool:
        """Pass over zero bytes, which pad. Return whether a definition comes then."""
        if ends_by_zeros and self._content.startswith(ZEROS, self._place):
            self._place += len(ZEROS)
            return False
        found = _NO_PADDING.search(self._content, self._place, stop)
        self._place = found.start() if found else max(stop, self._place)
        return found is not None

    def _tag(self) -> int:
        self._left -= 1
        if self._left < 0:
            raise UnreadableFile(f"it has more than {MAX_DEFINITIONS} definitions")
        self._place += 1
        return self._content[self._place - 1]

    def _channel(self, stop: int) -> int:
        """Read a number of seven bits a byte."""
        number = 0
        for byte in self._content[self._place : min(self._place + MAX_NUMBER_BYTES, stop)]:
            self._place += 1
            number = number << 7 | byte & 0x7F
            if not byte & 0x80:
                break
        return number

    def _length(self, stop: int) -> int | None:
        """Read a length; None if two zero bytes will end the value."""
        first = self._content[self._place] if self._place < stop else 0
        self._place += 1
        if first <= 0x80:
            return None if first == 0x80 else first
        width = first & 0x7F
        if width > MAX_NUMBER_BYTES:
            raise UnreadableFile(f"a length of {width} bytes cannot be")
        self._place += width
        return int.from_bytes(self._content[self._place - width : self._place], "big")
