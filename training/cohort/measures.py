"""What a reader of the CMR would measure of a simulated heart: UK Biobank fields 24100-24181.

Definitions: Bai et al., Nature Medicine 2020. Wall thickness is that of end-diastole; strains are the largest of the
beat; distensibility is the relative change of the area over the pulse pressure.
"""

from __future__ import annotations

import numpy as np

from .heart import Array, Heart, average_segments, enclosed_ml

MUSCLE_G_PER_ML = 1.05


def measure_heart(heart: Heart) -> Array:
    """Return the 82 measurements in the order and units of `inference.phenotypes.MEASUREMENTS`."""
    strains = (average_segments(heart.circumferential), average_segments(heart.radial))
    return np.concatenate(
        [
            _left_ventricle(heart),
            _chamber(heart.rv_ml),
            _chamber(heart.la_ml),
            _chamber(heart.ra_ml),
            _aorta(heart, heart.ascending_mm2),
            _aorta(heart, heart.descending_mm2),
            _with_mean(average_segments(heart.wall_mm[0])),
            _with_mean(100 * strains[0].min(axis=0), 100 * strains[0].mean(axis=1).min()),
            _with_mean(100 * strains[1].max(axis=0), 100 * strains[1].mean(axis=1).max()),
            _with_mean(100 * heart.longitudinal.min(axis=0), 100 * heart.longitudinal.mean(axis=1).min()),
        ]
    )


def _left_ventricle(heart: Heart) -> Array:
    largest, smallest, stroke, fraction = _chamber(heart.lv_ml)
    output_l_min = stroke * heart.patient.rhythm.heart_rate_bpm / 1000
    muscle_ml = enclosed_ml(heart.inner_mm[0] + heart.wall_mm[0], heart.length_mm[0]) - heart.lv_ml[0]
    return np.array([largest, smallest, stroke, fraction, output_l_min, MUSCLE_G_PER_ML * muscle_ml])


def _chamber(volume_ml: Array) -> Array:
    """Return the largest and the smallest volume, their difference (mL), and that as a share of the largest (%)."""
    largest, smallest = volume_ml.max(), volume_ml.min()
    return np.array([largest, smallest, largest - smallest, 100 * (largest - smallest) / largest])


def _aorta(heart: Heart, area_mm2: Array) -> Array:
    """Return the largest and the smallest area (mm²), and the distensibility (10⁻³ mmHg⁻¹)."""
    person = heart.patient.person
    largest, smallest = area_mm2.max(), area_mm2.min()
    pulse_mmhg = person.systolic_mmhg - person.diastolic_mmhg
    return np.array([largest, smallest, 1000 * (largest - smallest) / smallest / pulse_mmhg])


def _with_mean(by_segment: Array, whole: float | None = None) -> Array:
    """Return the segments' values and that of the whole, which is their mean where nothing else is given."""
    return np.append(by_segment, by_segment.mean() if whole is None else whole)
