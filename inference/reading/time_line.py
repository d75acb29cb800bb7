"""Channels put on one time line, and the stretch of it that becomes the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from inference.gate import LIMITS, longest_run
from inference.waveform import MAX_DURATION_S
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
    """Return the stretch of the time that all channels share: as much as a record holds, from the first usable 10 s on.

    A skew of less than half a sample is left alone.
    """
    rate_hz, start_s = candidate.channels[0].rate_hz, candidate.start_s
    rows = [_from(channel, start_s) for channel in candidate.channels]
    shared = min(map(len, rows))
    rows = [row[:shared] for row in rows]
    skipped = _unusable_start(rows, rate_hz)
    kept = min(shared - skipped, MAX_SAMPLE_BYTES // (BYTES_PER_SAMPLE * len(rows)))
    millivolts = np.stack([row[skipped : skipped + kept] for row in rows]).astype(np.float64)
    remarks = (
        *_aligned(candidate),
        *_skipped(skipped / rate_hz),
        *_cut(kept / rate_hz, (shared - skipped) / rate_hz),
    )
    return Stretch(millivolts, start_s + skipped / rate_hz, remarks)


def _from(channel: Channel, start_s: float) -> NDArray[np.floating[Any]]:
    return channel.millivolts[round((start_s - channel.start_s) * channel.rate_hz) :]


def _unusable_start(rows: list[NDArray[np.floating[Any]]], rate_hz: float) -> int:
    """Return how many samples to leave out, so that the first 10 s miss no sample.

    It is 0 if the gate bridges what the first 10 s miss, and if no 10 s are whole: the gate says what is missing.
    """
    used = round(MAX_DURATION_S * rate_hz)
    if all(_passes(row[:used], rate_hz) for row in rows):
        return 0
    missing = np.zeros(len(rows[0]) + 1, np.int64)
    for row in rows:
        missing[1:] |= np.isnan(row)
    before = np.cumsum(missing)
    whole = before[used:] == before[: len(before) - used] if len(before) > used else np.zeros(1, bool)
    return int(whole.argmax()) if whole.any() else 0


def _passes(row: NDArray[np.floating[Any]], rate_hz: float) -> bool:
    missing = np.isnan(row)
    few = missing.sum() <= LIMITS.missing_share * len(row)
    return bool(few and longest_run(missing) <= LIMITS.missing_run_s * rate_hz)


def _aligned(candidate: Candidate) -> Remarks:
    late = candidate.start_s - min(channel.start_s for channel in candidate.channels)
    if late * candidate.channels[0].rate_hz <= 0.5:
        return ()
    sentence = f"the leads begin up to {late:.4g} s apart: only the time that they share was taken"
    return (Remark("leads_aligned", sentence),)


def _skipped(skipped_s: float) -> Remarks:
    sentence = f"the first {skipped_s:.4g} s were left out, since samples are missing there"
    return (Remark("gap_skipped", sentence),) if skipped_s else ()


def _cut(kept_s: float, whole_s: float) -> Remarks:
    sentence = f"only the first {kept_s:.4g} s of {whole_s:.4g} s fit a record"
    return (Remark("cut_to_fit", sentence),) if kept_s < whole_s else ()
