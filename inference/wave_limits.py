"""Where the P wave, the QRS complex and the T wave of average beats begin and end, in all leads at once.

As the common standards for electrocardiography ask for (CSE Working Party, Eur Heart J 1985), an interval runs from
the earliest onset to the latest end in any lead. The shares and thresholds were set on LUDB's delineations
(Kalyakulina et al., IEEE Access 2020), which four cardiologists' limits by lead make into one: for P and QRS the second
earliest onset and the second latest end over the 12 leads, for T the end in the middle lead. What is left of error is
in docs/benchmarks.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .average_beat import (
    AFTER,
    BEFORE,
    RATE_HZ,
    AverageBeats,
    Flags,
    Floats,
    Places,
    Signals,
    block_means,
    by_owner,
    middle,
)

PER_MS = RATE_HZ / 1e3
HALF = 2
"""P and T are slow: they are looked for at half the rate."""
HALF_PER_MS = PER_MS / HALF
SAMPLES = (BEFORE + AFTER) // HALF

QRS_ONSET_SHARE, QRS_END_SHARE = 0.018, 0.026
"""Of the greatest speed of the QRS complex, where it begins and ends."""
ONSET_NOISE, END_NOISE = 1.6, 1.5
"""How much quicker than the quiet part beside it a complex is, where it begins and ends."""
NOISIEST = 0.12
"""If the beat must be quicker than this share of its greatest speed to stand out, its limits are drawn too narrow."""
QUIET_ONSET, QUIET_END = 4, 8
"""So many samples in a row are slow before a complex and after it."""

LEAST_P_MV, LEAST_T_MV = 0.035, 0.03
"""How far a wave rises above what is beside it, as the root of the sum of squares over I, II and V1-V6."""
P_SHARE = 0.06
"""Of the height of a P wave, where it begins and ends."""
P_HUMP = 0.6
"""Of the height of a P wave: a hump at least this high beside the summit belongs to it."""
HALF_P_MS = 88
EARLIEST_P_MS = 340
"""Before the QRS complex."""
LEAST_WINDOW_MS = 60
P_T_GAP_MS = 8
"""A P wave that begins no later than this after a T wave may have begun in it."""
P_LIKENESS = 0.6
"""Least correlation of single beats' P waves with the other beats'; fibrillation's f waves do not repeat."""
IRREGULAR = 0.1
"""From this irregularity on, P waves must be more alike."""
P_LIKENESS_IRREGULAR = 0.9
P_WINDOW_MS, P_STEP_MS = 128, 16
"""P waves of single beats are compared by means over short spans."""

T_AFTER_QRS_MS = 50
LATEST_SUMMIT, LATEST_T = 0.6, 0.72
"""A T wave is highest by the one share of an interval after the QRS complex, and has ended by the other."""
LATEST_T_MS = 600
T_FALL_MS = 220
"""A T wave falls for no longer than this."""
T_STRETCH = 1.4
"""A bell's tangent reaches the ground 1 σ beyond the steepest fall; the bell itself is visible for 1.4 σ."""
LATEST_T_ONSET_MS = 150
"""How long after a QRS complex a T wave is presumed to last that was not found."""


@dataclass(frozen=True, slots=True)
class WaveLimits:
    """Where the waves of each record begin and end, (records,) in samples of the average beat.

    A wave that was not found has NaN.

    Attributes:
        p_meets_t: whether a P wave was left out because it begins before the T wave before it has ended.
        unclear: whether nothing was found because noise, or a beat that never rests, hides the limits of the complex.
    """

    p_onset: Floats
    p_end: Floats
    qrs_onset: Floats
    qrs_end: Floats
    t_onset: Floats
    t_end: Floats
    p_meets_t: Flags
    unclear: Flags


