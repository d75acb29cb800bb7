"""The sections of an SCP-ECG file (EN 1064): where they are, and whether their checksums fit."""

from __future__ import annotations

import binascii
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import UnreadableFile

RECORD_HEADER, SECTION_HEADER = 6, 16
POINTER = struct.Struct("<HII")
MAX_SECTION = 11
"""Sections of higher numbers are a vendor's own, but for the long rhythm of version 3."""
LONG_RHYTHM = 12
LONGEST_POINTERS = 64 * 1024


@dataclass(frozen=True, slots=True)
class Sections:
    """What a file holds.

    Attributes:
        bodies: of the sections by their number, without their headers.
        wrong: the names of what has a wrong checksum.
        version: of the standard, times 10.
    """

    bodies: Mapping[int, bytes]
    wrong: tuple[str, ...]
    version: int

    def __getitem__(self, number: int) -> bytes:
        """Return a section's body; empty where the file has no such section."""
        return self.bodies.get(number, b"")


def is_scp(head: bytes) -> bool:
    """Return whether a content is SCP-ECG: its first section is the list of sections, which begins with itself."""
    if len(head) < RECORD_HEADER + SECTION_HEADER + POINTER.size:
        return False
    number, length = struct.unpack_from("<HI", head, RECORD_HEADER + 2)
    itself, _, index = POINTER.unpack_from(head, RECORD_HEADER + SECTION_HEADER)
    return (number, itself, index) == (0, 0, RECORD_HEADER + 1) and SECTION_HEADER + POINTER.size <= length


def sections_of(content: bytes, path: Path) -> Sections:
    """Return the sections of a content.

    Raises:
        UnreadableFile: the list of sections is broken, or the file ends within a section.
    """
    if not is_scp(content):
        raise UnreadableFile(f"{path} does not begin with a list of sections, as SCP-ECG does: export the ECG again")
    (size,) = struct.unpack_from("<I", content, 2)
    wrong = [] if _fits(content[:size]) or size > len(content) else ["the whole record"]
    bodies: dict[int, bytes] = {}
    for number, start, length in _pointers(content):
        if start + length > len(content):
            lengths = f"{len(content):,} bytes of at least {start + length:,}"
            raise UnreadableFile(
                f"{path} was read as SCP-ECG, but ends within section {number}: {lengths}. Copy it again"
            )
        section = content[start : start + length]
        if number not in bodies:
            bodies[number] = section[SECTION_HEADER:]
            wrong += [] if _fits(section) else [f"section {number}"]
    return Sections(bodies, tuple(wrong), content[RECORD_HEADER + 9])


def _pointers(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the number, the start and the length of each section that is there."""
    (length,) = struct.unpack_from("<I", content, RECORD_HEADER + 4)
    first = RECORD_HEADER + SECTION_HEADER
    last = min(RECORD_HEADER + min(length, LONGEST_POINTERS), len(content)) - POINTER.size
    for place in range(first, last + 1, POINTER.size):
        number, size, index = POINTER.unpack_from(content, place)
        if size >= SECTION_HEADER and index and (number <= MAX_SECTION or number == LONG_RHYTHM):
            yield number, index - 1, size


def _fits(section: bytes) -> bool:
    """Whether a checksum, which comes first, is that of what follows."""
    return int.from_bytes(section[:2], "little") == binascii.crc_hqx(section[2:], 0xFFFF)
