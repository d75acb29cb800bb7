"""A film as MP4 with AV1: a codec that anybody may use and ship, and that browsers play.

Pillow draws the pictures into an animated AVIF. An animated AVIF holds the same AV1 and the same kind of boxes as an
MP4, under the name of a picture. This file takes the coded pictures out, and writes the boxes of a film around them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

QUALITY = 90
SPEED = 8
"""Of 10. At 6 a film takes ten times as long, and is as big."""
CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})
NO_ROTATION = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
ENABLED_IN_MOVIE = 3
TEXT = 1
"""The code of iTunes's metadata for text in UTF-8."""
UNDETERMINED = 0x55C4
"""The language `und`, packed into 15 bits."""


def write_film(
    path: Path, pictures: Sequence[NDArray[np.uint8]], *, rate: Fraction, times: int, title: str, comment: str
) -> None:
    """Write the pictures as a film.

    Args:
        path: the file to write.
        pictures: (rows, columns) each, of one shape.
        rate: pictures a second.
        times: how often the film shows them all. They are stored once.
        title: what players call the film.
        comment: text that goes along.
    """
    drawn = _animated_avif(pictures)
    boxes = dict(_boxes(drawn, 0, len(drawn)))
    sizes, start = _sample_sizes(boxes[b"stsz"]), struct.unpack(">I", boxes[b"stco"][8:12])[0]
    coded = drawn[start : start + sum(sizes)]
    head = _box(b"ftyp", b"isom", struct.pack(">I", 0x200), b"isomiso2av01mp41")
    about = _about(title, comment)
    rows, columns = pictures[0].shape

    def movie(offset: int) -> bytes:
        table = _sample_table(boxes[b"stsd"], sizes, rate, times, offset)
        return _movie(table, (columns, rows), rate, len(sizes) * times, about)

    offset = len(head) + len(movie(0)) + 8
    path.write_bytes(head + movie(offset) + _box(b"mdat", coded))


def _animated_avif(pictures: Sequence[NDArray[np.uint8]]) -> bytes:
    from PIL import Image

    first, *others = [Image.fromarray(picture).convert("RGB") for picture in pictures]
    file = BytesIO()
    # A thread, so that the same pictures give the same bytes on any machine.
    first.save(file, "AVIF", save_all=True, append_images=others, quality=QUALITY, speed=SPEED, max_threads=1)
    return file.getvalue()


def _boxes(content: bytes, start: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and body of each box, and of each within those that hold others."""
    while start < end:
        size, name = struct.unpack(">I4s", content[start : start + 8])
        yield name, content[start + 8 : start + size]
        if name in CONTAINERS:
            yield from _boxes(content, start + 8, start + size)
        start += size


def _sample_sizes(body: bytes) -> list[int]:
    same, count = struct.unpack(">II", body[4:12])
    return [same] * count if same else list(struct.unpack(f">{count}I", body[12 : 12 + 4 * count]))


def _box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def _full(name: bytes, *parts: bytes, flags: int = 0) -> bytes:
    """Return a box that says its version, 0, and its flags."""
    return _box(name, struct.pack(">I", flags), *parts)


def _numbers(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def _sample_table(description: bytes, sizes: list[int], rate: Fraction, times: int, offset: int) -> bytes:
    """Return where each picture lies, and how long it is shown. Every showing is a chunk, and all lie in one place."""
    count = len(sizes)
    return _box(
        b"stbl",
        _box(b"stsd", description),
        _full(b"stts", _numbers(1, count * times, rate.denominator)),
        _full(b"stss", _numbers(times, *range(1, count * times + 1, count))),
        _full(b"stsc", _numbers(1, 1, count, 1)),
        _full(b"stsz", _numbers(0, count * times, *(sizes * times))),
        _full(b"stco", _numbers(times, *[offset] * times)),
    )


def _movie(table: bytes, size: tuple[int, int], rate: Fraction, count: int, about: bytes) -> bytes:
    scale, length = rate.numerator, count * rate.denominator
    ever, columns, rows = _numbers(0, 0), size[0] << 16, size[1] << 16
    track = _full(
        b"tkhd", ever, _numbers(1, 0, length, 0, 0, 0, 0), NO_ROTATION, _numbers(columns, rows), flags=ENABLED_IN_MOVIE
    )
    media = _box(
        b"mdia",
        _full(b"mdhd", ever, _numbers(scale, length), struct.pack(">HH", UNDETERMINED, 0)),
        _full(b"hdlr", _numbers(0), b"vide", bytes(12), b"cine\0"),
        _box(
            b"minf",
            _full(b"vmhd", bytes(8), flags=1),
            _box(b"dinf", _full(b"dref", _numbers(1), _full(b"url ", flags=1))),
            table,
        ),
    )
    speed_and_volume = struct.pack(">IH", 1 << 16, 1 << 8)
    header = _full(
        b"mvhd", ever, _numbers(scale, length), speed_and_volume, bytes(10), NO_ROTATION, bytes(24), _numbers(2)
    )
    return _box(b"moov", header, _box(b"trak", track, media), about)


def _about(title: str, comment: str) -> bytes:
    items = [
        _box(name, _box(b"data", _numbers(TEXT, 0), text.encode()))
        for name, text in ((b"\xa9nam", title), (b"\xa9cmt", comment))
    ]
    kind = _full(b"hdlr", _numbers(0), b"mdir", bytes(12), b"\0")
    return _box(b"udta", _full(b"meta", kind, _box(b"ilst", *items)))
