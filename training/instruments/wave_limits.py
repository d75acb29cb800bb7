"""Where the P wave, the QRS complex and the T wave of a median beat begin and end, in all leads at once.

The shares and thresholds were set on the delineations of LUDB (Kalyakulina et al., IEEE Access 2020), which four
cardiologists' limits by lead make into one: for P and QRS the second earliest onset and second latest end over the 12
leads, for T the end in the middle lead. What is left of error is in tests/test_training_ecg_measurements.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks, savgol_filter

from training.arrays import Floats

from .median_beat import BEFORE, INDEPENDENT_LEADS, RATE_HZ, AlignedBeats

_PER_MS = RATE_HZ / 1e3
QRS_ONSET_SHARE, QRS_END_SHARE = 0.018, 0.026
"""Of the greatest speed of the QRS complex, where it begins and ends."""
MIN_P_MV, MIN_T_MV = 0.035, 0.03
"""Least prominence of the wave, as the root of the sum of squares over I, II and V1-V6."""
P_SHARE = 0.06
"""Of the height of a P wave, where it begins and ends."""
P_SECOND_HUMP = 0.6
"""Of the height of a P wave: a hump at least this high beside the summit belongs to it."""
MAX_HALF_P_MS = 90
MIN_P_LIKENESS = 0.6
"""Least correlation of single beats' P waves with the other beats'; fibrillation's f waves do not repeat."""
T_STRETCH = 1.4
"""A bell's tangent reaches the ground 1 σ beyond the steepest fall, the bell itself is visible for 1.4 σ."""


@dataclass(frozen=True, slots=True)
class WaveLimits:
    """First and last samples of the median beat's waves; None where a wave was not found."""

    qrs: tuple[int, int]
    p: tuple[int, int] | None
    t: tuple[int, int] | None


def find_wave_limits(beats: AlignedBeats) -> WaveLimits | None:
    """Return where the waves begin and end; None where not even the QRS complex stands out of the noise."""
    median = beats.median_mv[INDEPENDENT_LEADS, :]
    rr = float(np.median(beats.rr_ms)) * _PER_MS
    qrs = _qrs(median)
    if qrs is None:
        return None
    t = _t(median, qrs, rr)
    return WaveLimits(qrs, _p(beats, qrs, t, rr), t)


def _qrs(median: Floats) -> tuple[int, int] | None:
    """Return where the spatial velocity has fallen to a small share of its peak, or to what lies beyond."""
    moving = savgol_filter(median, 7, 2, deriv=1, axis=1)
    speed = gaussian_filter1d(np.sqrt((moving**2).sum(axis=0)), 1.0)
    peak = BEFORE - 30 + int(np.argmax(speed[BEFORE - 30 : BEFORE + 40]))
    before = max(QRS_ONSET_SHARE * speed[peak], 1.6 * float(np.percentile(speed[peak - 60 : peak - 10], 20)))
    after = max(QRS_END_SHARE * speed[peak], 1.5 * float(np.percentile(speed[peak + 20 : peak + 100], 15)))
    onset = _first_quiet(speed[:peak][::-1], before, 4)
    end = _first_quiet(speed[peak:], after, 8)
    if onset is None or end is None or before > 0.5 * speed[peak]:
        return None
    return peak - 1 - onset, peak + end


def _first_quiet(speed: Floats, threshold: float, run: int) -> int | None:
    """Return the first sample that begins a run of samples all below the threshold."""
    quiet = np.convolve(speed < threshold, np.ones(run), "valid") >= run
    return int(np.argmax(quiet)) if quiet.any() else None


