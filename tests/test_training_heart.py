"""The simulated heart, what is measured of it, and its cines."""

import dataclasses

import numpy as np
import pytest

from inference.phenotypes import MEASUREMENTS
from training.cohort.cine import draw_four_chamber, draw_short_axis
from training.cohort.heart import average_segments, build_heart, contraction, spread_segments
from training.cohort.measures import measure_heart
from training.cohort.physiology import TERRITORIES, draw_patient

NAMES = [measurement.name for measurement in MEASUREMENTS]


@pytest.fixture(scope="module")
def patients():
    return [draw_patient(11, number) for number in range(700)]


@pytest.fixture(scope="module")
def measured(patients):
    return np.array([measure_heart(build_heart(patient)) for patient in patients])


def column(measured, name):
    return measured[:, NAMES.index(name)]


def test_the_same_seed_and_number_give_the_same_patient_and_others_another():
    assert (
        measure_heart(build_heart(draw_patient(5, 7))).tobytes()
        == measure_heart(build_heart(draw_patient(5, 7))).tobytes()
    )
    assert draw_patient(5, 7).person != draw_patient(5, 8).person != draw_patient(6, 8).person


def test_measurements_are_finite_and_agree_with_each_other(measured):
    assert measured.shape == (700, 82)
    assert np.isfinite(measured).all()
    edv, esv, stroke, fraction = measured[:, :4].T
    np.testing.assert_allclose(stroke, edv - esv)
    np.testing.assert_allclose(fraction, 100 * stroke / edv)
    for name in ("LV_circumferential_strain_global", "LV_longitudinal_strain_global"):
        assert (column(measured, name) < 0).all()
    assert (column(measured, "LV_radial_strain_global") > 0).all()


def test_the_cavity_has_the_volume_that_the_patient_has(patients, measured):
    wanted = np.array([patient.ventricle.edv_ml for patient in patients])
    np.testing.assert_allclose(column(measured, "LVEDV"), wanted, rtol=0.05)  # a late wall may still bulge at first


@pytest.mark.parametrize(
    ("name", "men", "women", "within"),
    [  # means of UK Biobank's healthy, Petersen et al., JCMR 2017; within so many of their standard deviations
        ("LVEDV", (166, 32), (124, 21), 0.5),
        ("LVEF", (58, 5), (61, 5), 0.8),
        ("LVM", (103, 21), (70, 13), 0.8),
        ("RVEDV", (182, 36), (130, 24), 0.5),
        ("LA_max_volume", (71, 20), (62, 17), 0.7),
        ("RA_max_volume", (93, 27), (69, 17), 0.7),
    ],
)
def test_the_healthy_lie_where_uk_biobank_does(patients, measured, name, men, women, within):
    healthy = np.array([not any(patient.diseases.values()) for patient in patients])
    female = np.array([patient.person.female for patient in patients])
    for chosen, (mean, deviation) in ((healthy & ~female, men), (healthy & female, women)):
        assert abs(column(measured[chosen], name).mean() - mean) < within * deviation


def test_dilated_hearts_pump_weakly_and_hypertrophic_ones_have_a_thick_septum(patients, measured):
    kinds = np.array([patient.subtype or "none" for patient in patients])
    assert np.median(column(measured[kinds == "dilated"], "LVEF")) < 45
    thick = column(measured, "LV_wall_thickness_AHA_9")
    assert np.median(thick[kinds == "hypertrophic"]) > 1.4 * np.median(thick[kinds == "none"])


def test_an_infarct_weakens_its_own_territory(patients, measured):
    first = NAMES.index("LV_circumferential_strain_AHA_1")
    weakened = []
    for patient, row in zip(patients, measured, strict=True):
        if (
            patient.conditions.infarct_artery
            and patient.conditions.infarct_size * patient.conditions.transmurality > 0.4
        ):
            inside = np.isin(np.arange(1, 17), TERRITORIES[patient.conditions.infarct_artery])
            strain = row[first : first + 16]
            weakened.append(strain[inside].mean() - strain[~inside].mean())
    assert len(weakened) > 5
    assert min(weakened) > 0


def test_segments_come_back_from_the_mesh():
    values = np.arange(16.0)
    np.testing.assert_allclose(average_segments(spread_segments(np.ones(16))), 1)
    assert np.corrcoef(average_segments(spread_segments(values)), values)[0, 1] > 0.98


def test_a_fibrillating_atrium_does_not_kick():
    rhythm = draw_patient(1, 1).rhythm
    regular = contraction(dataclasses.replace(rhythm, atrial_fibrillation=False), np.zeros(1), 0.8)[40, 0]
    fibrillating = contraction(dataclasses.replace(rhythm, atrial_fibrillation=True), np.zeros(1), 0.8)[40, 0]
    assert regular > fibrillating + 0.1


@pytest.mark.parametrize("draw", [draw_four_chamber, draw_short_axis])
def test_a_cine_is_the_same_twice_and_its_blood_shrinks_in_systole(draw):
    patient = next(p for p in (draw_patient(2, n) for n in range(50)) if not any(p.diseases.values()))
    heart = build_heart(patient)
    cine = draw(heart)
    assert (cine.shape, cine.dtype) == ((50, 96, 96), np.uint8)
    assert cine.tobytes() == draw(heart).tobytes()
    systole = int(heart.lv_ml.argmin())
    changed = np.abs(cine[systole].astype(int) - cine[0]).astype(float)
    assert changed[30:70, 30:70].mean() > 2 * changed[:12].mean()  # the heart moves, the chest wall does not
