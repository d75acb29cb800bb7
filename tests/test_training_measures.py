"""Measurements are those of the geometry: hearts whose figures are known in closed form."""

import dataclasses

import numpy as np
import pytest

from inference.phenotypes import MEASUREMENTS
from training.simulation.heart import ANGLE, LEVELS, PHASES, SECTORS, build_heart
from training.simulation.heart_measurements import SEGMENTS, measure_heart
from training.simulation.physiology import draw_patient

NAMES = [measurement.name for measurement in MEASUREMENTS]


@pytest.fixture(scope="module")
def tube():
    """A left ventricle that is a tube, 80 mm long, which narrows from 25 to 20 mm, its wall thickening from 8 to 10."""
    narrowed = np.sin(np.arange(PHASES) / PHASES * np.pi)[:, None, None]
    full = np.ones((PHASES, LEVELS, SECTORS))
    inner, wall = full * (25 - 5 * narrowed), full * (8 + 2 * narrowed)
    step = full * 80 / LEVELS
    heart = build_heart(draw_patient(1, 1))
    return dataclasses.replace(
        heart,
        endocardium_mm=inner,
        epicardium_mm=inner + wall,
        rv_mm=inner + wall + 10,
        step_mm=step,
        height_mm=np.cumsum(step, axis=1),
        apex_mm=np.zeros(PHASES),
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LVEDV", np.pi * 25**2 * 80 / 1e3),
        ("LVESV", np.pi * 20**2 * 80 / 1e3),
        ("LVEF", 36.0),
        ("LVM", 1.05 * np.pi * (33**2 - 25**2) * 80 / 1e3),
        ("RVEDV", np.pi * (43**2 - 33**2) * 80 / 1e3),
        ("LV_wall_thickness_AHA_14", 8.0),
        ("LV_wall_thickness_global", 8.0),
        ("LV_radial_strain_global", 25.0),
        ("LV_circumferential_strain_AHA_6", -100 * (5 / 25 + 3 / 33) / 2),
        ("LV_longitudinal_strain_global", 0.0),
    ],
)
def test_a_tube_measures_what_a_tube_does(tube, name, expected):
    assert measure_heart(tube)[NAMES.index(name)] == pytest.approx(expected, abs=1e-6)


def test_each_segment_is_measured_where_it_lies(tube):
    inferior = np.degrees(ANGLE).round() // 60 == 4  # basal and mid: segments 4 and 10
    thick = tube.epicardium_mm.copy()
    thick[:, 11:, inferior] += 3
    measured = measure_heart(dataclasses.replace(tube, epicardium_mm=thick))
    first = NAMES.index("LV_wall_thickness_AHA_1")
    expected = np.where(np.arange(1, 17) == 4, 11.0, 8.0)
    np.testing.assert_allclose(measured[first : first + 16], expected)
    np.testing.assert_allclose(SEGMENTS.sum(axis=1), 1)