def _t(median: Floats, qrs: tuple[int, int], rr: float) -> tuple[int, int] | None:
    """Return where the T wave begins and ends, by the tangents to the steepest rise and fall of the joint height."""
    first = qrs[1] + int(50 * _PER_MS)
    stop = int(min(median.shape[1], BEFORE + 0.72 * rr, qrs[0] + 600 * _PER_MS))
    if stop - first < 60 * _PER_MS:
        return None
    smooth = gaussian_filter1d(median[:, qrs[1] : stop], 8 * _PER_MS, axis=1)
    level = median[:, qrs[0] - 8 : qrs[0]].mean(axis=1, keepdims=True)
    height = _joint_height(smooth - level)
    peak = _highest_bump(height, first - qrs[1], MIN_T_MV)
    if peak is None:
        return None
    rise, fall = _foot(height[: peak + 1][::-1]), _foot(height[peak:])
    return qrs[1] + peak - rise, qrs[1] + peak + fall


def _joint_height(leads: Floats) -> Floats:
    return np.asarray(np.sqrt((leads**2).sum(axis=0)))


def _highest_bump(height: Floats, first: int, least: float) -> int | None:
    """Return the summit, not before `first`, that rises most above its surroundings."""
    peaks, found = find_peaks(height, prominence=least)
    later = peaks >= first
    return int(peaks[later][np.argmax(found["prominences"][later])]) if later.any() else None


def _foot(falling: Floats) -> int:
    """Return where a wave ends that falls from sample 0: by the tangent to its steepest fall, see `T_STRETCH`."""
    steps = np.diff(falling)
    lowest = int(np.argmin(falling))
    steepest = int(np.argmin(steps[: max(lowest, 1)]))
    reach = (falling[steepest] - falling[lowest]) / max(-steps[steepest], 1e-9)
    return int(min(steepest + T_STRETCH * reach + 0.5, lowest))


def _p(beats: AlignedBeats, qrs: tuple[int, int], t: tuple[int, int] | None, rr: float) -> tuple[int, int] | None:
    """Return where the P wave begins and ends: the highest bump between the last T wave and this QRS complex."""
    last_end = (t[1] if t else qrs[1] + 300 * _PER_MS) - rr
    start, stop = int(max(0, last_end, qrs[0] - 340 * _PER_MS)), qrs[0] - int(4 * _PER_MS)
    if stop - start < 60 * _PER_MS:
        return None
    smooth = gaussian_filter1d(beats.median_mv[INDEPENDENT_LEADS, start:stop], 5 * _PER_MS, axis=1)
    height = _joint_height(smooth - _chord(smooth))
    peak = _highest_bump(height, 0, MIN_P_MV)
    if peak is None:
        return None
    p = start + peak - _end_of_p(height[: peak + 1][::-1]), start + peak + _end_of_p(height[peak:])
    return p if _repeats(beats, p) else None


def _chord(leads: Floats) -> Floats:
    """Return the straight line (leads, samples) between the first and the last few samples of each lead."""
    return np.linspace(leads[:, :6].mean(axis=1), leads[:, -6:].mean(axis=1), leads.shape[1], axis=1)


def _end_of_p(falling: Floats) -> int:
    """Return where a P wave that falls from sample 0 is down to `P_SHARE`, beyond a second hump if there is one."""
    near = falling[: int(MAX_HALF_P_MS * _PER_MS)]
    lowest = float(near.min())
    share = (near - lowest) / max(near[0] - lowest, 1e-9)
    last_high = int(np.flatnonzero(share >= P_SECOND_HUMP)[-1]) if share[0] >= P_SECOND_HUMP else 0
    return last_high + int(np.argmax(share[last_high:] <= P_SHARE))


def _repeats(beats: AlignedBeats, p: tuple[int, int]) -> bool:
    """Say whether each beat shows the P wave that the others show."""
    waves = gaussian_filter1d(beats.aligned_mv[:, INDEPENDENT_LEADS, p[0] : p[1] + 1], 5 * _PER_MS, axis=2)
    waves = (waves - waves.mean(axis=2, keepdims=True)).reshape(len(waves), -1)
    others = (waves.sum(axis=0) - waves) / (len(waves) - 1)
    norms = np.linalg.norm(waves, axis=1) * np.linalg.norm(others, axis=1)
    return bool(np.median((waves * others).sum(axis=1) / np.maximum(norms, 1e-9)) > MIN_P_LIKENESS)
