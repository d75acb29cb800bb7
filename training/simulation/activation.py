"""How the ventricles of a simulated patient are excited: regions of the wall, each a dipole with a time of its own.

One mechanism makes the QRS complex of health and disease. A region's dipole points outwards, since the wall is excited
from the inside, and is as strong as its muscle: what a scar lacks leaves the opposite wall unopposed (Q waves), a
thick wall is strong, a blocked bundle makes its regions late and lets the wave run along the wall.

Modelled on: Durrer et al. (Circulation 1970) for the order and times of excitation; Selvester et al. (QRS scoring,
J Electrocardiol 1982) for what regions contribute; Strauss, Selvester and Wagner (Am J Cardiol 2011) for left bundle
branch block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from training.arrays import Floats

from .patient import TERRITORIES, Conditions, Patient
from .physiology import scar_by_segment

APEXWARD = np.array((0.61, 0.50, 0.61))
ANTERIOR = np.array((0.352, -0.866, 0.352))
LATERAL = np.array((0.707, 0.0, -0.707))
"""The axes of the left ventricle in the chest: to the left, downwards, to the front."""

SEGMENTS = 16
APEX = 16
RIGHT_SEPTUM = slice(17, 20)
RIGHT_WALL = slice(20, 24)
REGIONS = 24

ANGLES_DEG = np.array([*[90, 150, 210, 270, 330, 30] * 2, 90, 180, 270, 0, 0, 150, 210, 180, 125, 165, 195, 230])
"""Around the long axis, from the lateral wall over the anterior one."""
HEIGHTS = np.array([*[-0.5] * 6, *[0.1] * 6, *[0.65] * 4, 1.0, -0.1, 0.1, 0.5, -0.7, 0.0, 0.4, -0.1])
"""Along the long axis, from the middle towards the apex."""
RADII = np.array([*[1.0] * 6, *[0.95] * 6, *[0.6] * 4, 0.0, 0.9, 0.9, 0.6, 1.6, 1.8, 1.4, 1.7])
TILTS_DEG = np.array([*[-6] * 6, *[8] * 6, *[42] * 4, 90, 0, 0, 30, -25, 5, 35, 10])
"""How far a region's outer side faces the apex."""
RADIUS = 0.22
"""Of a normal left ventricle, in units of the distance to the chest's electrodes."""

TIMES_MS = np.array(
    [39, 23, 20, 49, 52, 44, 25, 16, 16, 34, 42, 36, 26, 19, 32, 35, 37, 21, 18, 23, 60, 41, 28, 44], dtype=float
)
"""Since the beginning of the QRS complex, of the middle of each region's excitation, in a complex of 88 ms."""
WIDTHS_MS = np.array([*[7.5] * 16, 6.5, 7, 7, 7, 5, 4.6, 4, 4.6], dtype=float)
"""Standard deviation of a region's excitation in time."""
EDGE = 2.5
"""Standard deviations of the first and the last region that count as part of the complex."""
SHARES = np.array(
    [
        *(1.85, 0.34, 0.33, 1.15, 0.88, 1.20),
        *(1.00, 0.33, 0.30, 1.25, 1.25, 1.25),
        *(0.60, 0.35, 1.45, 0.70, 0.85),
        *(-0.40, -0.49, -0.30),
        *(0.60, 0.40, 0.39, 0.45),
    ]
)
"""Strengths; the septum is excited from both sides and its halves nearly cancel."""
STRENGTH_MV = 0.345
MASS_POWER = 0.75
NORMAL_EDV_ML, NORMAL_WALL_MM, NORMAL_RV_WALL_MM, NORMAL_RV_EDV_ML = 145.0, 7.3, 3.2, 155.0

LEFT_BLOCK_MS = np.array(
    [84, 58, 52, 92, 118, 108, 78, 46, 42, 80, 112, 106, 68, 40, 66, 92, 62, 24, 22, 18, 44, 26, 16, 30], dtype=float
)
LEFT_BLOCK_FORCES = np.array((0.85, 0.10, -0.66))
"""Where the wave runs that crosses the septum and then follows the wall of the left ventricle."""
RIGHT_BLOCK_MS = np.array([0.0] * 17 + [40, 42, 30, 52, 60, 58, 54])
"""Later by this in right bundle branch block; times of the right ventricle."""
RIGHT_BLOCK_FORCES = np.array((-0.80, -0.10, 0.62))
LEFT_SIDE = (np.arange(REGIONS) < RIGHT_SEPTUM.start).astype(np.float64)
RIGHT_SIDE = (np.arange(REGIONS) >= RIGHT_WALL.start).astype(np.float64)
RIGHT_LOAD_FORCES = np.array((-0.65, 0.25, 0.72))
"""Where the forces of a right ventricle under pressure point."""
FORE_SEGMENTS = np.isin(np.arange(REGIONS), (0, 5, 6, 11)) * 1.0 + np.isin(np.arange(REGIONS), (12, 15)) * 0.5
HIND_SEGMENTS = np.isin(np.arange(REGIONS), (3, 4, 9, 10, 14)) * 1.0
"""Fed by the anterior and the posterior fascicle of the left bundle."""


