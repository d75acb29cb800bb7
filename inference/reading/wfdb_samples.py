"""The sample formats of WFDB signal files, as signal(5) describes them: bytes become integers.

A format has no time and no channels. It is a row of samples, in which the signals of a file take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Integers: TypeAlias = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True, slots=True)
class SampleFormat:
    """How samples lie in bytes.

    Attributes:
        block_bytes: samples are packed into blocks of so many bytes.
        ends: for 0, 1, … samples in the last block that is not full, how many bytes of it they need.
        decode: returns the samples of whole blocks.
        missing: the sample that stands for none.
    """

    block_bytes: int
    ends: tuple[int, ...]
    decode: Callable[[bytes], Integers]
    missing: int | None

    def bytes_for(self, samples: int) -> int:
        """Return how many bytes so many samples take."""
        blocks, rest = divmod(samples, len(self.ends))
        return blocks * self.block_bytes + self.ends[rest]

    def samples_in(self, size: int) -> int:
        """Return how many samples lie in so many bytes."""
        blocks, rest = divmod(max(size, 0), self.block_bytes)
        return blocks * len(self.ends) + max(count for count, needed in enumerate(self.ends) if needed <= rest)

    def samples(self, content: bytes, count: int) -> Integers:
        """Return the first samples of a content that holds at least so many."""
        padding = -len(content) % self.block_bytes
        return self.decode(content + bytes(padding) if padding else content)[:count]


def _signed(values: NDArray[Any], bits: int) -> Integers:
    """Return integers of so many bits, of which the highest is the sign."""
    sign = 1 << (bits - 1)
    return np.asarray(((values & ((1 << bits) - 1)) ^ sign).astype(np.int16) - sign)


def _plain(dtype: str) -> Callable[[bytes], Integers]:
    return lambda content: np.frombuffer(content, dtype)


def _offset(dtype: str, middle: int) -> Callable[[bytes], Integers]:
    return lambda content: (np.frombuffer(content, dtype).astype(np.int32) - middle).astype(np.int16)


def _decode_212(content: bytes) -> Integers:
    first, shared, second = np.frombuffer(content, np.uint8).reshape(-1, 3).astype(np.uint16).T
    pairs = np.stack([first | (shared & 0x0F) << 8, second | (shared >> 4) << 8], axis=1)
    return _signed(pairs.ravel(), 12)


def _decode_310(content: bytes) -> Integers:
    low, high = np.frombuffer(content, "<u2").reshape(-1, 2).T
    return _signed(np.stack([low >> 1, high >> 1, low >> 11 | (high >> 11) << 5], axis=1).ravel(), 10)


def _decode_311(content: bytes) -> Integers:
    words = np.frombuffer(content, "<u4")
    return _signed(np.stack([words, words >> 10, words >> 20], axis=1).ravel(), 10)


def _decode_24(content: bytes) -> Integers:
    wide = np.zeros((len(content) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
    return np.asarray(wide.view("<i4").ravel() >> 8)


DIFFERENCES = "8"
"""The format whose samples are differences of the signal's neighbours."""
SAMPLE_FORMATS: Mapping[str, SampleFormat] = {
    DIFFERENCES: SampleFormat(1, (0,), _plain("<i1"), None),
    "16": SampleFormat(2, (0,), _plain("<i2"), -(1 << 15)),
    "24": SampleFormat(3, (0,), _decode_24, -(1 << 23)),
    "32": SampleFormat(4, (0,), _plain("<i4"), -(1 << 31)),
    "61": SampleFormat(2, (0,), _plain(">i2"), -(1 << 15)),
    "80": SampleFormat(1, (0,), _offset("<u1", 1 << 7), -(1 << 7)),
    "160": SampleFormat(2, (0,), _offset("<u2", 1 << 15), -(1 << 15)),
    "212": SampleFormat(3, (0, 2), _decode_212, -(1 << 11)),
    "310": SampleFormat(4, (0, 2, 4), _decode_310, -(1 << 9)),
    "311": SampleFormat(4, (0, 2, 3), _decode_311, -(1 << 9)),
}
"""By the number that a header gives. The FLAC formats are read by `wfdb_files.py`."""
