"""The average beat of each record: where its QRS complexes are, which beats are alike, and their mean in each lead.

A batch takes about 0.2 ms of a processor a record, because nothing but the mean is filtered. Wander leaves the mean as
a slope, which is known from the levels of successive beats. Mains interference is one sine in all of a record: its
amplitude in each lead is a scalar product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import maximum_filter1d

Signals: TypeAlias = NDArray[np.float32]
Floats: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.intp]
Flags: TypeAlias = NDArray[np.bool_]
Number = TypeVar("Number", np.float32, np.float64, np.intp)

RATE_HZ = 500
"""Everything here is sampled at this rate: 2 ms a sample."""
MS = 1e3 / RATE_HZ
INDEPENDENT_LEADS = (0, 1, 6, 7, 8, 9, 10, 11)
"""I, II, V1-V6: the others of the twelve follow from I and II."""
BEFORE, AFTER = 200, 350
"""Samples of a beat on either side of the place where its QRS complex is steepest: 400 and 700 ms."""
LEAST_BEATS = 3
LEAST_S = 3.0

STEP = 5
"""Samples that are added up before complexes are looked for. Differences of sums over 20 ms have no 50 Hz."""
APART = 24
"""No two complexes are nearer to each other than so many steps: 240 ms."""
BLOCK = 200
"""A block of so many steps, 2 s, has a complex, at 30 beats a minute or more."""
LEAST_CHANGE = 0.4
"""A complex changes the leads at least by this share of what the median block's largest one does."""
STILL = 1e-4
"""Where the sums change less than this, in mV, nothing moves."""

REACH, SHIFT = 75, 15
"""Beats are aligned by the samples within 150 ms, and moved by at most 30 ms."""
FARTHEST = 40
"""No complex is moved farther: nearer than 240 ms to each other they would change their order."""
SMOOTHED = 6
"""The speed by which beats are aligned is a mean over so many samples."""
CORE = slice(BEFORE - 45, BEFORE + 59)
"""The QRS complex and some of what surrounds it: by this part beats are compared."""
CORE_STEP = 4
ALIKE = 0.85
"""Beats that correlate at least so well with the most central one are of its kind."""
PREMATURE = 0.8
"""A beat that comes after less than this share of the median interval is premature."""
LEVEL = slice(BEFORE - 45, BEFORE - 25)
"""Where the level of a beat is taken. Only differences between beats of one kind count."""

MAINS_HZ = (50.0, 60.0)
MAINS_MV = np.float32(0.01)
"""Interference of less than this amplitude stays."""
TINY = np.float32(1e-12)


@dataclass(frozen=True, slots=True)
class AverageBeats:
    """The beats of several records, and what those of the most frequent kind have in common.

    Attributes:
        intervals_ms: for each record, the intervals between successive beats of any kind.
        usual_ms: (records,) the mean of these intervals; NaN where there is none.
        irregularity: (records,) the median change between successive intervals, relative to the median interval.
        counts: (records,) how many beats were averaged. It is 0 where fewer than `LEAST_BEATS` are alike.
        mean_mv: (records, 8, BEFORE + AFTER) their mean in the independent leads, 0 where the count is 0.
        beats_mv: (all beats, 8, BEFORE + AFTER) in the order of the records.
        averaged: (averaged beats,) where in `beats_mv` those are that were averaged, in rising order.
        owners: (averaged beats,) the record of each of them.
    """

    intervals_ms: tuple[Floats, ...]
    usual_ms: Floats
    irregularity: Floats
    counts: Places
    mean_mv: Signals
    beats_mv: Signals
    averaged: Places
    owners: Places


@dataclass(frozen=True, slots=True)
class _Complexes:
    """QRS complexes of several records.

    Attributes:
        owners: the index of the record of each, in rising order.
        places: in samples.
        steady: whether it is neither premature nor followed by a premature one.
    """

    owners: Places
    places: Places
    steady: Flags

    def kept(self, which: Flags) -> _Complexes:
        return _Complexes(self.owners[which], self.places[which], self.steady[which])

    def by_record(self, records: int) -> list[slice]:
        return by_owner(self.owners, records)