@dataclass(frozen=True, slots=True)
class Wall:
    """The ventricles as regions.

    Attributes:
        positions, outward: (regions, 3).
        strengths: (regions,) mV.
        scar: (regions,) share that is scar.
        thickness: (regions,) of a normal one.
    """

    positions: Floats
    outward: Floats
    strengths: Floats
    scar: Floats
    thickness: Floats


@dataclass(frozen=True, slots=True)
class Activation:
    """How the regions are excited in one kind of beat.

    Attributes:
        moments: (regions, 3) mV at their highest.
        times_ms, widths_ms: (regions,) since the beginning of the QRS complex.
        qrs_ms: how long the complex lasts.
        aberrance: 0 if the wave spreads by the bundles, 1 if it creeps through muscle.
    """

    moments: Floats
    times_ms: Floats
    widths_ms: Floats
    qrs_ms: float
    aberrance: float


def build_wall(rng: np.random.Generator, patient: Patient) -> Wall:
    """Return the regions; hearts differ in the direction and the strength of each."""
    angle = np.radians(ANGLES_DEG + rng.normal(0, 6, REGIONS) + rng.normal(0, 6))[:, None]
    tilt = np.radians(TILTS_DEG + rng.normal(0, 6, REGIONS))[:, None]
    radial = np.cos(angle) * LATERAL + np.sin(angle) * ANTERIOR
    loaded = 0.6 * patient.conditions.pulmonary_hypertension * RIGHT_SIDE
    size = RADIUS * (patient.ventricle.edv_ml / NORMAL_EDV_ML) ** (1 / 3)
    scar = _replaced(rng, patient.conditions)
    thickness = _left_regions(patient.ventricle.thickness_mm) / NORMAL_WALL_MM
    thickness[RIGHT_WALL] = patient.others.rv_wall_mm / NORMAL_RV_WALL_MM
    return Wall(
        positions=size * (RADII[:, None] * radial + 1.4 * HEIGHTS[:, None] * APEXWARD),
        outward=_along(np.cos(tilt) * radial + np.sin(tilt) * APEXWARD, RIGHT_LOAD_FORCES, loaded),
        strengths=STRENGTH_MV * _strengths(rng, patient, scar),
        scar=scar,
        thickness=thickness,
    )


def _strengths(rng: np.random.Generator, patient: Patient, scar: Floats) -> Floats:
    ventricle, others = patient.ventricle, patient.others
    left = _left_regions(ventricle.thickness_mm) / NORMAL_WALL_MM * (ventricle.edv_ml / NORMAL_EDV_ML) ** (2 / 3)
    right = (others.rv_wall_mm / NORMAL_RV_WALL_MM) ** 1.3 * (others.rv_edv_ml / NORMAL_RV_EDV_ML) ** (2 / 3)
    left[RIGHT_SEPTUM] = 1.0
    muscle = np.where(np.arange(REGIONS) < RIGHT_WALL.start, left, right)
    chance = np.exp(rng.normal(0, 0.14, REGIONS))
    chance[RIGHT_WALL] *= np.exp(rng.normal(0, 0.25))
    chance[[1, 2, 7, 8, 13]] *= np.exp(rng.normal(0, 0.2))
    chance[[4, RIGHT_WALL.start]] *= np.exp(rng.normal(0, (0.15, 0.3)))  # the last forces
    remodelled = 1 - 0.8 * scar[:SEGMENTS].mean()
    chance[[1, 6, 7, 12, 13]] *= 1 - 0.45 * patient.conditions.dilated  # poor R progression
    return np.asarray(SHARES * muscle**MASS_POWER * (1 - 0.95 * scar) * chance * remodelled)


def _left_regions(segments: Floats) -> Floats:
    """Return (regions,) from values by AHA segment: the apex is like what is near, the right septum is as the left."""
    apex = segments[12:16].mean()
    septum = (segments[[1, 7]].mean(), segments[[2, 8]].mean(), segments[13])
    return np.array([*segments, apex, *septum, 1.0, 1.0, 1.0, 1.0])


