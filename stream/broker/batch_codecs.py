"""What a record batch holds, decompressed within a bound, for each codec of Kafka's.

aiokafka decompresses by cramjam, and into as much memory as it takes: 32 kB of zstd become gigabytes. Here cramjam
writes into a buffer of a fixed size, of which only the pages that are written take memory.
"""

from __future__ import annotations

import struct
from typing import Final

import cramjam
import numpy as np

MAX_CONTENT_BYTES = 16 * 2**20
"""Four times what an ECG may have, and what Apache Kafka takes as one batch of our topics before it is unfolded."""

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
NAMES: Final = {GZIP: "gzip", SNAPPY: "snappy", LZ4: "lz4", ZSTD: "zstd"}
_STREAMS: Final = {GZIP: cramjam.gzip, LZ4: cramjam.lz4, ZSTD: cramjam.zstd}
BUFFER_IS_FULL = "failed to write whole buffer"
"""What cramjam says then; it has one class for all its errors."""

XERIAL_MAGIC = b"\x82SNAPPY\x00"
XERIAL_HEADER_BYTES = 16
"""Java's snappy: this header, then blocks, each after its length."""
_BLOCK_LENGTH = struct.Struct(">i")


class UnusableContent(Exception):  # noqa: N818  it names the condition
    """A content that cannot be decompressed, or must not be.

    Attributes:
        is_oversized: whether it is over the bound.
    """

    def __init__(self, sentence: str, *, is_oversized: bool = False) -> None:
        super().__init__(sentence)
        self.is_oversized = is_oversized


def decompress_into(out: memoryview, content: memoryview, codec: int) -> int:
    """Decompress a batch's content to the beginning of `out`, and return how many bytes it has.

    Raises:
        UnusableContent: it does not fit, it is damaged, or there is no such codec.
    """
    if codec not in NAMES:
        raise UnusableContent(f"compression {codec} is none of Kafka's")
    try:
        if codec == SNAPPY:
            return _snappy_into(out, content)
        return int(_STREAMS[codec].decompress_into(content, out))
    except cramjam.DecompressionError as error:
        if BUFFER_IS_FULL in str(error):
            raise _oversized(NAMES[codec], len(out)) from error
        raise UnusableContent(f"its {NAMES[codec]} is damaged") from error


def new_buffer(size: int) -> memoryview:
    """Return a buffer whose bytes may be anything. Its pages take memory when they are written."""
    return np.empty(size, np.uint8).data


def _snappy_into(out: memoryview, content: memoryview) -> int:
    if bytes(content[: len(XERIAL_MAGIC)]) != XERIAL_MAGIC or len(content) < XERIAL_HEADER_BYTES:
        return _block_into(out, content)
    at, written = XERIAL_HEADER_BYTES, 0
    while at < len(content):
        if len(content) - at < _BLOCK_LENGTH.size:
            raise UnusableContent("its snappy is damaged")
        (length,) = _BLOCK_LENGTH.unpack_from(content, at)
        at += _BLOCK_LENGTH.size
        if not 0 <= length <= len(content) - at:
            raise UnusableContent("its snappy is damaged")
        written += _block_into(out[written:], content[at : at + length])
        at += length
    return written


def _block_into(out: memoryview, block: memoryview) -> int:
    """Decompress a block. It begins with the size of what it holds, and cramjam holds it to that."""
    if not len(block):
        raise UnusableContent("its snappy is damaged")
    if cramjam.snappy.decompress_raw_len(block) > len(out):
        raise _oversized(NAMES[SNAPPY], len(out))
    return int(cramjam.snappy.decompress_raw_into(block, out))


def _oversized(name: str, room: int) -> UnusableContent:
    return UnusableContent(f"its {name} unfolds to more than {room} bytes", is_oversized=True)
