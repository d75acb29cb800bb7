"""The simulated heart, what is measured of it, and its cines."""

import dataclasses

import numpy as np
import pytest

from inference.phenotypes import MEASUREMENTS
from training.simulation.heart import build_heart
from training.simulation.heart_measurements import measure_chambers, measure_heart
from training.simulation.patient import TERRITORIES
from training.simulation.physiology import draw_patient

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
    np.testing.assert_allclose(column(measured, "LVEDV"), wanted, rtol=1e-6)


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


def test_the_wall_keeps_its_volume_but_for_the_blood_squeezed_out():
    heart = build_heart(draw_patient(1, 1))
    wall = np.sum((heart.epicardium_mm**2 - heart.endocardium_mm**2) * heart.step_mm, axis=(1, 2))
    assert 0.88 < wall.min() / wall[0] < 0.97


def test_what_one_ventricle_ejects_the_other_does_too(measured):
    left, right = column(measured, "LVSV"), column(measured, "RVSV")
    assert np.std(right / left) < 0.15
    assert abs(np.median(right / left) - 1) < 0.05


def test_a_fibrillating_atrium_does_not_kick():
    patient = draw_patient(1, 1)
    volume = {}
    for fibrillating in (False, True):
        rhythm = dataclasses.replace(patient.rhythm, atrial_fibrillation=fibrillating)
        volume[fibrillating] = measure_chambers(build_heart(dataclasses.replace(patient, rhythm=rhythm)))["lv"]
    late = {fibrillating: 1 - lv[42] / lv[0] for fibrillating, lv in volume.items()}
    assert late[False] > late[True] + 0.05
