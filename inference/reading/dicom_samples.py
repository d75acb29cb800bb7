"""The samples of a DICOM multiplex group: decoded, with what is missing marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.gate import longest_run

DTYPES = {
    (8, "SB"): "i1",
    (8, "UB"): "u1",
    (16, "SS"): "i2",
    (16, "US"): "u2",
    (32, "SL"): "i4",
    (32, "UL"): "u4",
}
"""NumPy's types, by bits allocated and sample interpretation. Companded sound (MB, AB) is no ECG."""
PADDING_RUN_S = 0.04
"""A padding value that the signal takes itself marks missing samples only where it lasts longer than this."""


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """The integers of a multiplex group, (samples, channels), as the file has them.

    Attributes:
        padding: the integer that the file says stands for a missing sample.
        missed: how many samples a channel the file announces and does not have.
    """

    integers: NDArray[Any]
    padding: int | None
    missed: int


def decoded(data: bytes, channels: int, samples: int, dtype: str, padding: bytes | int | None) -> Codes:
    """Return the integers of a group's data, as many as are there. A number of 0 samples means that it is not known."""
    kind = np.dtype(dtype)
    there = len(data) // (channels * kind.itemsize)
    held = min(samples or there, there)
    integers = np.frombuffer(data, kind, count=held * channels).reshape(held, channels)
    return Codes(integers, _padding(padding, kind), (samples or held) - held)


def values_of(codes: NDArray[Any], bits_stored: int | None) -> NDArray[np.float64]:
    """Return the codes of one channel as numbers.

    Where fewer bits are stored than a code has, some devices leave the other bits of a negative number 0.
    """
    bits = codes.dtype.itemsize * 8
    if bits_stored is None or not 1 < bits_stored < bits or codes.dtype.kind != "i" or not len(codes):
        return codes.astype(np.float64)
    half = 1 << (bits_stored - 1)
    if codes.min() < 0 or codes.max() >= 2 * half:
        return codes.astype(np.float64)
    return np.where(codes >= half, codes.astype(np.float64) - 2 * half, codes)


def missing_in(codes: NDArray[Any], padding: int | None, rate_hz: float) -> tuple[NDArray[np.bool_], bool]:
    """Return where samples of a channel are missing, and whether samples that equal the padding value were kept.

    The lowest code of 16 bits or more marks a missing sample, whether the file says so or not. Some devices declare a
    padding value that the signal takes itself, such as 0: a sample of that value is only missing in a longer run.
    """
    missing = np.zeros(len(codes), bool)
    if codes.dtype.kind == "i" and codes.dtype.itemsize > 1:
        missing |= codes == np.iinfo(codes.dtype).min
    if padding is None:
        return missing, False
    padded = (codes == padding) & ~missing
    others = codes[~padded & ~missing]
    if not padded.any() or not len(others) or not others.min() <= padding <= others.max():
        return missing | padded, False
    long = _in_runs(padded, PADDING_RUN_S * rate_hz)
    return missing | long, bool((padded & ~long).any())


def _in_runs(flags: NDArray[np.bool_], longer_than: float) -> NDArray[np.bool_]:
    """Return the flags that stand in runs longer than so many samples."""
    if longest_run(flags) <= longer_than:
        return np.zeros_like(flags)
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    kept = np.zeros_like(flags)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        kept[start:end] = end - start > longer_than
    return kept


def _padding(written: bytes | int | None, kind: np.dtype[Any]) -> int | None:
    if isinstance(written, int):
        return written
    if not isinstance(written, bytes) or len(written) < kind.itemsize:
        return None
    return int(np.frombuffer(written[: kind.itemsize], kind)[0])