def average_beats(signals_mv: Signals, sample_rate_hz: float) -> AverageBeats:
    """Return the average beat of each record, of the beats that are most frequent and not premature.

    Args:
        signals_mv: (records, 12, samples) finite, in the order of `schemas.ecg_record.LEADS`, about 10 s.
        sample_rate_hz: of the signals.
    """
    leads = _without_mains(_at_500_hz(signals_mv[:, INDEPENDENT_LEADS], sample_rate_hz))
    records, samples = len(leads), leads.shape[-1]
    complexes = _aligned(leads, _complexes(leads))
    places = [complexes.places[own] for own in complexes.by_record(records)]
    intervals = [own[1:] - own[:-1] for own in places]
    complexes = _with_steadiness(complexes, intervals)
    complexes = complexes.kept((complexes.places >= BEFORE) & (complexes.places < samples - AFTER))
    beats = _cut(leads, complexes, BEFORE, AFTER)
    kept, counts = _most_frequent(beats, complexes, records)
    mean = _means(beats, kept, counts, complexes.by_record(records))
    mean -= _slopes(beats, kept, complexes, records)[..., None] * np.arange(-BEFORE, AFTER, dtype=np.float32)
    return AverageBeats(
        intervals_ms=tuple(np.asarray(own * MS, np.float64) for own in intervals),
        usual_ms=np.array([own.sum() / len(own) * MS if len(own) else np.nan for own in intervals]),
        irregularity=np.array([_irregularity(own) for own in intervals]),
        counts=counts,
        mean_mv=mean,
        beats_mv=beats,
        averaged=np.flatnonzero(kept),
        owners=complexes.owners[kept],
    )


def middle(values: NDArray[Number]) -> float:
    """Return the median of a few values, without the overhead of `np.median`."""
    ordered, half = np.sort(values), len(values) // 2
    return float(ordered[half] + ordered[-half - 1]) / 2


def _irregularity(intervals: Places) -> float:
    return middle(np.abs(intervals[1:] - intervals[:-1])) / middle(intervals) if len(intervals) > 1 else 0.0


def by_owner(owners: Places, records: int) -> list[slice]:
    """Return for each record where its own are, in a list that is sorted by record."""
    edges = np.searchsorted(owners, np.arange(records + 1)).tolist()
    return [slice(first, last) for first, last in pairwise(edges)]


def block_means(values: Signals, step: int) -> Signals:
    """Return the means of each `step` values along the last axis, whose length is a multiple of it, at least 2."""
    total = values[..., ::step] + values[..., 1::step]
    for place in range(2, step):
        total += values[..., place::step]
    return np.asarray(total / np.float32(step))


def _at_500_hz(leads: Signals, rate_hz: float) -> Signals:
    """Return the leads at `RATE_HZ`, by their spectrum. The line between first and last sample is kept apart."""
    if rate_hz == RATE_HZ:
        return np.ascontiguousarray(leads)
    samples = leads.shape[-1]
    wanted = round(samples * RATE_HZ / rate_hz)
    first, last = leads[..., :1], leads[..., -1:]
    line = np.linspace(0, 1, samples, dtype=np.float32)
    spectrum = fft.rfft(leads - (first + (last - first) * line), norm="forward")
    places = np.arange(wanted, dtype=np.float32) * np.float32(samples / wanted / (samples - 1))
    level = fft.irfft(spectrum, wanted, norm="forward")
    return np.asarray(level + (first + (last - first) * places), np.float32)


@cache
def _mains_waves(samples: int) -> Signals:
    """Return (samples, 4): cosine and sine of each mains frequency."""
    turns = 2 * np.pi * np.arange(samples) / RATE_HZ
    waves = [wave(turns * mains_hz) for mains_hz in MAINS_HZ for wave in (np.cos, np.sin)]
    return np.stack(waves, axis=1).astype(np.float32)


