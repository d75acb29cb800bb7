"""The 82 cardiac MR measurements of a simulated heart, taken from its geometry as UK Biobank's are from scans.

Definitions: Bai et al., Nature Medicine 2020, and its published pipeline (github.com/baiwenjia/ukbb_cardiac):
- volumes at end-diastole (the first frame) and at their smallest; atria at their largest and smallest
- wall thickness at end-diastole, across the long axis
- strain is the change of length over the length at end-diastole, in per cent: circumferential and longitudinal the mean
  of endocardium and epicardium, radial that of the wall; the peak over the beat of a segment's mean, and of the mean
- longitudinal in the four-chamber plane: segments 1 to 6 are basal septal, basal lateral, mid septal, mid lateral,
  apical septal, apical lateral
- distensibility is the relative change of area over the central pulse pressure
"""

from __future__ import annotations

import numpy as np

from inference.phenotypes import MEASUREMENTS
from training.arrays import Floats

from .heart import ANGLE, LEVELS, SECTORS, Heart

MYOCARDIUM_G_PER_ML = 1.05
SEPTAL_SECTOR, LATERAL_SECTOR = 22, 10
"""Where the four-chamber plane cuts the wall: the inferior septum and, opposite, the wall towards the front."""
RINGS = (slice(11, 16), slice(6, 11), slice(1, 6))
"""Levels of the basal, the middle and the apical third; the lowest is the apex, which is no segment of the sixteen."""


def measure_heart(heart: Heart) -> Floats:
    """Return (82,): the measurements in the order and units of `inference.phenotypes.MEASUREMENTS`."""
    values = np.concatenate([_ventricles(heart), _atria(heart), _aorta(heart), _myocardium(heart)])
    assert values.shape == (len(MEASUREMENTS),)  # noqa: S101 - a fault of ours, never of the patient's
    return values


def measure_chambers(heart: Heart) -> dict[str, Floats]:
    """Return the volumes (mL) of left and right ventricle and atrium over the beat, (PHASES,) each."""
    area = heart.step_mm * np.pi / SECTORS  # half of step × angle
    return {
        "lv": np.sum(area * heart.endocardium_mm**2, axis=(1, 2)) / 1e3,
        "rv": np.sum(area * (heart.rv_mm**2 - heart.epicardium_mm**2), axis=(1, 2)) / 1e3,
        "la": 4 / 3 * np.pi * heart.la_axes_mm.prod(axis=1) / 1e3,
        "ra": 4 / 3 * np.pi * heart.ra_axes_mm.prod(axis=1) / 1e3,
    }


def _ventricles(heart: Heart) -> Floats:
    volume = measure_chambers(heart)
    left = _ejection(volume["lv"][0], volume["lv"].min())
    output = left[2] * heart.patient.rhythm.heart_rate_bpm / 1e3
    return np.array([*left, output, _mass_g(heart), *_ejection(volume["rv"][0], volume["rv"].min())])


def _atria(heart: Heart) -> Floats:
    volume = measure_chambers(heart)
    return np.concatenate([_ejection(volume[side].max(), volume[side].min()) for side in ("la", "ra")])


def _ejection(full_ml: float, empty_ml: float) -> Floats:
    """Return what a chamber holds when full and empty, what it ejects, and the fraction (%)."""
    return np.array([full_ml, empty_ml, full_ml - empty_ml, 100 * (1 - empty_ml / full_ml)])


def _mass_g(heart: Heart) -> float:
    outer, inner, step = heart.epicardium_mm[0], heart.endocardium_mm[0], heart.step_mm[0]
    wall = np.sum((outer**2 - inner**2) * step) * np.pi / SECTORS
    cap = np.pi / 2 * np.mean(outer[0] ** 2) * heart.apex_mm[0]  # a paraboloid below the cavity
    return float((wall + cap) / 1e3 * MYOCARDIUM_G_PER_ML)


def _aorta(heart: Heart) -> Floats:
    return np.concatenate(
        [_distension(area, heart.pulse_pressure_mmhg) for area in (heart.ascending_mm2, heart.descending_mm2)]
    )


def _distension(area_mm2: Floats, pulse_mmhg: float) -> Floats:
    largest, smallest = area_mm2.max(), area_mm2.min()
    return np.array([largest, smallest, 1e3 * (largest / smallest - 1) / pulse_mmhg])


def _myocardium(heart: Heart) -> Floats:
    wall = heart.epicardium_mm - heart.endocardium_mm
    around = (_strain(_arcs(heart.endocardium_mm)) + _strain(_arcs(heart.epicardium_mm))) / 2
    thickness, circumferential, radial = _by_segment(wall)[0], _by_segment(around), _by_segment(_strain(wall))
    longitudinal = _longitudinal(heart)
    return np.concatenate(
        [
            _with_mean(thickness),
            _with_mean(circumferential).min(axis=0),
            _with_mean(radial).max(axis=0),
            _with_mean(longitudinal).min(axis=0),
        ]
    )


def _with_mean(by_segment: Floats) -> Floats:
    return np.concatenate([by_segment, by_segment.mean(axis=-1, keepdims=True)], axis=-1)


def _strain(length: Floats) -> Floats:
    """Return the change of length since the first frame, in per cent of it."""
    return np.asarray(100 * (length / length[:1] - 1))


def _arcs(radius_mm: Floats) -> Floats:
    """Return the length of a surface round the ventricle, from each sector's neighbour before to the one after."""
    before, after = np.roll(radius_mm, 1, axis=2), np.roll(radius_mm, -1, axis=2)
    turn = 4 * np.pi / SECTORS
    return np.asarray(np.sqrt(before**2 + after**2 - 2 * before * after * np.cos(turn)))


def _longitudinal(heart: Heart) -> Floats:
    """Return (PHASES, 6): the strain of the wall along the four-chamber plane, by segment."""
    strain = np.zeros((len(heart.contraction), LEVELS, 2))
    for surface in (heart.endocardium_mm, heart.epicardium_mm):
        for side, sector in enumerate((SEPTAL_SECTOR, LATERAL_SECTOR)):
            slope = np.gradient(surface[:, :, sector], axis=1)  # per level, as step is
            strain[:, :, side] += _strain(np.hypot(slope, heart.step_mm[:, :, sector])) / 2
    return np.concatenate([strain[:, ring].mean(axis=1) for ring in RINGS], axis=1)


def _segments() -> Floats:
    """Return (16, LEVELS * SECTORS): the share of each point of the wall in each AHA segment's mean."""
    members = np.zeros((16, LEVELS, SECTORS))
    sixth = (1 - np.floor(np.degrees(ANGLE) / 60).astype(int)) % 6  # segments run from the front to the septum
    fourth = (1 - np.floor((np.degrees(ANGLE) + 45) / 90).astype(int)) % 4
    for sector in range(SECTORS):
        members[sixth[sector], RINGS[0], sector] = 1
        members[6 + sixth[sector], RINGS[1], sector] = 1
        members[12 + fourth[sector], RINGS[2], sector] = 1
    return np.asarray((members / members.sum(axis=(1, 2), keepdims=True)).reshape(16, -1))


SEGMENTS = _segments()


def _by_segment(of_wall: Floats) -> Floats:
    """Return (PHASES, 16): means of (PHASES, LEVELS, SECTORS) by AHA segment."""
    return np.asarray(of_wall.reshape(len(of_wall), -1) @ SEGMENTS.T)
