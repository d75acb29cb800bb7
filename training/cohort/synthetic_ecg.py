"""A small generator of plausible 12-lead ECGs, for the demonstration and the tests; a simulated cohort will replace it.

A dipole moves through P, QRS and T as a sum of Gaussians in three dimensions; the leads are its projections, the limb
leads by Einthoven's law, and wander, mains hum and muscle noise are added as electrodes pick them up. The waves' shapes
are typical textbook ones, their sizes and times vary from patient to patient; no disease is modelled.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from schemas.ecg_record import LEADS, EcgRecord

SAMPLE_RATE_HZ = 500
SAMPLES = 5000
MICROVOLTS_PER_STEP = 5.0

WAVES = np.array(
    [  # centre, width (s, from the R peak); size (mV) to the left, downwards, to the front
        (-0.170, 0.022, 0.08, 0.09, 0.03),  # P
        (-0.032, 0.008, -0.10, 0.02, 0.16),  # Q
        (-0.004, 0.011, 0.85, 0.80, -0.05),  # R
        (0.020, 0.011, 0.15, -0.12, -0.80),  # S
        (0.270, 0.048, 0.18, 0.15, 0.12),  # T
    ]
)
CHEST_LEADS = np.array(
    [  # V1-V6: where each looks, to the left, downwards, to the front
        (-0.35, 0.05, 1.10),
        (0.10, 0.05, 1.30),
        (0.50, 0.08, 1.20),
        (0.90, 0.12, 0.80),
        (1.05, 0.15, 0.25),
        (1.00, 0.15, -0.05),
    ]
)
MAINS_HZ = 50
ELECTRODE_NOISE_MV = {"wander": 0.06, "muscle": 0.008, "mains": 0.004}


def generate_ecgs(n: int | None, seed: int) -> Iterator[EcgRecord]:
    """Yield `n` ECGs of 10 s at 500 Hz, or endlessly many; each depends on the seed and its own number alone."""
    numbers = itertools.count() if n is None else range(n)
    return (synthesise_ecg(seed, number) for number in numbers)


def synthesise_ecg(seed: int, number: int) -> EcgRecord:
    """Return the ECG of one simulated patient."""
    rng = np.random.default_rng([seed, number])
    time_s = np.arange(SAMPLES) / SAMPLE_RATE_HZ
    dipole = _dipole(time_s, _beats(rng), _waves(rng))
    electrodes = _electrodes(dipole) + _noise(rng, time_s)
    steps = np.round(_leads(electrodes) * 1e3 / MICROVOLTS_PER_STEP).astype("<i2")
    return EcgRecord(
        record_id=f"synthetic-{seed}-{number}",
        patient_id=f"synthetic-patient-{seed}-{number}",
        device_id="synthetic",
        leads=LEADS,
        sample_rate_hz=float(SAMPLE_RATE_HZ),
        microvolts_per_step=MICROVOLTS_PER_STEP,
        samples=steps.tobytes(),
        paced=False,
    )


def _beats(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the times of the R peaks (s): 50 to 100 a minute, with respiratory and random variation."""
    interval_s = 60 / rng.uniform(50, 100)
    count = int(12 / interval_s) + 3
    breathing = 0.03 * np.sin(2 * np.pi * 0.25 * interval_s * np.arange(count) + rng.uniform(0, 6.28))
    intervals = interval_s * (1 + breathing + 0.01 * rng.standard_normal(count))
    return np.asarray(np.cumsum(intervals) - interval_s * rng.uniform(0.5, 1.5))


def _waves(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the patient's own waves: sizes, times and the heart's axis varied."""
    waves = WAVES.copy()
    waves[:, 0] *= rng.uniform(0.9, 1.15)
    waves[:, 1] *= rng.uniform(0.9, 1.2, len(waves))
    waves[:, 2:] *= rng.lognormal(0, 0.2, (len(waves), 1)) * rng.lognormal(0, 0.2)
    angle = rng.normal(0, 0.25)
    turn = np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
    waves[:, 2:4] = waves[:, 2:4] @ turn.T
    return waves


def _dipole(time_s: NDArray[np.float64], beats: NDArray[np.float64], waves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (3, samples): to the left, downwards, to the front, in mV."""
    nearest = np.searchsorted((beats[1:] + beats[:-1]) / 2, time_s)
    dipole = np.zeros((3, len(time_s)))
    for shift in (-1, 0, 1):  # the T wave of the beat before and the P wave of the beat after reach over
        since = time_s - beats[np.clip(nearest + shift, 0, len(beats) - 1)]
        once = (nearest + shift >= 0) & (nearest + shift < len(beats))
        for centre, width, *size in waves:
            near = np.flatnonzero(once & (np.abs(since - centre) < 5 * width))
            dipole[:, near] += np.outer(size, np.exp(-0.5 * ((since[near] - centre) / width) ** 2))
    return dipole


def _electrodes(dipole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (9, samples): right arm, left arm, left foot, and the six of the chest, in mV."""
    left, down, _ = dipole
    limbs = np.stack([-left * 0.5 - down * 0.29, left * 0.5 - down * 0.29, down * 0.58])
    return np.concatenate([limbs, CHEST_LEADS @ dipole])


def _noise(rng: np.random.Generator, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (9, samples) of what electrodes pick up besides the heart, in mV."""
    electrodes = 9
    rate = rng.uniform(0.15, 0.35)
    phase = rng.uniform(0, 2 * np.pi, (electrodes, 1))
    strength = rng.uniform(0.2, 1, (electrodes, 1))
    wander = ELECTRODE_NOISE_MV["wander"] * strength * _sines(rate, phase, time_s)
    mains = ELECTRODE_NOISE_MV["mains"] * strength * _sines(MAINS_HZ, phase, time_s)
    muscle = ELECTRODE_NOISE_MV["muscle"] * rng.standard_normal((electrodes, len(time_s)))
    return np.asarray(wander + mains + muscle)


def _sines(rate_hz: float, phases: NDArray[np.float64], time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sines of one rate (electrodes, samples), by the addition theorem: two in all, not one an electrode."""
    angle = 2 * np.pi * rate_hz * time_s
    return np.asarray(np.sin(angle) * np.cos(phases) + np.cos(angle) * np.sin(phases))


def _leads(electrodes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 12 leads (12, samples) from the electrodes, the chest against Wilson's terminal."""
    right, left, foot = electrodes[:3]
    i, ii = left - right, foot - right
    limbs = np.stack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2])
    return np.concatenate([limbs, electrodes[3:] - (right + left + foot) / 3])
