"""What ten electrodes pick up: sources in the heart by the laws of a volume conductor, and the noise of a recording.

Coordinates are those of the body: to the left, downwards, to the front. The unit of length is such that a source in the
middle of the heart projects to the leads by Dower's vectors (Dower, Machado and Osborne, Clin Cardiol 1980; Edenbrandt
and Pahlm, J Electrocardiol 1988): each chest electrode lies where a dipole's field in a homogeneous conductor has just
that vector, so that a source nearer to it weighs more, and a displaced electrode sees another side of the heart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, lfilter

from inference.geometry import RECORDED_RATE_HZ, RECORDED_SAMPLES
from training.arrays import Floats

from .patient import Habitus

LEAD_I = np.array((0.632, -0.235, -0.059))
LEAD_II = np.array((0.235, 1.066, 0.132))
RIGHT_ARM = -(LEAD_I + LEAD_II) / 3
LIMBS = np.stack([RIGHT_ARM, RIGHT_ARM + LEAD_I, RIGHT_ARM + LEAD_II])
"""Right arm, left arm, left foot against Wilson's terminal; too far away to see where in the heart a source is."""
CHEST = np.array(
    [
        (-0.515, 0.157, 0.917),
        (0.044, 0.164, 1.387),
        (0.882, 0.098, 1.277),
        (1.213, 0.127, 0.601),
        (1.125, 0.127, 0.086),
        (0.831, 0.076, -0.230),
    ]
)
"""V1-V6 against Wilson's terminal."""
LIMB_GAIN = 1.06
"""The regions' fields cancel less in the limb leads of real people than Dower's vectors have it."""
NEAREST = 0.4
"""No source is nearer to an electrode than this: the chest wall lies between them."""

WANDER_MV, MUSCLE_MV, MAINS_MV, MOTION_MV = 0.035, 0.0033, 0.0016, 0.12
"""Of an electrode in a recording of typical noise."""
WANDER_HZ = (0.05, 0.12, 0.35, 0.6)
MOTIONS = 0.35
"""Movements of an electrode in a recording of typical noise, on average."""
MUSCLE_HZ = (20, 150)
MUSCLE_FILTER = butter(1, MUSCLE_HZ, "bandpass", fs=RECORDED_RATE_HZ)


@dataclass(frozen=True, slots=True)
class Sources:
    """Dipoles in the heart.

    Attributes:
        moments: (sources, 3) mV, to the left, downwards, to the front.
        positions: (sources, 3), 0 in the middle of the heart.
        courses: (sources, samples), what each moment is multiplied with over time.
    """

    moments: Floats
    positions: Floats
    courses: Floats

    def turned(self, turn: Floats) -> Sources:
        """Return them after the heart has turned by the matrix `turn` (3, 3)."""
        return Sources(self.moments @ turn.T, self.positions @ turn.T, self.courses)


@dataclass(frozen=True, slots=True)
class Torso:
    """Where the electrodes are and how much reaches them.

    Attributes:
        chest: (6, 3) positions of V1-V6.
        gain: (9,) factor on the voltage of each electrode.
    """

    chest: Floats
    gain: Floats


def build_torso(habitus: Habitus, limb_factor: float) -> Torso:
    """Return the torso; `limb_factor` is how much of the limb leads' voltage is left."""
    distance = np.linalg.norm(CHEST, axis=1, keepdims=True)
    outward = CHEST / distance
    across = np.stack([outward[:, 2], np.zeros(6), -outward[:, 0]], axis=1)
    shift = habitus.electrode_shift[:, :1] * across + habitus.electrode_shift[:, 1:] * np.array((0.0, 1.0, 0.0))
    gain = np.full(9, habitus.attenuation)
    gain[:3] *= LIMB_GAIN * limb_factor
    gain[3:] *= habitus.chest_attenuation
    return Torso(outward / np.sqrt(distance) + shift, gain)