def _without_mains(leads: Signals) -> Signals:
    """Remove mains interference in place from the records that have some; return the leads."""
    samples = leads.shape[-1]
    if not samples:
        return leads
    waves = _mains_waves(samples)
    amplitudes = (leads @ waves) * np.float32(2 / samples)
    for index in np.flatnonzero(np.abs(amplitudes).max(axis=(1, 2)) > MAINS_MV).tolist():
        leads[index] -= amplitudes[index] @ waves.T
    return leads


def _complexes(leads: Signals) -> _Complexes:
    """Return the QRS complexes: where the leads together change most within 40 ms."""
    records, _, samples = leads.shape
    nothing = np.empty(0, np.intp)
    if samples < LEAST_S * RATE_HZ:
        return _Complexes(nothing, nothing, np.empty(0, np.bool_))
    sums = block_means(leads[..., : samples // STEP * STEP], STEP)
    sums = sums[..., 1:] + sums[..., :-1]
    change = np.abs(sums[..., 2:] - sums[..., :-2]).sum(axis=1)
    change = change[:, :-4] + change[:, 1:-3] + change[:, 2:-2] + change[:, 3:-1] + change[:, 4:]
    change[:, 1:-1] = change[:, :-2] + 2 * change[:, 1:-1] + change[:, 2:]
    highest = maximum_filter1d(change, 2 * APART + 1, axis=1)
    blocks = max(change.shape[1] // BLOCK, 1)
    largest = change[:, : blocks * BLOCK].reshape(records, blocks, -1).max(axis=-1)
    typical = [LEAST_CHANGE * middle(own) for own in largest]
    least = np.maximum(np.array(typical, np.float32), STILL)[:, None]
    owners, steps = np.nonzero((change == highest) & (change > least))
    return _Complexes(owners, (steps + 4) * STEP, np.ones(len(owners), np.bool_))


def _aligned(leads: Signals, complexes: _Complexes) -> _Complexes:
    """Move the complexes to where they fit the others of their record best, and then all to where those are steepest.

    Complexes at the edges of a record stay where they are.
    """
    margin = REACH + SHIFT
    inside = (complexes.places >= margin) & (complexes.places < leads.shape[-1] - margin)
    if not inside.any():
        return complexes
    found = complexes.kept(inside)
    speed = _speed(_cut(leads, found, REACH + SMOOTHED // 2 + 1, REACH + SMOOTHED // 2 + 1))
    places = complexes.places.copy()
    places[inside] += _moves(speed, found.owners)
    return _Complexes(complexes.owners, places, complexes.steady)


def _moves(speed: Signals, owners: Places) -> Places:
    """Return how far each complex is to be moved, from the speed around it."""
    _, first, own = np.unique(owners, return_index=True, return_inverse=True)
    rows = np.arange(len(own))
    shifted = sliding_window_view(speed, speed.shape[1] - 2 * SHIFT, axis=1)
    typical = np.add.reduceat(shifted[:, SHIFT], first, axis=0)
    best = np.einsum("bsn,bn->bs", shifted, typical[own]).argmax(axis=1)
    typical = np.add.reduceat(shifted[rows, best], first, axis=0)
    best = np.einsum("bsn,bn->bs", shifted, typical[own]).argmax(axis=1)
    steepest = np.add.reduceat(shifted[rows, best], first, axis=0).argmax(axis=1)[own] + SHIFT - REACH
    return np.asarray(np.clip(best - SHIFT + steepest, -FARTHEST, FARTHEST))


def _speed(windows: Signals) -> Signals:
    """Return how quickly (…, leads, samples) move in space, as a mean over a few samples."""
    moves = windows[..., 2:] - windows[..., :-2]
    total = np.sqrt(np.einsum("bln,bln->bn", moves, moves)).cumsum(axis=1)
    return np.asarray(total[:, SMOOTHED:] - total[:, :-SMOOTHED])


def _cut(leads: Signals, complexes: _Complexes, before: int, after: int) -> Signals:
    """Return what surrounds each complex, (beats, leads, before + after)."""
    if leads.shape[-1] < before + after:
        return np.empty((0, leads.shape[1], before + after), np.float32)
    windows = sliding_window_view(leads, before + after, axis=2)
    return np.asarray(windows[complexes.owners, :, complexes.places - before])


def _with_steadiness(complexes: _Complexes, intervals: Sequence[Places]) -> _Complexes:
    steady = complexes.steady.copy()
    for own, between in zip(complexes.by_record(len(intervals)), intervals, strict=True):
        if len(between):
            late = between >= PREMATURE * middle(between)
            steady[own][1:] &= late
            steady[own][:-1] &= late
    return _Complexes(complexes.owners, complexes.places, steady)


def _most_frequent(beats: Signals, complexes: _Complexes, records: int) -> tuple[Flags, Places]:
    """Return which beats are of their record's most frequent kind and steady, and how many in each record.

    Beats that are not steady count where fewer than `LEAST_BEATS` are. Each record is multiplied alone: in one product
    of all records the last digit would depend on how many there are.
    """
    core = block_means(np.ascontiguousarray(beats[..., CORE]), CORE_STEP)
    core = (core - core.mean(axis=-1, keepdims=True)).reshape(len(core), core.shape[1] * core.shape[2])
    core /= np.sqrt(np.einsum("bn,bn->b", core, core) + TINY)[:, None]
    kept, counts = np.zeros(len(core), np.bool_), np.zeros(records, np.intp)
    for index, own in enumerate(complexes.by_record(records)):
        alike = _largest_group(core[own]) if own.stop - own.start >= LEAST_BEATS else kept[own]
        steady = alike & complexes.steady[own]
        chosen = steady if np.count_nonzero(steady) >= LEAST_BEATS else alike
        if (count := np.count_nonzero(chosen)) >= LEAST_BEATS:
            kept[own], counts[index] = chosen, count
    return kept, counts


def _largest_group(shapes: Signals) -> Flags:
    """Return which beats are like that one which most others are like; prefers the closer group."""
    likeness = shapes @ shapes.T
    alike = likeness > ALIKE
    closeness = np.add.reduce(likeness, axis=1) / np.float32(len(likeness))
    return np.asarray(alike[(np.count_nonzero(alike, axis=1) + closeness).argmax()])


def _means(beats: Signals, kept: Flags, counts: Places, owned: Sequence[slice]) -> Signals:
    """Return the mean of the kept beats of each record."""
    means = np.zeros((len(counts), len(INDEPENDENT_LEADS), BEFORE + AFTER), np.float32)
    for mean, own, count in zip(means, owned, counts.tolist(), strict=True):
        if count:
            weights = kept[own].astype(np.float32) / np.float32(count)
            mean[:] = (weights @ beats[own].reshape(len(weights), -1)).reshape(mean.shape)
    return means


def _slopes(beats: Signals, kept: Flags, complexes: _Complexes, records: int) -> Signals:
    """Return how quickly the level rises after the kept beats, as a mean (records, leads) in mV a sample."""
    slopes = np.zeros((records, len(INDEPENDENT_LEADS)), np.float32)
    follow = np.flatnonzero(kept[:-1] & (complexes.owners[1:] == complexes.owners[:-1]))
    if len(follow):
        levels = beats[..., LEVEL].mean(axis=-1)
        apart = (complexes.places[follow + 1] - complexes.places[follow]).astype(np.float32)
        rises = (levels[follow + 1] - levels[follow]) / apart[:, None]
        owners, first, many = np.unique(complexes.owners[follow], return_index=True, return_counts=True)
        slopes[owners] = np.add.reduceat(rises, first, axis=0) / many[:, None]
    return slopes
