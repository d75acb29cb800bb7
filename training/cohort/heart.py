"""The heart of a simulated patient over one beat: the left ventricle as a mesh, the other chambers as solids.

The left ventricle is half an ellipsoid of rings and angles. Each of its 16 AHA segments has its own wall, shortening
and delay, blended smoothly between the segments' middles. The wall is incompressible: where it shortens round and
along the cavity it thickens (Bovendeerd et al., J Biomech 1992), so wall thickening and the ejection fraction follow
from the shortening and are not set. The apex stays and the base descends.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .physiology import Patient, Rhythm

PHASES = 50
RINGS = 24
ANGLES = 24
Array = NDArray[np.float64]

RING_PLACES = (np.arange(RINGS) + 0.5) / RINGS
"""0 at the base, 1 at the apex."""
ANGLE_PLACES = 2 * np.pi * (np.arange(ANGLES) + 0.5) / ANGLES
"""0 anterior, then septal, inferior, lateral."""
AHA_RINGS = ((1 / 6, 6), (1 / 2, 6), (5 / 6, 4))
"""Where the middle of each ring of AHA segments lies, and how many segments it has."""
LONG_AXIS_SEGMENTS = (3, 9, 14, 16, 12, 6)
"""AHA segments, counted from 1, that the four-chamber plane cuts, from the septum's base round the apex."""

CONTOURED_WALL = 0.74
"""UK Biobank's contours leave trabeculae to the cavity: its walls are thinner than those of Kawel et al. 2012."""
SEPTUM_ANGLE = np.pi / 2
MM3_PER_ML = 1000.0


@dataclass(frozen=True, slots=True)
class Heart:
    """One beat in 50 phases from end-diastole on.

    Attributes:
        patient: whose it is.
        inner_mm: (50, 24, 24) radius of the cavity by phase, ring and angle.
        wall_mm: (50, 24, 24) thickness of the wall.
        length_mm: (50,) from the base to the cavity's apex.
        circumferential, radial: (50, 24, 24) strains of the middle of the wall, as fractions.
        longitudinal: (50, 6) strains of the long axis segments, as fractions.
        rv_ml, la_ml, ra_ml: (50,) volumes.
        ascending_mm2, descending_mm2: (50,) areas of the aorta.
    """

    patient: Patient
    inner_mm: Array
    wall_mm: Array
    length_mm: Array
    circumferential: Array
    radial: Array
    longitudinal: Array
    rv_ml: Array
    la_ml: Array
    ra_ml: Array
    ascending_mm2: Array
    descending_mm2: Array

    @property
    def lv_ml(self) -> Array:
        """(50,) volume of the left ventricle's cavity."""
        return enclosed_ml(self.inner_mm, self.length_mm)


def build_heart(patient: Patient) -> Heart:
    """Return the patient's heart over one beat; nothing is drawn, the patient says it all."""
    ventricle, others = patient.ventricle, patient.others
    active = contraction(patient.rhythm, ventricle.delay_ms, ventricle.relaxation)
    shortening = spread_segments(active * ventricle.shortening)
    regional = 0.5 + 0.5 * ventricle.shortening / max(float(np.mean(ventricle.shortening)), 0.02)
    along = active * ventricle.longitudinal * np.clip(regional, 0, 1.5)
    inner, length = _end_diastole(patient)
    wall = spread_segments(ventricle.thickness_mm) * CONTOURED_WALL
    shorter = 1 - along.mean(axis=1)
    thickening = 1 / ((1 - shortening) * shorter[:, None, None])
    walls = wall * thickening
    inners = np.maximum((inner + wall / 2) * (1 - shortening) - walls / 2, 0.05 * inner)
    whole = contraction(patient.rhythm, np.zeros(1), ventricle.relaxation)[:, 0]
    person = patient.person
    pulse = (person.systolic_mmhg - person.diastolic_mmhg) / 1000 * _pulse_wave()
    return Heart(
        patient=patient,
        inner_mm=inners,
        wall_mm=walls,
        length_mm=length * shorter,
        circumferential=-shortening,
        radial=thickening - 1,
        longitudinal=-along[:, np.array(LONG_AXIS_SEGMENTS) - 1],
        rv_ml=others.rv_edv_ml * (1 - others.rv_ef * whole),
        la_ml=others.la_max_ml * (1 - others.la_ef * (1 - whole)),
        ra_ml=others.ra_max_ml * (1 - others.ra_ef * (1 - whole)),
        ascending_mm2=others.ascending_aorta_min_mm2 * (1 + others.ascending_distensibility * pulse),
        descending_mm2=others.descending_aorta_min_mm2 * (1 + others.descending_distensibility * pulse),
    )