def potentials(sources: Sources, torso: Torso) -> Floats:
    """Return (9, samples) in mV: right arm, left arm, left foot, V1-V6, against Wilson's terminal."""
    limbs = LIMBS @ sources.moments.T
    towards = torso.chest[:, None] - sources.positions
    distance = np.maximum(np.linalg.norm(towards, axis=2), NEAREST)
    chest = np.einsum("ijk,jk->ij", towards, sources.moments) / distance**3
    return np.asarray(torso.gain[:, None] * np.concatenate([limbs, chest]) @ sources.courses)


def leads(electrodes: Floats) -> Floats:
    """Return the 12 leads (12, samples) of nine electrodes, those of the chest against Wilson's terminal."""
    right, left, foot = electrodes[:3]
    i, ii = left - right, foot - right
    limbs = np.stack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2])
    return np.concatenate([limbs, electrodes[3:] - (right + left + foot) / 3])


def record_noise(rng: np.random.Generator, level: float, breathing_hz: float) -> Floats:
    """Return (9, samples) in mV of what the electrodes pick up besides the heart; `level` is 1 in a typical recording.

    Every recording has its own mixture of wander, muscle, mains and motion.
    """
    wander, muscle, mains, motion = level * rng.lognormal(0, (0.5, 0.7, 0.7, 0.5))
    noise: Floats = MUSCLE_MV * muscle * _muscle(rng)
    noise += WANDER_MV * wander * _wander(rng, breathing_hz)
    noise += MAINS_MV * mains * _hum(rng, 50.0 if rng.random() < 0.6 else 60.0)
    for _ in range(rng.poisson(MOTIONS * motion)):
        _add_motion(rng, noise)
    return noise


def _times_s() -> Floats:
    return np.arange(RECORDED_SAMPLES) / RECORDED_RATE_HZ


def _wander(rng: np.random.Generator, breathing_hz: float) -> Floats:
    rates = np.append(rng.uniform(0.7, 1.3, len(WANDER_HZ)) * WANDER_HZ, breathing_hz)
    sizes = np.append(rng.rayleigh(0.4, len(WANDER_HZ)) / np.sqrt(1 + rates[:-1] / 0.15), 0.7)
    return _sines(rng, rates, sizes)


def _hum(rng: np.random.Generator, mains_hz: float) -> Floats:
    rates = mains_hz * (1 + rng.normal(0, 5e-4)) * np.array((1.0, 3.0))
    return _sines(rng, rates, np.array((1.0, 0.15)))


def _sines(rng: np.random.Generator, rates_hz: Floats, sizes: Floats) -> Floats:
    """Return (9, samples): sines that each electrode has in its own strength and phase."""
    angles = 2 * np.pi * rates_hz[:, None] * _times_s()
    strength = sizes * rng.rayleigh(0.8, (9, len(sizes)))
    phase = rng.uniform(0, 2 * np.pi, (9, len(sizes)))
    return np.asarray((strength * np.cos(phase)) @ np.sin(angles) + (strength * np.sin(phase)) @ np.cos(angles))


def _muscle(rng: np.random.Generator) -> Floats:
    """Return (9, samples) of about unit deviation: tremor that swells and fades, more in some electrodes."""
    coloured = lfilter(*MUSCLE_FILTER, rng.standard_normal((9, RECORDED_SAMPLES)), axis=1)
    swelling = np.interp(_times_s(), np.linspace(0, 10, 8), rng.lognormal(0, 0.35, 8))
    return np.asarray(coloured * swelling * rng.lognormal(0.3, 0.4, (9, 1)))


def _add_motion(rng: np.random.Generator, noise: Floats) -> None:
    """Add a slow bump to one electrode: the skin stretches and gives way."""
    lasting = int(RECORDED_RATE_HZ * rng.uniform(0.3, 1.5))
    start = int(rng.integers(0, RECORDED_SAMPLES - lasting))
    bump = np.sin(np.linspace(0, np.pi, lasting)) ** 2 * np.sign(rng.standard_normal())
    noise[rng.integers(9), start : start + lasting] += MOTION_MV * rng.lognormal(0, 0.5) * bump