def find_wave_limits(beats: AverageBeats) -> WaveLimits:
    """Return where the waves of the average beats begin and end."""
    intervals = np.where(beats.counts > 0, beats.usual_ms, 1e3) * PER_MS
    onset, end, clear = _qrs(beats.mean_mv)
    half = block_means(beats.mean_mv, HALF)
    smooth = _boxed(_boxed(half, 3), 3)
    t_onset, t_end, has_t = _t(half, _boxed(smooth, 5), (onset, end), intervals)
    last_end = np.where(has_t, t_end, end + LATEST_T_ONSET_MS * PER_MS) - intervals
    p_onset, p_end, has_p = _p(smooth, onset, last_end)
    has_p &= _repeats(beats, (p_onset + p_end) / 2, has_p)
    meets_t = has_p & has_t & (p_onset <= last_end + P_T_GAP_MS * PER_MS)
    has_p &= ~meets_t
    known = clear & (beats.counts > 0)
    return WaveLimits(
        p_onset=np.where(known & has_p, p_onset, np.nan),
        p_end=np.where(known & has_p, p_end, np.nan),
        qrs_onset=np.where(known, onset, np.nan),
        qrs_end=np.where(known, end, np.nan),
        t_onset=np.where(known & has_t, t_onset, np.nan),
        t_end=np.where(known & has_t, t_end, np.nan),
        p_meets_t=known & meets_t,
        unclear=~clear & (beats.counts > 0),
    )


def _qrs(mean: Signals) -> tuple[Places, Places, Flags]:
    """Return where the speed in space has fallen to a small share of its peak, or to what lies beyond.

    Where that is not clear, some limits are returned all the same.
    """
    first = BEFORE - 130
    speed = _speed(mean[..., first : BEFORE + 170])
    first += 5  # what the smoothing took
    rows = np.arange(len(speed))
    low = BEFORE - 30 - first
    peak = low + speed[:, low : BEFORE + 40 - first].argmax(axis=1)
    top = speed[rows, peak]
    around = peak[:, None]
    quiet_before = _low(speed[rows[:, None], around + np.arange(-60, -10)], 20)
    quiet_after = _low(speed[rows[:, None], around + np.arange(20, 100)], 15)
    before = np.maximum(QRS_ONSET_SHARE * top, ONSET_NOISE * quiet_before)
    after = np.maximum(QRS_END_SHARE * top, END_NOISE * quiet_after)
    back = _first_quiet(speed[rows[:, None], around - 1 - np.arange(85)], before, QUIET_ONSET)
    ahead = _first_quiet(speed[rows[:, None], around + np.arange(110)], after, QUIET_END)
    clear = (back >= 0) & (ahead >= 0) & (np.maximum(before, after) < NOISIEST * top)
    onset = np.where(clear, first + peak - 1 - back, BEFORE - 25)
    return onset, np.where(clear, first + peak + ahead, BEFORE + 25), clear


def _speed(mean: Signals) -> Signals:
    """Return the speed in space of (records, leads, samples): by a line through 7 samples, smoothed a little."""
    slopes = 3 * (mean[..., 6:] - mean[..., :-6])
    slopes += 2 * (mean[..., 5:-1] - mean[..., 1:-5])
    slopes += mean[..., 4:-2] - mean[..., 2:-4]
    speed = np.sqrt(np.einsum("rln,rln->rn", slopes, slopes)) / 28
    outer, inner = speed[:, 4:] + speed[:, :-4], speed[:, 3:-1] + speed[:, 1:-3]
    return np.asarray(0.06 * outer + 0.24 * inner + 0.4 * speed[:, 2:-2], np.float32)


def _low(speeds: Signals, percent: int) -> Signals:
    place = speeds.shape[1] * percent // 100
    return np.asarray(np.partition(speeds, place, axis=1)[:, place])


def _first_quiet(speeds: Signals, thresholds: Signals, run: int) -> Places:
    """Return the first sample that begins a run of samples all below the threshold, or -1."""
    below = speeds < thresholds[:, None]
    quiet = np.asarray(sliding_window_view(below, run, axis=1).all(axis=-1))
    return np.asarray(np.where(quiet.any(axis=1), quiet.argmax(axis=1), -1))


