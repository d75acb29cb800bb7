"""When the heart of a simulated patient beats, and what kind of beat each is.

Modelled on: the task force on heart rate variability (Circulation 1996) for the shares of breathing and of the slower
waves; Bootsma et al. (Circulation 1970) for the irregularity of atrial fibrillation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.arrays import Floats

from .patient import Rhythm

SINUS, ATRIAL_PREMATURE, VENTRICULAR_PREMATURE = 0, 1, 2

BEFORE_S, AFTER_S = 1.5, 11.0
"""Beats are drawn from before the recording until after it, since their waves reach into it."""
MAYER_HZ = 0.1
SHORTEST_S = 0.34
"""Between two beats, by the refractory time of the AV node."""
FIBRILLATION_SPREAD = 0.21
"""Standard deviation of the intervals over their mean."""
PAUSE_AFTER_ATRIAL = 0.7
"""How much of the time that an atrial premature beat was early is not made up for: it resets the sinus node."""


@dataclass(frozen=True, slots=True)
class Beats:
    """The beats of a recording.

    Attributes:
        onsets_s: of the QRS complexes, since the start of the recording.
        kinds: SINUS, ATRIAL_PREMATURE or VENTRICULAR_PREMATURE.
        breathing: -1 to 1, breathed out or in.
        breathing_hz: how often.
    """

    onsets_s: Floats
    kinds: NDArray[np.int64]
    breathing: Floats
    breathing_hz: float


def draw_beats(rng: np.random.Generator, rhythm: Rhythm) -> Beats:
    """Return the beats of 10 s, in time order."""
    breathing_hz = float(np.clip(rng.normal(0.25, 0.05), 0.13, 0.42))
    mean_s = 60 / rhythm.heart_rate_bpm
    count = int((BEFORE_S + AFTER_S) / mean_s * 1.5) + 5
    phase = rng.uniform(0, 2 * np.pi, 2)
    if rhythm.atrial_fibrillation:
        intervals = _fibrillating(rng, mean_s, count)
    else:
        times_s = mean_s * np.arange(count, dtype=np.float64)
        intervals = mean_s * (1 + rhythm.variability * _modulation(rng, times_s, breathing_hz, phase))
    onsets = np.cumsum(intervals) - BEFORE_S - rng.uniform(0, mean_s)
    kinds = _add_ectopy(rng, rhythm, onsets, mean_s)
    return Beats(onsets, kinds, np.sin(2 * np.pi * breathing_hz * onsets + phase[0]), breathing_hz)


def _modulation(rng: np.random.Generator, times_s: Floats, breathing_hz: float, phase: Floats) -> Floats:
    """Return a series of about unit deviation: breathing, the slower waves of blood pressure, and chance."""
    breathing = np.sin(2 * np.pi * breathing_hz * times_s + phase[0])
    slower = np.sin(2 * np.pi * MAYER_HZ * times_s + phase[1])
    return np.asarray(breathing * 0.9 + slower * 0.8 + 0.35 * rng.standard_normal(len(times_s)))


def _fibrillating(rng: np.random.Generator, mean_s: float, count: int) -> Floats:
    shape = FIBRILLATION_SPREAD**-2
    return np.maximum(rng.gamma(shape, mean_s / shape, count), SHORTEST_S)


def _add_ectopy(rng: np.random.Generator, rhythm: Rhythm, onsets: Floats, mean_s: float) -> NDArray[np.int64]:
    """Move beats forward in place so that they are premature; return the kinds of all beats."""
    kinds = np.zeros(len(onsets), np.int64)
    chances = np.array([rhythm.ventricular_ectopy, rhythm.atrial_ectopy * (not rhythm.atrial_fibrillation)])
    chances = chances * mean_s / 60
    coupling = rng.uniform((0.5, 0.6), (0.7, 0.8))
    draws = rng.random((len(onsets), 2)) < np.minimum(chances, 0.3)
    for index in np.flatnonzero(draws.any(axis=1)):
        if index == 0 or kinds[index - 1] != SINUS:
            continue
        kind = VENTRICULAR_PREMATURE if draws[index, 0] else ATRIAL_PREMATURE
        kinds[index] = kind
        ahead = 1 - coupling[int(kind == ATRIAL_PREMATURE)] + rng.normal(0, 0.01)
        early = (onsets[index] - onsets[index - 1]) * ahead
        onsets[index] -= early
        if kind == ATRIAL_PREMATURE:
            onsets[index + 1 :] -= PAUSE_AFTER_ATRIAL * early
    return kinds
