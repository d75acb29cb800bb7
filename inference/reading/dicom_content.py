"""The bytes of a DICOM file, before a library reads them: recognised, inflated, and bounded.

A library makes an object of each element. A small file of many empty elements would take gigabytes.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from schemas.errors import UnreadableFile

from .content import MAX_FILE_BYTES

PREAMBLE_BYTES = 128
MARK = b"DICM"
DEFLATED, EXPLICIT = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"
"""Two transfer syntaxes: the second is the first after inflation, at the same length."""

MAX_ITEMS = 20_000
"""A file of more items of sequences is none that a device wrote: a report of 108 annotations has 500."""
MAX_BESIDE_WAVEFORMS = 4 * 2**20
"""A file that has more bytes beside its waveforms is an image, a document or a trap."""
ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
WAVEFORMS = ((b"\x00\x54\x10\x10", "<I"), (b"\x54\x00\x10\x10", ">I"))
"""The tags of an item and of Waveform Data, in both byte orders, and how the length is written."""

UNDEFINED = 0xFFFFFFFF
SHORT_LENGTHS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_LENGTHS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""The value representations, by the size of the length that follows them in explicit syntax."""
FIRST_GROUPS = (0x0002, 0x0008)
"""A data set begins with one of these groups."""
ELEMENTS = 3
"""So many elements in order make a data set without a preamble."""


def is_dicom(head: bytes) -> bool:
    """Return whether a content is a DICOM file, or a data set without the preamble that a file has."""
    return head[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == MARK or any(
        _is_data_set(head, order, explicit=explicit) for order, explicit in (("<", True), ("<", False), (">", True))
    )


def inflated(content: bytes, path: Path) -> bytes:
    """Return a content that is not deflated.

    Raises:
        UnreadableFile: the deflated part is broken, or holds more than an ECG has.
    """
    end = _end_of_meta(content)
    if DEFLATED not in content[:end]:
        return content
    unpacker = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        unpacked = unpacker.decompress(content[end:], MAX_FILE_BYTES)
    except zlib.error as error:
        raise UnreadableFile(f"{path} is a deflated DICOM that cannot be inflated: copy the file again") from error
    if unpacker.unconsumed_tail:
        raise UnreadableFile(f"{path} inflates to more than {MAX_FILE_BYTES >> 20} MiB: not a 12-lead ECG at rest")
    return content[:end].replace(DEFLATED, EXPLICIT) + unpacked


def refuse_crowded(content: bytes, path: Path) -> None:
    """Refuse a content of which a library would make more objects than a computer has memory for.

    Raises:
        UnreadableFile: it is one.
    """
    items = max(content.count(item) for item in ITEMS)
    if items > MAX_ITEMS:
        raise UnreadableFile(
            f"{path} was read as DICOM and holds {items:,} items of sequences: an ECG has a few hundred"
        )


def beside_waveforms(content: bytes) -> int:
    """Return how many bytes are no samples."""
    return len(content) - max(sum(_waveform_lengths(content, tag, length)) for tag, length in WAVEFORMS)


def _waveform_lengths(content: bytes, tag: bytes, length: str) -> Iterator[int]:
    place = content.find(tag)
    while place >= 0:
        after = place + 4 + (4 if content[place + 4 : place + 6] in LONG_LENGTHS else 0)
        announced = struct.unpack(length, content[after : after + 4].ljust(4, b"\0"))[0]
        held = min(announced, len(content) - after) if announced != UNDEFINED else 0
        yield held
        place = content.find(tag, after + held)


def _end_of_meta(content: bytes) -> int:
    """Return where the data set begins, after the preamble and the elements of group 2."""
    place = PREAMBLE_BYTES + len(MARK) if content[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == MARK else 0
    for group, _, end in _elements(content, place, "<", explicit=True):
        if group != FIRST_GROUPS[0]:
            break
        place = end
    return min(place, len(content))


def _is_data_set(head: bytes, order: str, *, explicit: bool) -> bool:
    found = list(itertools.islice(_elements(head, 0, order, explicit=explicit), ELEMENTS))
    if len(found) < ELEMENTS or found[0][0] not in FIRST_GROUPS:
        return False
    tags = [tag for _, tag, _ in found]
    return tags == sorted(set(tags))


def _elements(content: bytes, place: int, order: str, *, explicit: bool) -> Iterator[tuple[int, int, int]]:
    """Yield the group, the tag and the end of each element, until one is not to be believed or has no known end."""
    while place + 12 <= len(content):
        group, element, kind, short = struct.unpack_from(f"{order}HH2sH", content, place)
        if not explicit:
            start, length = place + 8, struct.unpack_from(f"{order}I", content, place + 4)[0]
        elif kind in SHORT_LENGTHS:
            start, length = place + 8, short
        elif kind in LONG_LENGTHS and not short:
            start, length = place + 12, struct.unpack_from(f"{order}I", content, place + 8)[0]
        else:
            return
        if length != UNDEFINED and length > MAX_FILE_BYTES:
            return
        place = start + length if length != UNDEFINED else len(content)
        yield group, group << 16 | element, place