def _boxed(leads: Signals, width: int) -> Signals:
    """Return the means over so many samples; the edges stay as they are."""
    smooth = leads.copy()
    parts = [leads[..., start : leads.shape[-1] - width + 1 + start] for start in range(width)]
    smooth[..., width // 2 : -(width // 2)] = sum(parts[1:], start=parts[0]) / np.float32(width)
    return smooth


def _height(leads: Signals) -> Signals:
    """Return the root of the sum of squares over the leads."""
    return np.asarray(np.sqrt(np.einsum("rln,rln->rn", leads, leads)))


def _t(half: Signals, smooth: Signals, qrs: tuple[Places, Places], intervals: Floats) -> tuple[Floats, Floats, Flags]:
    """Return where the T waves begin and end, by the tangents to the steepest rise and fall of their height."""
    rows = np.arange(len(half))[:, None]
    onset, end = qrs
    level = half[rows, :, (onset // HALF)[:, None] + np.arange(-4, 0)].mean(axis=1)
    height = _height(smooth - level[..., None])
    lowest = -(-end // HALF)
    first = lowest + round(T_AFTER_QRS_MS * HALF_PER_MS)
    latest = np.minimum((BEFORE + LATEST_T * intervals) / HALF, onset / HALF + LATEST_T_MS * HALF_PER_MS)
    stop = np.minimum(SAMPLES, latest).astype(np.intp)
    latest_summit = ((BEFORE + LATEST_SUMMIT * intervals) / HALF).astype(np.intp)
    peak, found = _highest_bump(height, lowest, (first, latest_summit), stop, LEAST_T_MV)
    found &= stop - first >= LEAST_WINDOW_MS * HALF_PER_MS
    peak = np.where(found, peak, first)
    back = SAMPLES - 1
    t_end = _foot(height, peak, stop)
    t_onset = back - _foot(height[:, ::-1], back - peak, SAMPLES - lowest)
    return _full(t_onset), _full(t_end), found


def _full(half: Floats) -> Floats:
    """Return a place of half the rate at the full rate: in the middle of the two samples that were one."""
    return half * HALF + (HALF - 1) / 2


def _highest_bump(
    height: Signals, lowest: Places, summits: tuple[Places, Places], stop: Places, least_mv: float
) -> tuple[Places, Flags]:
    """Return the summit that rises most above the valleys beside it, and whether there is one.

    Args:
        height: (records, samples).
        lowest: from where on a valley may lie.
        summits: from where until where the summit may lie.
        stop: where valleys and summits end.
        least_mv: how far it must rise.
    """
    places = np.arange(height.shape[1])
    inside = (places >= lowest[:, None]) & (places < stop[:, None])
    ground = np.where(inside, height, np.inf)
    left = np.minimum.accumulate(ground, axis=1)
    right = np.minimum.accumulate(ground[:, ::-1], axis=1)[:, ::-1]
    summit = np.zeros(height.shape, np.bool_)
    summit[:, 1:-1] = (height[:, 1:-1] > height[:, :-2]) & (height[:, 1:-1] >= height[:, 2:])
    first, last = summits
    summit &= inside & (places >= first[:, None]) & (places < np.minimum(last, stop - 1)[:, None])
    rises = np.where(summit, height - np.maximum(left, right), -1.0)
    best = rises.argmax(axis=1)
    return best, rises[np.arange(len(best)), best] >= least_mv


def _foot(height: Signals, peak: Places, stop: Places) -> Floats:
    """Return where a wave ends that falls from its peak: by the tangent to its steepest fall, see `T_STRETCH`."""
    places, rows = np.arange(height.shape[1]), np.arange(len(height))
    last = np.minimum(stop, peak + round(T_FALL_MS * HALF_PER_MS))
    falling = (places >= peak[:, None]) & (places < last[:, None])
    lowest = np.where(falling, height, np.inf).argmin(axis=1)
    steps = np.diff(height, axis=1)
    before = (places[:-1] >= peak[:, None]) & (places[:-1] < np.maximum(lowest, peak + 1)[:, None])
    steepest = np.where(before, steps, np.inf).argmin(axis=1)
    reach = (height[rows, steepest] - height[rows, lowest]) / np.maximum(-steps[rows, steepest], 1e-9)
    return np.asarray(np.minimum(steepest + 0.5 + T_STRETCH * reach, lowest), np.float64)


def _p(smooth: Signals, qrs_onset: Places, last_end: Floats) -> tuple[Floats, Floats, Flags]:
    """Return where the P waves begin and end: the highest bump between the last T wave and this QRS complex.

    Args:
        smooth: the average beats at half the rate.
        qrs_onset: at the full rate.
        last_end: where the T wave before ended, at the full rate.
    """
    earliest = np.maximum(np.maximum(0, last_end), qrs_onset - EARLIEST_P_MS * PER_MS)
    first, stop = np.ceil(earliest / HALF).astype(np.intp), (qrs_onset - 2) // HALF
    found = stop - first >= LEAST_WINDOW_MS * HALF_PER_MS
    first = np.where(found, first, stop - round(LEAST_WINDOW_MS * HALF_PER_MS))
    shown = smooth[..., : BEFORE // HALF + 10]
    height = _height(shown - _chords(shown, first, stop))
    peak, is_there = _highest_bump(height, first, (first, stop), stop, LEAST_P_MV)
    found &= is_there
    peak = np.where(found, peak, (first + stop) // 2)
    back = height.shape[1] - 1
    onset = back - _end_of_p(height[:, ::-1], back - peak, back - first + 1)
    return _full(onset.astype(np.float64)), _full(_end_of_p(height, peak, stop).astype(np.float64)), found


def _chords(leads: Signals, first: Places, stop: Places) -> Signals:
    """Return the straight lines between the first and the last three samples of each record's window."""
    rows, three = np.arange(len(leads))[:, None], np.arange(3)
    start = leads[rows, :, first[:, None] + three].mean(axis=1)[..., None]
    end = leads[rows, :, stop[:, None] - 1 - three].mean(axis=1)[..., None]
    share = (np.arange(leads.shape[-1]) - first[:, None] - 1) / (stop - first - 3)[:, None]
    return np.asarray(start + (end - start) * share[:, None, :].astype(np.float32))


def _end_of_p(height: Signals, peak: Places, stop: Places) -> Places:
    """Return where a P wave that falls from its peak is down to `P_SHARE`, beyond a second hump if there is one."""
    places, rows = np.arange(height.shape[1]), np.arange(len(height))
    near = np.minimum(stop, peak + round(HALF_P_MS * HALF_PER_MS))
    falling = (places >= peak[:, None]) & (places < near[:, None])
    lowest = np.where(falling, height, np.inf).min(axis=1)
    share = (height - lowest[:, None]) / np.maximum(height[rows, peak] - lowest, 1e-9)[:, None]
    high = falling & (share >= P_HUMP)
    last_high = np.where(high.any(axis=1), height.shape[1] - 1 - high[:, ::-1].argmax(axis=1), peak)
    down = falling & (places >= last_high[:, None]) & (share <= P_SHARE)
    return np.asarray(np.where(down.any(axis=1), down.argmax(axis=1), last_high))


def _repeats(beats: AverageBeats, middles: Floats, asked: Flags) -> Flags:
    """Return for each record whether each beat shows the P wave that the others show."""
    least = np.where(beats.irregularity > IRREGULAR, P_LIKENESS_IRREGULAR, P_LIKENESS)
    samples = round(P_WINDOW_MS * PER_MS)
    starts = np.clip(middles - samples / 2, 0, BEFORE + AFTER - samples).astype(np.intp)
    windows = sliding_window_view(beats.beats_mv, samples, axis=2)
    waves = windows[beats.averaged, :, starts[beats.owners]]
    steps = block_means(waves, round(P_STEP_MS * PER_MS)) @ _WITHOUT_LINE
    likeness = np.zeros(len(asked))
    for index, own in enumerate(by_owner(beats.owners, len(asked))):
        if asked[index] and beats.counts[index]:
            likeness[index] = _likeness(steps[own].reshape(int(beats.counts[index]), -1))
    return np.asarray(likeness > least)


def _without_line() -> Signals:
    """Return the matrix that takes its mean and its slope from a P wave's means over short spans."""
    count = P_WINDOW_MS // P_STEP_MS
    line = np.stack([np.ones(count), np.arange(count)], axis=1)
    return np.asarray(np.eye(count) - line @ np.linalg.pinv(line), np.float32)


_WITHOUT_LINE = _without_line()


def _likeness(waves: Signals) -> float:
    """Return the median correlation of a beat's wave with the sum of the others."""
    others = waves.sum(axis=0) - waves
    sizes = np.einsum("bn,bn->b", waves, waves) * np.einsum("bn,bn->b", others, others)
    return middle(np.einsum("bn,bn->b", waves, others) / np.sqrt(np.maximum(sizes, np.float32(1e-12))))
