"""What devices make of an ECG: rates, filters, lengths, gains and steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt, sosfiltfilt

from inference.geometry import RECORDED_RATE_HZ, RECORDED_SAMPLES
from training.arrays import Floats

RATES_HZ = (100, 125, 200, 240, 250, 257, 300, 360, 400, 500, 500, 500, 800, 960, 1000)
HIGH_PASS_HZ = (0.05, 0.05, 0.15, 0.3, 0.5, 0.67)
LOW_PASS_HZ = (25.0, 35.0, 40.0, 75.0, 100.0, 150.0)
SHORTEST_S = 9.0
STEPS_UV = (1.0, 2.5, 4.88, 5.0, 10.0)


def record_with_some_device(rng: np.random.Generator, signals_mv: Floats) -> tuple[NDArray[np.float32], float]:
    """Return an ECG (12, 5000) of 500 Hz as some device would give it, (12, samples) in mV, and the device's rate."""
    rate_hz = float(RATES_HZ[int(rng.integers(len(RATES_HZ)))])
    filtered = _filtered(rng, signals_mv, rate_hz)
    times = np.arange(int(rng.uniform(SHORTEST_S, RECORDED_SAMPLES / RECORDED_RATE_HZ) * rate_hz)) / rate_hz
    at = np.arange(RECORDED_SAMPLES) / RECORDED_RATE_HZ
    sampled = np.stack([np.interp(times, at, lead) for lead in filtered]) * rng.lognormal(0, 0.25)
    step_mv = STEPS_UV[int(rng.integers(len(STEPS_UV)))] / 1e3
    return (np.round(sampled / step_mv) * step_mv).astype(np.float32), rate_hz


def _filtered(rng: np.random.Generator, signals: Floats, rate_hz: float) -> Floats:
    low = min(LOW_PASS_HZ[int(rng.integers(len(LOW_PASS_HZ)))], 0.4 * rate_hz)
    high = HIGH_PASS_HZ[int(rng.integers(len(HIGH_PASS_HZ)))]
    smooth = butter(2, low, fs=RECORDED_RATE_HZ, output="sos")
    level = butter(int(rng.integers(1, 3)), high, "highpass", fs=RECORDED_RATE_HZ, output="sos")
    run = sosfiltfilt if rng.random() < 0.5 else sosfilt
    return np.asarray(run(level, sosfiltfilt(smooth, signals, axis=-1), axis=-1))
