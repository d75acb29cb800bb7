"""The median beat of a 12-lead ECG: where the beats are, which are of one kind, and their median in each lead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, find_peaks, resample_poly, sosfiltfilt

from training.arrays import Floats

RATE_HZ = 500
"""Everything here is sampled at this rate: 2 ms a sample."""
INDEPENDENT_LEADS = (0, 1, 6, 7, 8, 9, 10, 11)
"""I, II, V1-V6: the others of the twelve follow from I and II."""
BEFORE, AFTER = 200, 350
"""Samples of a beat on either side of its fiducial point: 400 and 700 ms."""
MIN_BEATS, MIN_SECONDS = 3, 3

_SHIFT = 12
_CORE = slice(BEFORE - 45, BEFORE + 60)
"""The QRS complex and some of what surrounds it; by this part beats are aligned and compared."""
_ALIKE = 0.85


@dataclass(frozen=True, slots=True)
class AlignedBeats:
    """The beats of the most frequent kind in an ECG, and their median.

    Attributes:
        rr_ms: (beats - 1,) intervals between successive beats of any kind.
        aligned_mv: (alike, 12, BEFORE + AFTER) beats of the most frequent kind.
        median_mv: (12, BEFORE + AFTER) their median.
    """

    rr_ms: Floats
    aligned_mv: Floats
    median_mv: Floats


def find_beats(signals_mv: NDArray[np.float32], sample_rate_hz: float) -> AlignedBeats | None:
    """Return the beats of one ECG (12, samples), in mV; None where fewer than `MIN_BEATS` are alike.

    Premature, aberrant and disturbed beats are left out of the median by their correlation with the others in the QRS
    complex, over all leads at once; `rr_ms` counts them.
    """
    if signals_mv.shape[1] < MIN_SECONDS * sample_rate_hz:
        return None
    signals = _cleaned(signals_mv, sample_rate_hz)
    peaks = find_r_peaks(signals)
    inside = peaks[(peaks >= BEFORE + _SHIFT) & (peaks < signals.shape[1] - AFTER - _SHIFT)]
    if len(inside) < MIN_BEATS:
        return None
    aligned = _aligned(signals, inside)
    alike = _largest_group(aligned)
    if alike.sum() < MIN_BEATS:
        return None
    beats = aligned[alike]
    return AlignedBeats(np.diff(peaks) * (1e3 / RATE_HZ), beats, np.median(beats, axis=0))


def find_r_peaks(signals: Floats) -> NDArray[np.intp]:
    """Return the samples at which a QRS complex (12, samples) moves fastest in space, over I, II and V1-V6 together."""
    band = butter(2, (6, 30), "bandpass", fs=RATE_HZ, output="sos")
    moving = np.gradient(sosfiltfilt(band, signals[INDEPENDENT_LEADS, :]), axis=1)
    speed = gaussian_filter1d(np.sqrt((moving**2).sum(axis=0)), 0.018 * RATE_HZ)
    window = int(1.6 * RATE_HZ)
    whole = speed[: speed.size // window * window].reshape(-1, window)
    typical = float(np.median(whole.max(axis=1))) if whole.size else float(speed.max(initial=0))
    if typical < 1e-4:  # mV a sample: nothing moves
        return np.empty(0, np.intp)
    peaks, _ = find_peaks(speed, height=0.4 * typical, distance=int(0.26 * RATE_HZ))
    return np.asarray(peaks, np.intp)


def _cleaned(signals_mv: NDArray[np.float32], sample_rate_hz: float) -> Floats:
    """Return (12, samples) at `RATE_HZ`, without wander and without what lies above the ECG's band; gaps become 0."""
    signals = np.nan_to_num(np.asarray(signals_mv, np.float64), posinf=0, neginf=0)
    if sample_rate_hz != RATE_HZ:
        signals = resample_poly(signals, RATE_HZ, round(sample_rate_hz), axis=1)
    signals = signals - np.median(signals, axis=1, keepdims=True)
    band = butter(2, (0.4, 100), "bandpass", fs=RATE_HZ, output="sos")
    smooth: Floats = sosfiltfilt(band, signals)
    return smooth


def _aligned(signals: Floats, peaks: NDArray[np.intp]) -> Floats:
    """Return (beats, 12, BEFORE + AFTER), each shifted to where it fits the median beat best."""
    for _ in range(2):
        beats = _cut(signals, peaks)
        template = np.median(beats, axis=0)[INDEPENDENT_LEADS, _CORE]
        fits = [
            np.einsum("blt,lt->b", _cut(signals, peaks + shift)[:, INDEPENDENT_LEADS, _CORE], template)
            for shift in range(-_SHIFT // 2, _SHIFT // 2 + 1)
        ]
        peaks = peaks + np.argmax(fits, axis=0) - _SHIFT // 2
    return _cut(signals, peaks)


def _cut(signals: Floats, peaks: NDArray[np.intp]) -> Floats:
    windows = np.lib.stride_tricks.sliding_window_view(signals, BEFORE + AFTER, axis=1)
    return windows[:, peaks - BEFORE].transpose(1, 0, 2)


def _largest_group(aligned: Floats) -> NDArray[np.bool_]:
    """Return which beats correlate with that beat which most others correlate with; prefers the closer group."""
    core = aligned[:, INDEPENDENT_LEADS, _CORE]
    core = (core - core.mean(axis=2, keepdims=True)).reshape(len(core), -1)
    norms = np.linalg.norm(core, axis=1)
    correlation = (core / np.maximum(norms, 1e-9)[:, None]) @ (core / np.maximum(norms, 1e-9)[:, None]).T
    alike = correlation > _ALIKE
    best = np.argmax(alike.sum(axis=1) + correlation.mean(axis=1))
    return np.asarray(alike[best])
