"""ECGs of hearts that are a few vectors: a second simulation, which shares no mistake of the first one's heart.

What the first simulation derives from the ventricles' regions is drawn here wave by wave, as textbooks of the
vectorcardiogram describe them (Chou and Helm, Clinical Vectorcardiography; Macfarlane and Lawrie, Comprehensive
Electrocardiology): the septum's forces to the right and to the front, those of the apex and of the left wall to the
left and downwards, those of the base backwards and up, and P and T waves about the axes of healthy adults. Blocks add
late forces of their own. All directions scatter far more than a textbook's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference.geometry import RECORDED_SAMPLES
from training.arrays import Floats

from .ecg import add_wave, see
from .electrodes import CHEST, LEAD_I, LEAD_II, Sources, Torso, leads, potentials, record_noise
from .patient import Rhythm
from .rhythm import ATRIAL_PREMATURE, SINUS, VENTRICULAR_PREMATURE, Beats, draw_beats
from .waves import BEFORE_MS, MS, fibrillation_sources, turn_about

UNTURNED = np.eye(3)
TO_BODY = np.linalg.inv(np.stack([LEAD_I[:2], LEAD_II[:2]]))
"""To the left and downwards, from leads I and II."""


@dataclass(frozen=True, slots=True)
class Force:
    """A part of a wave: a bell over time that points somewhere.

    Attributes:
        at: when, as a share of the wave's duration.
        width: standard deviation over time, as a share of the duration.
        axis_deg: mean and standard deviation of the direction in the frontal plane, from left to down.
        front_deg: the same, out of the frontal plane to the front.
        size: median, in mV.
        spread: standard deviation of the logarithm of the size.
    """

    at: float
    width: float
    axis_deg: tuple[float, float]
    front_deg: tuple[float, float]
    size: float
    spread: float = 0.35


SEPTUM = Force(0.17, 0.075, (165, 60), (55, 20), 0.30, 0.5)
APEX = Force(0.40, 0.11, (36, 20), (8, 20), 1.15)
WALL = Force(0.54, 0.12, (28, 26), (-42, 18), 1.10)
BASE = Force(0.76, 0.10, (-105, 50), (-45, 25), 0.33, 0.5)
NORMAL = (SEPTUM, APEX, WALL, BASE)
RIGHT_BLOCK = (*NORMAL, Force(1.10, 0.20, (165, 35), (35, 20), 0.5, 0.4))
LEFT_BLOCK = (
    Force(0.25, 0.13, (20, 25), (-25, 20), 0.7),
    Force(0.55, 0.17, (5, 30), (-45, 18), 1.3),
    Force(0.80, 0.12, (-5, 40), (-40, 25), 0.7),
)
LEFT_ANTERIOR_BLOCK = (SEPTUM, Force(0.28, 0.09, (80, 25), (15, 25), 0.6), Force(0.6, 0.14, (-52, 18), (-25, 20), 1.3))
RIGHT_LOAD = (SEPTUM, APEX, Force(0.55, 0.13, (120, 30), (20, 30), 1.2), BASE)
INFERIOR_SCAR = (SEPTUM, Force(0.25, 0.09, (-70, 20), (10, 25), 0.5), Force(0.50, 0.13, (0, 25), (-25, 25), 1.2), BASE)
ANTERIOR_SCAR = (Force(0.25, 0.10, (60, 50), (-60, 20), 0.6), APEX, WALL, BASE)
PACED = (Force(0.25, 0.14, (-60, 25), (20, 30), 0.9), Force(0.55, 0.17, (-75, 25), (-35, 25), 1.3))
ANYWHERE = (Force(0.4, 0.16, (0, 180), (0, 50), 1.2), Force(0.7, 0.16, (0, 180), (0, 50), 0.9))
KINDS = (
    (0.54, NORMAL, 88.0),
    (0.08, RIGHT_BLOCK, 95.0),
    (0.06, LEFT_BLOCK, 140.0),
    (0.07, LEFT_ANTERIOR_BLOCK, 98.0),
    (0.06, RIGHT_LOAD, 88.0),
    (0.06, INFERIOR_SCAR, 92.0),
    (0.05, ANTERIOR_SCAR, 95.0),
    (0.04, PACED, 150.0),
    (0.04, ANYWHERE, 140.0),
)
"""Share of the patients, forces, and mean duration in ms."""

RIGHT_ATRIUM = Force(0.32, 0.17, (70, 16), (20, 25), 0.13, 0.35)
LEFT_ATRIUM = Force(0.64, 0.17, (22, 18), (-35, 25), 0.15, 0.35)
AROUND_SINUS = (RIGHT_ATRIUM, LEFT_ATRIUM)
FLUTTER = (Force(0.5, 0.35, (-90, 20), (0, 30), 0.16), Force(1.1, 0.2, (80, 40), (10, 40), 0.06))
LOW_ATRIUM = (Force(0.4, 0.2, (-80, 40), (0, 40), 0.12), Force(0.6, 0.2, (-60, 60), (0, 40), 0.1))
LOW, FIBRILLATING, PREMATURE = 0.06, 0.08, 0.1
WITHOUT, DISSOCIATED, FLUTTERING = 0.03, 0.05, 0.03
"""Share of the patients without P waves, with P waves in a time of their own, and with atrial flutter."""
T_AXIS_DEG, T_FRONT_DEG, T_MV = (37.0, 18.0), (28.0, 22.0), 0.28
INVERTED = 0.1
"""So many T waves point anywhere."""
LIMB_TURN_DEG = (7.0, 7.0, 7.0)
LOWER = (0.20, 0.16)
"""Mean and standard deviation of how much lower the chest electrodes lie than where they should."""
SHIFT = 0.10


def simulate_vector_ecg(seed: int, number: int) -> Floats:
    """Return an ECG (12, 5000) in mV at 500 Hz, leads in the order of `schemas.ecg_record.LEADS`."""
    rng = np.random.default_rng([seed, number, 4])
    rhythm = _rhythm(rng)
    beats = draw_beats(rng, rhythm)
    torso, size = _torso(rng), float(rng.lognormal(0, 0.25))
    pr_ms = float(np.clip(rng.normal(160, 25), 100, 300))
    normal, premature = _ventricles(rng, rhythm, size), _ventricles(rng, rhythm, size, ectopic=True)
    ventricles = [(SINUS, normal), (ATRIAL_PREMATURE, normal), (VENTRICULAR_PREMATURE, premature)]
    waves = [(sources, 1e3 * beats.onsets_s[beats.kinds == kind] - BEFORE_MS) for kind, sources in ventricles]
    waves += _atrial_waves(rng, rhythm, beats, pr_ms)
    electrodes = np.zeros((9, RECORDED_SAMPLES))
    for sources, at_ms in waves:
        add_wave(electrodes, see(sources, torso, UNTURNED), at_ms, np.sin(at_ms / 1e3 * 2 * np.pi * beats.breathing_hz))
    if rhythm.atrial_fibrillation:
        electrodes += potentials(fibrillation_sources(rng, RECORDED_SAMPLES), torso)
    electrodes += record_noise(rng, float(rng.lognormal(0, 0.6)), beats.breathing_hz)
    return leads(electrodes)


def _atrial_waves(rng: np.random.Generator, rhythm: Rhythm, beats: Beats, pr_ms: float) -> list[tuple[Sources, Floats]]:
    """Return what the atria do, and when each wave begins (ms)."""
    if rhythm.atrial_fibrillation or (chance := rng.random()) < WITHOUT:
        return []
    if chance < WITHOUT + DISSOCIATED:
        own = _atria(rng, pr_ms, AROUND_SINUS)
        return [(own, np.arange(-1e3, 11e3, rng.uniform(500, 1000)) + rng.uniform(0, 500))]
    if chance < WITHOUT + DISSOCIATED + FLUTTERING:
        onsets = 1e3 * beats.onsets_s
        circuits, flutter = int(rng.integers(2, 5)), _atria(rng, pr_ms, FLUTTER)
        steps = np.arange(circuits) / circuits
        return [(flutter, (onsets[:-1, None] + steps * np.diff(onsets)[:, None]).ravel() - rng.uniform(0, 300))]
    sinus = _atria(rng, pr_ms, LOW_ATRIUM if rng.random() < LOW else AROUND_SINUS)
    early = _atria(rng, pr_ms, LOW_ATRIUM)
    pairs = ((SINUS, sinus), (ATRIAL_PREMATURE, early))
    return [(sources, 1e3 * beats.onsets_s[beats.kinds == kind] - pr_ms) for kind, sources in pairs]


def _rhythm(rng: np.random.Generator) -> Rhythm:
    return Rhythm(
        heart_rate_bpm=float(np.clip(rng.lognormal(np.log(72), 0.25), 42, 170)),
        atrial_fibrillation=bool(rng.random() < FIBRILLATING),
        variability=float(np.clip(rng.lognormal(np.log(0.035), 0.4), 0.005, 0.12)),
        ventricular_ectopy=float(rng.exponential(4) * (rng.random() < PREMATURE)),
        atrial_ectopy=float(rng.exponential(4) * (rng.random() < PREMATURE)),
    )


def _torso(rng: np.random.Generator) -> Torso:
    distance = np.linalg.norm(CHEST, axis=1, keepdims=True)
    shift = SHIFT * rng.standard_normal((6, 3))
    shift[:, 1] += rng.normal(*LOWER) * np.array((0.3, 0.3, 0.6, 1, 1, 1))
    gain = np.exp(rng.normal(0, 0.1, 9))
    gain[:3] = 1.0
    return Torso(CHEST / distance**1.5 + shift, gain)


def _drawn(rng: np.random.Generator, force: Force) -> Floats:
    """Return a moment (3,) of which the limb leads show the drawn axis."""
    axis, front = np.radians((rng.normal(*force.axis_deg), rng.normal(*force.front_deg)))
    across, down = TO_BODY @ np.array((np.cos(axis), np.cos(axis - np.pi / 3)))
    flat = np.cos(front) / np.hypot(across, down)
    return np.asarray(
        force.size * rng.lognormal(0, force.spread) * np.array((flat * across, flat * down, np.sin(front)))
    )


def _ventricles(rng: np.random.Generator, rhythm: Rhythm, size: float, *, ectopic: bool = False) -> Sources:
    _, forces, mean_ms = (
        KINDS[-1] if ectopic else KINDS[int(rng.choice(len(KINDS), p=[share for share, _, _ in KINDS]))]
    )
    duration = float(mean_ms * rng.lognormal(0, 0.1))
    qt_ms = float(rng.normal(400, 22) * (60 / rhythm.heart_rate_bpm) ** (1 / 3) + 0.4 * max(duration - 100, 0))
    times = np.arange(0, BEFORE_MS + qt_ms + 250, MS) - BEFORE_MS
    turn = turn_about(rng.normal(0, LIMB_TURN_DEG))
    at = duration * (np.array([force.at for force in forces]) + rng.normal(0, 0.03, len(forces)))
    widths = duration * np.array([force.width for force in forces]) * rng.lognormal(0, 0.15, len(forces))
    moments = size * np.stack([_drawn(rng, force) for force in forces]) @ turn.T
    area = (moments * widths[:, None]).sum(axis=0)
    t, falling = _t_wave(rng, area, size), float(np.clip(rng.normal(40, 5), 28, 55)) * qt_ms / 395
    peak, rising = qt_ms - 2.2 * falling, falling * rng.uniform(1.1, 1.9)
    step = 1 / (1 + np.exp(-np.clip((times - duration) / 5, -40, 40)))
    st = step * np.exp(-0.5 * (np.maximum(times - peak, 0) / falling) ** 2)
    courses = np.concatenate(
        [_bells(times, at, widths, widths), _bells(times, np.array([peak]), rising, falling), st[None]]
    )
    every = np.concatenate([moments, t[None], (0.1 * t + rng.normal(0, 0.02, 3))[None]])
    return Sources(every, rng.normal(0, 0.12, every.shape) * (np.arange(len(every)) < len(forces))[:, None], courses)


def _t_wave(rng: np.random.Generator, area: Floats, size: float) -> Floats:
    """Return the T wave's moment: about its own axis, against slow QRS complexes, or anywhere."""
    if rng.random() < INVERTED:
        return _drawn(rng, Force(0, 0, (0, 180), (0, 50), T_MV, 0.5)) * size
    own = _drawn(rng, Force(0, 0, T_AXIS_DEG, T_FRONT_DEG, T_MV, 0.4)) * size
    return np.asarray(own - rng.uniform(0, 0.004) * area)