def _replaced(rng: np.random.Generator, conditions: Conditions) -> Floats:
    """Return (regions,) the share without excitable muscle: an infarct, or an infiltrated wall that looks like one."""
    segments = scar_by_segment(conditions)
    infiltrated = TERRITORIES["LAD" if rng.random() < 0.6 else "RCA"]
    segments[np.array(infiltrated) - 1] += 0.75 * conditions.restrictive * rng.uniform(0, 1)
    replaced = np.clip(_left_regions(segments), 0, 1)
    replaced[RIGHT_WALL] = 0
    if conditions.infarct_artery == "LAD":
        replaced[APEX] = replaced[12:14].max()
    return replaced


def conduct(rng: np.random.Generator, wall: Wall, patient: Patient) -> Activation:
    """Return how a beat that comes down from the atria excites the ventricles."""
    electrics = patient.electrics
    left, right = electrics.left_bundle_block * LEFT_SIDE, electrics.right_bundle_block * RIGHT_SIDE
    lag = _fascicular_lag(patient)
    times = TIMES_MS + lag * (30 * FORE_SEGMENTS - 15 * HIND_SEGMENTS) + RIGHT_BLOCK_MS * right
    times += rng.normal(0, 3.0, REGIONS)
    blocked = electrics.left_bundle_block
    times = (1 - blocked) * times + blocked * (LEFT_BLOCK_MS + rng.normal(0, 5, REGIONS))
    widths = WIDTHS_MS * np.exp(rng.normal(0, 0.13, REGIONS)) * wall.thickness**0.5
    directions = _along(_along(wall.outward, LEFT_BLOCK_FORCES, 0.8 * left), RIGHT_BLOCK_FORCES, 0.85 * right)
    strengths = wall.strengths * (1 - 0.3 * left) * (1 + 0.6 * right)
    strengths *= 1 + electrics.left_anterior_hemiblock * (0.35 * FORE_SEGMENTS - 0.45 * HIND_SEGMENTS)
    strengths[RIGHT_WALL] *= 1 - 0.5 * blocked  # it is over before the left ventricle, and meets the septum's wave
    strengths[RIGHT_SEPTUM] *= 1 - blocked - 1.4 * electrics.right_bundle_block  # no wave comes from the right
    widths *= 1 + 0.7 * left + 1.6 * right
    aberrance = max(blocked, 0.5 * electrics.right_bundle_block)
    qrs_ms = electrics.qrs_ms * float(wall.thickness[:SEGMENTS].mean()) ** 0.2  # a thick wall takes longer
    return _stretched(Activation(strengths[:, None] * directions, times, widths, qrs_ms, aberrance))


def _fascicular_lag(patient: Patient) -> float:
    """Return how much later the anterior fascicle conducts than the posterior one; 1 is a block.

    A good part of how axes differ between healthy people is that: the first forces then do not turn with the others.
    """
    natural = float(np.clip(-patient.habitus.axis_rotation_deg / 160, -0.2, 0.25))
    return natural + patient.electrics.left_anterior_hemiblock


def _along(directions: Floats, forces: Floats, share: Floats) -> Floats:
    """Return directions (regions, 3) turned by a share towards where the wave runs along the wall."""
    kept, turned = (1 - share)[:, None], share[:, None]
    return np.asarray(kept * directions + turned * forces, np.float64)


def _stretched(activation: Activation) -> Activation:
    """Return it with times such that the complex begins at 0 and lasts as long as it says."""
    first = (activation.times_ms - EDGE * activation.widths_ms).min()
    last = (activation.times_ms + EDGE * activation.widths_ms).max()
    factor = activation.qrs_ms / (last - first)
    return replace(activation, times_ms=(activation.times_ms - first) * factor, widths_ms=activation.widths_ms * factor)


def conduct_from_focus(rng: np.random.Generator, wall: Wall, focus: int | None = None) -> Activation:
    """Return how a beat that starts in a region of the ventricles, or in any, spreads through muscle."""
    focus = int(rng.integers(REGIONS)) if focus is None else focus
    away = wall.positions - wall.positions[focus]
    distance = np.linalg.norm(away, axis=1)
    running = away / np.maximum(distance, 0.05)[:, None]
    moments = np.abs(wall.strengths)[:, None] * (0.75 * running + 0.3 * wall.outward)
    times = 90 * distance / distance.max() + rng.normal(0, 4, REGIONS)
    widths = 2.0 * WIDTHS_MS * np.exp(rng.normal(0, 0.1, REGIONS))
    return _stretched(Activation(moments, times, widths, float(rng.uniform(128, 175)), 1.0))