def enclosed_ml(radius_mm: Array, length_mm: Array) -> Array:
    """Return the volumes (…,) that radii (…, 24, 24) enclose over lengths (…,)."""
    area = (radius_mm**2).sum(axis=-1) * np.pi / ANGLES
    return np.asarray(area.mean(axis=-1) * length_mm / MM3_PER_ML)


def contraction(rhythm: Rhythm, delay_ms: Array, relaxation: float) -> Array:
    """Return how far each part has contracted, 0 to 1: (50, parts).

    The end of systole follows the rate (Weissler et al., Circulation 1968); then comes early filling, at the speed of
    relaxation, and the atrial kick, which fibrillating atria do not give.
    """
    cycle_s = 60 / rhythm.heart_rate_bpm
    systole_s = min(0.47 - 0.0017 * rhythm.heart_rate_bpm, 0.6 * cycle_s)
    time_s = np.arange(PHASES)[:, None] / PHASES * cycle_s - np.asarray(delay_ms) / 1000
    time_s = np.where(time_s < 0, time_s + cycle_s, time_s)
    rising = np.sin(0.5 * np.pi * np.clip(time_s / systole_s, 0, 1)) ** 2
    since = np.clip((time_s - systole_s) / (cycle_s - systole_s), 0, 1)
    kick = 0.0 if rhythm.atrial_fibrillation else float(np.clip(0.25 + 0.5 * (1 - relaxation), 0.1, 0.5))
    early = 1 - (1 - kick) * _ramp(since / (0.45 / np.clip(relaxation, 0.5, 1.2)))
    late = kick * _ramp((since - 0.75) / 0.22)
    return np.asarray(np.where(time_s <= systole_s, rising, np.clip(early - late, 0, 1)))


def spread_segments(by_segment: Array) -> Array:
    """Return values of the 16 AHA segments (…, 16) on the mesh (…, 24, 24), blended between the segments' middles."""
    spread = by_segment @ _blending().T
    return np.asarray(spread.reshape(*by_segment.shape[:-1], RINGS, ANGLES))


def average_segments(on_mesh: Array) -> Array:
    """Return the means (…, 16) of what lies on the mesh (…, 24, 24) over the AHA segments."""
    return np.asarray(on_mesh.reshape(*on_mesh.shape[:-2], -1) @ _membership().T)


@cache
def _blending() -> Array:
    """Return the weights of the 16 segments at each place of the mesh, (576, 16)."""
    rings = []
    start = 0
    for _, count in AHA_RINGS:
        apart = 2 * np.pi / count
        away = np.abs((ANGLE_PLACES[:, None] - apart * np.arange(count) + np.pi) % (2 * np.pi) - np.pi) / apart
        weights = np.zeros((ANGLES, 16))
        weights[:, start : start + count] = np.clip(1 - away, 0, None)
        rings.append(weights)
        start += count
    middles = [middle for middle, _ in AHA_RINGS]
    shares = np.stack([np.interp(RING_PLACES, middles, row) for row in np.eye(len(middles))], axis=1)
    return np.asarray(np.einsum("rk,kas->ras", shares, np.stack(rings)).reshape(-1, 16))


@cache
def _membership() -> Array:
    """Return the averaging weights of each segment over the mesh, (16, 576)."""
    nearest = _blending().argmax(axis=1)
    member = (nearest == np.arange(16)[:, None]) * 1.0
    return np.asarray(member / member.sum(axis=1, keepdims=True))


def _end_diastole(patient: Patient) -> tuple[Array, float]:
    """Return the cavity's radii (24, 24) and length (mm): half an ellipsoid of the patient's volume and sphericity."""
    ventricle = patient.ventricle
    length = (6 * ventricle.edv_ml * MM3_PER_ML / (np.pi * ventricle.sphericity**2)) ** (1 / 3)
    profile = np.sqrt(1 - RING_PLACES**2)[:, None] * np.ones(ANGLES)
    toward = np.clip(np.cos(ANGLE_PLACES - SEPTUM_ANGLE), 0, None) ** 2
    profile *= 1 - 0.35 * patient.others.septal_flattening * toward
    scale = np.sqrt(ventricle.edv_ml / enclosed_ml(profile, np.asarray(length)))
    return profile * scale, float(length)


def _ramp(share: Array) -> Array:
    """Return 0 before 0, 1 after 1, and a smooth step between."""
    clipped = np.clip(share, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped))


def _pulse_wave() -> Array:
    """Return (50,) the pressure in the aorta above its diastolic, 0 to 1."""
    time = np.arange(PHASES) / PHASES
    return np.asarray(np.where(time < 0.25, _ramp(time / 0.25), np.exp(-(time - 0.25) / 0.25) - np.exp(-3) * time))
