"""Samples in another layout than the record says: sample after sample in place of lead after lead, or bytes swapped.

Read in the wrong layout, an ECG jumps from each value to the next. Read as it was written, it is smooth. A record is
looked at closely only if the gate refuses it, or if it jumps in its middle second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from schemas.ecg_record import MISSING_SAMPLE, EcgRecord
from schemas.errors import UnusableSignal

from .gate import LIMITS, LOOK_RATE_HZ, STEEP_PERCENT, Verdict, examine, middle
from .leads import arrange_leads
from .waveform import MAX_DURATION_S

Signals: TypeAlias = NDArray[np.float32]
Steps: TypeAlias = NDArray[np.int16]

SMOOTHER = 1.5
"""An interleaved record is at least so many times smoother in its own layout."""
JUMPS = 0.5
"""The jumps of an interleaved record. The jumps of a lead are its mean change from a sample to the next, relative to
its mean deviation from its level."""
MIDDLE_JUMPS = 0.4
"""A record that jumps more than this in its middle second is looked at."""
CALMER = 10.0
"""A record with swapped bytes changes at least so many times less in its own layout, because a step becomes 256."""

INTERLEAVED = (
    "the samples are interleaved, one sample of each lead in turn: write all samples of a lead before the next lead"
)
SWAPPED = "the bytes of the samples are swapped (big-endian int16): write little-endian int16"


@dataclass(frozen=True)
class _Reading:
    """The first 10 s of a record as one layout gives them. What is asked of them is worked out when it is asked.

    Attributes:
        signals: (12, samples) in mV, NaN where a sample is missing.
    """

    signals: Signals
    rate_hz: float

    @cached_property
    def jumps(self) -> float:
        """Of the median lead."""
        signals = self._known
        deviations = np.abs(signals - middle(signals)[:, None]).mean(axis=1)
        changes = np.abs(signals[:, 1:] - signals[:, :-1]).mean(axis=1)
        moving = deviations > 0
        return round(float(np.median(changes[moving] / deviations[moving])), 4) if moving.any() else 0.0

    @cached_property
    def change_mv(self) -> float:
        """The change in 4 ms that the gate compares with its limits."""
        return float(np.median(np.percentile(np.abs(self._changes), STEEP_PERCENT, axis=1)))

    @cached_property
    def is_steep(self) -> bool:
        """Whether that is above the gate's limit. Counting shows sooner than sorting that it is not."""
        sizes = np.abs(self._changes)
        within = np.count_nonzero(sizes <= np.float32(LIMITS.steepest_mv), axis=1)
        calm = within > STEEP_PERCENT / 100 * sizes.shape[1] + 1  # two more than lie below the percentile
        return bool(calm.sum() <= len(calm) // 2) and self.change_mv > LIMITS.steepest_mv

    @cached_property
    def agree(self) -> bool:
        """Whether the limb leads follow Einthoven's law, as far as the gate's limit goes."""
        (verdict,) = examine(self.signals[None], self.rate_hz)
        return all(doubt.code != "einthoven" for doubt in verdict.doubts)

    @cached_property
    def _changes(self) -> Signals:
        look = self._known[:, :: max(1, round(self.rate_hz / LOOK_RATE_HZ))]
        return np.asarray(look[:, 1:] - look[:, :-1])

    @cached_property
    def _known(self) -> Signals:
        missing = np.isnan(self.signals)
        if not missing.any():
            return self.signals
        return np.asarray(np.where(missing, middle(np.nan_to_num(self.signals))[:, None], self.signals))


def find_wrong_layouts(records: Sequence[EcgRecord], signals_mv: Signals, verdicts: Sequence[Verdict]) -> None:
    """Refuse the records whose samples make an ECG only in another layout than the one that they were read in.

    Args:
        records: of one layout and rate.
        signals_mv: (records, 12, samples), NaN where a sample is missing.
        verdicts: of the gate on the signals. The refusal for the layout takes the place of another refusal.
    """
    rate_hz = records[0].sample_rate_hz
    for record, verdict, jumps in zip(records, verdicts, _middle_jumps(signals_mv, rate_hz), strict=True):
        if verdict.refusal is not None or jumps > MIDDLE_JUMPS:
            verdict.refusal = find_wrong_layout(record) or verdict.refusal


def find_wrong_layout(record: EcgRecord) -> UnusableSignal | None:
    """Return the refusal of a record whose samples make an ECG only in another layout; None if they do not."""
    steps = np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)
    apart = steps.reshape(steps.shape[::-1]).T
    given = _read(record, steps)
    if given.is_steep:
        swapped, both = _read(record, steps.byteswap()), _read(record, apart.byteswap())
        if swapped.jumps >= JUMPS and _is_smoother(both, swapped) and _is_calmer(both, given):
            return UnusableSignal(f"{INTERLEAVED}, and {SWAPPED}", code="interleaved_samples", jumps=given.jumps)
        if _is_calmer(swapped, given):
            return UnusableSignal(SWAPPED, code="swapped_bytes", jumps=given.jumps)
    if given.jumps >= JUMPS and _is_smoother(own := _read(record, apart), given) and own.agree:
        return UnusableSignal(INTERLEAVED, code="interleaved_samples", jumps=given.jumps)
    return None


def _is_smoother(one: _Reading, other: _Reading) -> bool:
    return one.jumps * SMOOTHER <= other.jumps


def _is_calmer(one: _Reading, other: _Reading) -> bool:
    return one.change_mv * CALMER <= other.change_mv and one.agree


def _middle_jumps(signals: Signals, rate_hz: float) -> list[float]:
    """Return the jumps of each record in its middle second, with the leads taken together."""
    start = max(0, (signals.shape[-1] - round(rate_hz)) // 2)
    second = signals[..., start : start + round(rate_hz)]
    if np.isnan(second.min()):  # a minimum with a NaN among its values is NaN
        second = np.nan_to_num(second)
    changes = np.abs(second[..., 1:] - second[..., :-1]).mean(axis=(1, 2))
    deviations = np.abs(second - second.mean(axis=-1, keepdims=True)).mean(axis=(1, 2))
    jumps: list[float] = np.divide(changes, deviations, out=np.zeros_like(changes), where=deviations > 0).tolist()
    return jumps


def _read(record: EcgRecord, steps: Steps) -> _Reading:
    used = steps[:, : round(MAX_DURATION_S * record.sample_rate_hz)]
    signals = used.astype(np.float32) * np.float32(record.microvolts_per_step / 1e3)
    signals[used == MISSING_SAMPLE] = np.nan
    arranged, _ = arrange_leads(signals[None], record.leads)
    return _Reading(arranged[0], record.sample_rate_hz)
