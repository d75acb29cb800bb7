"""Channels put on one time line, and the stretch of it that becomes the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from schemas.ecg_record import Remark
from schemas.record_limits import BYTES_PER_SAMPLE, MAX_SAMPLE_BYTES

from .candidates import Candidate
from .recording import Channel

Remarks: TypeAlias = tuple[Remark, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Simultaneous samples.

    Attributes:
        millivolts: (leads, samples), NaN where a sample is missing.
        start_s: when the first sample was taken.
        remarks: what was left out, and why.
    """

    millivolts: NDArray[np.float64]
    start_s: float
    remarks: Remarks


def stretch_of(candidate: Candidate) -> Stretch:
    """Return the stretch of the time that all channels share, or as much of it as a record holds.

    A skew of less than half a sample is left alone.
    """
    rate_hz, start_s = candidate.channels[0].rate_hz, candidate.start_s
    rows = [_from(channel, start_s) for channel in candidate.channels]
    shared = min(map(len, rows))
    kept = min(shared, MAX_SAMPLE_BYTES // (BYTES_PER_SAMPLE * len(rows)))
    millivolts = np.stack([row[:kept] for row in rows], dtype=np.float64)
    return Stretch(millivolts, start_s, (*_aligned(candidate), *_cut(kept / rate_hz, shared / rate_hz)))


def _from(channel: Channel, start_s: float) -> NDArray[np.floating[Any]]:
    return channel.millivolts[round((start_s - channel.start_s) * channel.rate_hz) :]


def _aligned(candidate: Candidate) -> Remarks:
    late = candidate.start_s - min(channel.start_s for channel in candidate.channels)
    if late * candidate.channels[0].rate_hz <= 0.5:
        return ()
    sentence = f"the leads begin up to {late:.4g} s apart: only the time that they share was taken"
    return (Remark("leads_aligned", sentence),)


def _cut(kept_s: float, whole_s: float) -> Remarks:
    sentence = f"only the first {kept_s:.4g} s of {whole_s:.4g} s fit a record"
    return (Remark("cut_to_fit", sentence),) if kept_s < whole_s else ()
