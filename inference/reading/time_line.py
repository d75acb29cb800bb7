"""Channels put on one time line, and the stretch of it that becomes the record."""

from __future__ import annotations

from collections.abc import Sequence
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
        samples: (leads, samples) in mV, NaN where a sample is missing; or in whole steps.
        step_uv: of the whole steps; None: the samples are in mV.
        start_s: when the first sample was taken.
        remarks: what was left out, and why.
    """

    samples: NDArray[Any]
    step_uv: float | None
    start_s: float
    remarks: Remarks


def stretch_of(candidate: Candidate) -> Stretch:
    """Return the stretch of the time that all channels share, or as much of it as a record holds.

    A skew of less than half a sample is left alone.
    """
    channels, start_s = candidate.channels, candidate.start_s
    rate_hz, step_uv = channels[0].rate_hz, _shared_step(channels)
    places = [round((start_s - channel.start_s) * channel.rate_hz) for channel in channels]
    rows = [
        (channel.millivolts if step_uv is None else channel.samples)[place:]
        for channel, place in zip(channels, places, strict=True)
    ]
    shared = min(map(len, rows))
    kept = min(shared, MAX_SAMPLE_BYTES // (BYTES_PER_SAMPLE * len(rows)))
    samples = np.stack([row[:kept] for row in rows], dtype=np.float64 if step_uv is None else np.int16)
    return Stretch(samples, step_uv, start_s, (*_aligned(candidate), *_cut(kept / rate_hz, shared / rate_hz)))


def _shared_step(channels: Sequence[Channel]) -> float | None:
    """Return the step of channels that all have whole steps of one size."""
    is_shared = len({channel.steps_per_mv for channel in channels}) == 1 and channels[0].steps_per_mv is not None
    return channels[0].step_uv if is_shared else None


def _aligned(candidate: Candidate) -> Remarks:
    late = candidate.start_s - min(channel.start_s for channel in candidate.channels)
    if late * candidate.channels[0].rate_hz <= 0.5:
        return ()
    sentence = f"the leads begin up to {late:.4g} s apart: only the time that they share was taken"
    return (Remark("leads_aligned", sentence),)


def _cut(kept_s: float, whole_s: float) -> Remarks:
    sentence = f"only the first {kept_s:.4g} s of {whole_s:.4g} s fit a record"
    return (Remark("cut_to_fit", sentence),) if kept_s < whole_s else ()
