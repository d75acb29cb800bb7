"""The stretch of a record that is screened, if too many samples are missing in its first 10 s."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .gate import LIMITS, Limits
from .waveform import MAX_DURATION_S

Flags: TypeAlias = NDArray[np.bool_]

SHORTER_BY_S = 0.1
"""If no stretch of 10 s will do, shorter ones are tried, in steps of this, down to what can be screened."""


class Stretch(NamedTuple):
    """A part of a record, in samples: from `start` to before `stop`."""

    start: int
    stop: int


def find_stretch(missing: Flags, rate_hz: float, limits: Limits = LIMITS) -> Stretch | None:
    """Return the longest stretch of at most 10 s with few missing samples, and of these the earliest.

    Within it, no lead has a gap that is too long to be bridged, and none misses too large a share of its samples.

    Args:
        missing: (12, samples), where a sample is missing.
        rate_hz: of the record.
        limits: the thresholds of the gate.

    Returns:
        None if no such stretch is long enough to be screened.
    """
    samples = missing.shape[-1]
    longest, shortest = min(round(MAX_DURATION_S * rate_hz), samples), math.ceil(limits.min_duration_s * rate_hz)
    in_gaps = _sums(np.logical_or.reduce(long_gaps(missing, limits.missing_run_s * rate_hz)))
    counts = _sums(missing)
    step = max(1, round(SHORTER_BY_S * rate_hz))
    lengths = [*range(longest, shortest, -step), shortest] if longest >= shortest else []
    for length in lengths:
        whole = in_gaps[length:] == in_gaps[:-length]
        full = (counts[:, length:] - counts[:, :-length] <= limits.missing_share * length).all(axis=0)
        starts = np.flatnonzero(whole & full)
        if starts.size:
            return Stretch(int(starts[0]), int(starts[0]) + length)
    return None


def long_gaps(missing: Flags, most: float) -> Flags:
    """Return the samples that lie in gaps of more than so many samples, for each lead."""
    kept = np.zeros_like(missing)
    for lead, gaps in zip(kept, missing, strict=True):
        for start, stop in runs(gaps):
            lead[start:stop] = stop - start > most
    return kept


def runs(flags: Flags) -> list[tuple[int, int]]:
    """Return where each run of True starts and stops."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _sums(flags: Flags) -> NDArray[np.int32]:
    """Return the number of flags before each sample, and of all of them at the end."""
    sums = np.zeros((*flags.shape[:-1], flags.shape[-1] + 1), np.int32)
    np.cumsum(flags, axis=-1, out=sums[..., 1:])
    return sums