def _atria(rng: np.random.Generator, pr_ms: float, forces: tuple[Force, ...]) -> Sources:
    duration = float(np.clip(rng.normal(105, 12), 70, 150))
    times = np.arange(0, pr_ms + 250, MS)
    at, widths = (duration * np.array([getattr(force, name) for force in forces]) for name in ("at", "width"))
    common = rng.lognormal(0, 0.25)
    moments = common * np.stack([_drawn(rng, force) for force in forces])
    turn = turn_about(np.array((rng.normal(0, 8), 0.0, 0.0)))
    backward = -0.12 * moments.sum(axis=0, keepdims=True)
    courses = np.concatenate([_bells(times, at, widths, widths), _bells(times, np.array([duration + 60]), 60.0, 70.0)])
    return Sources(np.concatenate([moments, backward]) @ turn.T, np.zeros((3, 3)), courses)


def _bells(times: Floats, centres: Floats, rising: Floats | float, falling: Floats | float) -> Floats:
    """Return (centres, times): bells with a standard deviation of their own on each side."""
    since = times - centres[:, None]
    before, after = (np.broadcast_to(side, centres.shape)[:, None] for side in (rising, falling))
    return np.asarray(np.exp(-0.5 * (since / np.where(since < 0, before, after)) ** 2))
