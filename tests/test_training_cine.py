"""The cines of a simulated heart show what is measured of it."""

import dataclasses

import numpy as np
import pytest

from training.simulation import four_chamber
from training.simulation.cine_picture import PIXEL_MM, WHOLE
from training.simulation.four_chamber import draw_four_chamber
from training.simulation.heart import build_heart
from training.simulation.heart_measurements import measure_chambers
from training.simulation.physiology import draw_patient
from training.simulation.short_axis import draw_short_axis


@pytest.fixture(scope="module")
def healthy():
    return next(patient for patient in (draw_patient(2, n) for n in range(50)) if not any(patient.diseases.values()))


def bright_mm2(cine):
    """The bright area in the middle of each frame: blood."""
    middle = cine[:, 24:80, 24:72]
    return (middle > 100).sum(axis=(1, 2)) * PIXEL_MM**2


@pytest.mark.parametrize("draw", [draw_four_chamber, draw_short_axis])
def test_a_cine_is_the_same_twice_and_another_scan_differs(draw, healthy):
    heart = build_heart(healthy)
    cine = draw(heart)
    assert (cine.shape, cine.dtype) == ((50, 96, 96), np.uint8)
    assert cine.tobytes() == draw(heart).tobytes()
    assert cine.tobytes() != draw(build_heart(dataclasses.replace(healthy, scan_seed=(9, 9, 9)))).tobytes()


def test_where_the_heart_is_not_nothing_is_left_out(healthy, monkeypatch):
    """Drawing a part of the picture alone saves a quarter of the time, and not a grey level."""
    fluid = dataclasses.replace(healthy, conditions=dataclasses.replace(healthy.conditions, effusion=1.0))
    hearts = [build_heart(patient) for patient in (fluid, *(draw_patient(3, number) for number in range(15)))]
    cines = [draw_four_chamber(heart) for heart in hearts]
    monkeypatch.setattr(four_chamber, "_around_heart", lambda *_: WHOLE)
    for heart, cine in zip(hearts, cines, strict=True):
        np.testing.assert_array_equal(draw_four_chamber(heart), cine)


def test_the_heart_moves_and_the_chest_does_not(healthy):
    heart = build_heart(healthy)
    cine = draw_four_chamber(heart).astype(float)
    changed = np.abs(cine[measure_chambers(heart)["lv"].argmin()] - cine[0])
    assert changed[30:80, 30:70].mean() > 2 * changed[:12].mean()


def test_the_short_axis_shows_the_blood_leave(healthy):
    heart = build_heart(healthy)
    shown, held = bright_mm2(draw_short_axis(heart)), sum(measure_chambers(heart)[side] for side in ("lv", "rv"))
    assert np.corrcoef(shown, held)[0, 1] > 0.95


def test_larger_atria_and_fluid_are_seen(healthy):
    plain = draw_four_chamber(build_heart(healthy)).mean()
    atria = dataclasses.replace(healthy.others, la_max_ml=2 * healthy.others.la_max_ml)
    fluid = dataclasses.replace(healthy.conditions, effusion=0.8)
    assert draw_four_chamber(build_heart(dataclasses.replace(healthy, others=atria))).mean() > plain + 1
    assert draw_four_chamber(build_heart(dataclasses.replace(healthy, conditions=fluid))).mean() > plain + 3
