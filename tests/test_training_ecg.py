"""Simulated ECGs are repeatable, obey Einthoven, pass the gate, and show what a patient has where physicians look."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import find_peaks

from inference.intake import take_in
from schemas.codec import decode_ecg, encode_ecg
from schemas.ecg_record import LEADS
from schemas.messages import Quality
from training.simulation.ecg import generate_ecgs, simulate_ecg
from training.simulation.patient import Conditions
from training.simulation.physiology import draw_patient

few = settings(max_examples=25, deadline=None)
seeds = given(st.integers(0, 2**32), st.integers(0, 10**6))

HEALTHY = Conditions(
    coronary=0,
    ischaemia=0,
    infarct_artery=None,
    infarct_size=0,
    transmurality=0,
    hypertension=0,
    dilated=0,
    hypertrophic=0,
    restrictive=0,
    pericarditis=0,
    effusion=0,
    pulmonary_hypertension=0,
    congestion=0,
)


def patients(count=14, *, conditions=None, electrics=None, others=None, rhythm=None, ventricle=None):
    """Return patients who are healthy but for what is given, and steadily recorded."""
    for number in range(count):
        patient = draw_patient(17, number)
        quiet = {"left_bundle_block": 0, "right_bundle_block": 0, "left_anterior_hemiblock": 0, "noise": 0.2}
        steady = {"atrial_fibrillation": False, "ventricular_ectopy": 0, "atrial_ectopy": 0, "heart_rate_bpm": 66}
        yield replace(
            patient,
            conditions=replace(HEALTHY, **(conditions or {})),
            electrics=replace(
                patient.electrics,
                **{**quiet, "early_repolarisation": 0, "qrs_ms": 90, "pr_ms": 160, "qtc_ms": 415, **(electrics or {})},
            ),
            rhythm=replace(patient.rhythm, **{**steady, **(rhythm or {})}),
            others=replace(patient.others, rv_wall_mm=3.2, **(others or {})),
            ventricle=replace(
                patient.ventricle, **{"thickness_mm": np.full(16, 7.3), "edv_ml": 145, **(ventricle or {})}
            ),
        )


def beat(patient):
    """Return (12, 400) mV of the middle beat, from 0.3 s before its steepest point, against the PR segment's end."""
    lead = simulate_ecg(patient) * 0.005
    places = complexes(lead)
    start = places[len(places) // 2] - 150
    part = lead[:, start : start + 400]
    return part - part[:, 98:108].mean(axis=1, keepdims=True)


def complexes(leads):
    """Return the places of the QRS complexes: where all the leads together change most steeply."""
    steepness = np.sqrt(np.square(leads[:, 4:] - leads[:, :-4]).sum(axis=0))
    smooth = np.convolve(steepness, np.ones(30) / 30, mode="same")
    places = find_peaks(smooth, height=0.45 * smooth.max(), distance=150)[0]
    return places[(places > 150) & (places < leads.shape[1] - 250)]


def r_wave(beats, name):
    return np.median([one[LEADS.index(name), 110:215].max() for one in beats])


def s_wave(beats, name):
    return np.median([one[LEADS.index(name), 110:215].min() for one in beats])


def at(beats, name, first_ms, last_ms):
    """Return the median over patients of the mean level so long after the middle of the QRS complex."""
    window = slice(150 + first_ms // 2, 150 + last_ms // 2)
    return np.median([one[LEADS.index(name), window].mean() for one in beats])


@pytest.fixture(scope="module")
def healthy():
    return [beat(patient) for patient in patients()]


def beats_of(**changes):
    return [beat(patient) for patient in patients(**changes)]


def test_an_ecg_depends_on_the_seed_and_its_number_alone():
    first, again = list(generate_ecgs(4, 3)), list(generate_ecgs(7, 3))
    assert first == again[:4]
    np.testing.assert_array_equal(
        simulate_ecg(draw_patient(3, 2)), np.frombuffer(first[2].samples, "<i2").reshape(12, -1)
    )
    assert len({ecg.samples for ecg in [*again, *generate_ecgs(7, 4)]}) == 14


def test_ids_are_distinct_and_say_that_the_patient_is_none():
    ecgs = list(generate_ecgs(4, 7))
    assert [ecg.record_id for ecg in ecgs] == [f"synthetic-7-{number}" for number in range(4)]
    assert len({ecg.patient_id for ecg in ecgs}) == 4
    assert all(ecg.patient_id.startswith("synthetic") for ecg in ecgs)


def test_without_a_number_there_is_no_end():
    assert len(list(itertools.islice(generate_ecgs(None, 1), 30))) == 30


def test_the_wire_carries_it_unchanged():
    (ecg,) = generate_ecgs(1, 1)
    assert decode_ecg(encode_ecg(ecg)) == ecg


def test_nearly_every_ecg_passes_the_gate():
    outcomes = take_in(list(generate_ecgs(200, 12)), 1).outcomes
    assert sum(isinstance(outcome, Quality) for outcome in outcomes) >= 198


@few
@seeds
def test_the_limb_leads_obey_einthoven_and_goldberger_to_the_rounding(seed, number):
    steps = simulate_ecg(draw_patient(seed, number)).astype(int)
    lead = dict(zip(LEADS, steps, strict=True))
    assert steps.shape == (12, 5000)
    assert np.abs(lead["I"] + lead["III"] - lead["II"]).max() <= 1.5
    assert np.abs(lead["aVR"] + lead["aVL"] + lead["aVF"]).max() <= 1.5


def test_r_grows_and_s_shrinks_across_the_healthy_chest(healthy):
    assert r_wave(healthy, "V1") < r_wave(healthy, "V3") < r_wave(healthy, "V5")
    assert s_wave(healthy, "V2") < s_wave(healthy, "V4") < s_wave(healthy, "V6")


def test_a_thick_wall_gives_high_voltage_and_strain(healthy):
    thick = beats_of(ventricle={"thickness_mm": np.full(16, 13.0)})
    assert r_wave(thick, "V5") - s_wave(thick, "V1") > 1.3 * (r_wave(healthy, "V5") - s_wave(healthy, "V1"))
    assert at(thick, "V6", 200, 260) < 0 < at(healthy, "V6", 200, 260)


@pytest.mark.parametrize(("artery", "lost", "kept"), [("LAD", "V3", "II"), ("RCA", "aVF", "V3"), ("LCX", "V6", "II")])
def test_an_infarct_takes_the_r_wave_of_its_territory_alone(healthy, artery, lost, kept):
    infarcted = beats_of(
        conditions={"coronary": 1, "infarct_artery": artery, "infarct_size": 0.9, "transmurality": 0.9}
    )
    assert r_wave(infarcted, lost) < 0.5 * r_wave(healthy, lost)
    assert r_wave(infarcted, kept) > 0.6 * r_wave(healthy, kept)


def test_left_bundle_branch_block_points_left_and_the_t_wave_against_it(healthy):
    blocked = beats_of(electrics={"left_bundle_block": 1.0, "qrs_ms": 155})
    assert s_wave(blocked, "V2") < 1.2 * s_wave(healthy, "V2")
    first_r = [np.median([one[LEADS.index("V2"), 90:150].max() for one in beats]) for beats in (healthy, blocked)]
    assert first_r[1] < 0.7 * first_r[0]
    assert at(blocked, "V2", 220, 280) > 0 > at(blocked, "V6", 220, 280)


def test_right_bundle_branch_block_ends_in_front_and_to_the_right(healthy):
    blocked = beats_of(electrics={"right_bundle_block": 1.0, "qrs_ms": 140})
    assert r_wave(blocked, "V1") > 3 * r_wave(healthy, "V1")
    assert (
        np.median(
            [one[LEADS.index("V1"), 110:215].argmax() - one[LEADS.index("V5"), 110:215].argmax() for one in blocked]
        )
        > 10
    )
    assert s_wave(blocked, "V6") < s_wave(healthy, "V6") - 0.1


def test_the_anterior_hemiblock_turns_the_axis_upwards(healthy):
    blocked = beats_of(electrics={"left_anterior_hemiblock": 1.0})
    net = [r_wave(beats, "aVF") + s_wave(beats, "aVF") for beats in (healthy, blocked)]
    assert net[0] > 0 > net[1]


def test_pulmonary_hypertension_turns_the_forces_to_the_right(healthy):
    loaded = beats_of(conditions={"pulmonary_hypertension": 0.9})
    thick = [
        beat(replace(p, others=replace(p.others, rv_wall_mm=7.5)))
        for p in patients(conditions={"pulmonary_hypertension": 0.9})
    ]
    assert r_wave(thick, "V1") > 1.5 * r_wave(healthy, "V1")
    assert s_wave(thick, "V6") < s_wave(healthy, "V6")
    assert at(loaded, "V2", 200, 260) < at(healthy, "V2", 200, 260) - 0.1


def test_pericarditis_lifts_st_in_all_leads_but_avr(healthy):
    inflamed = beats_of(conditions={"pericarditis": 1.0})
    for name in ("I", "II", "aVF", "V3", "V5"):
        assert at(inflamed, name, 90, 110) > 0.03 + at(healthy, name, 90, 110), name
    assert at(inflamed, "aVR", 90, 110) < -0.05 + at(healthy, "aVR", 90, 110)


def test_ischaemia_depresses_st_at_the_apex(healthy):
    starved = beats_of(conditions={"coronary": 1, "ischaemia": 1.0})
    assert at(starved, "V5", 90, 110) < at(healthy, "V5", 90, 110) - 0.05


def test_fluid_around_the_heart_lowers_the_voltage(healthy):
    drowned = beats_of(conditions={"effusion": 1.0})
    assert r_wave(drowned, "V5") < 0.7 * r_wave(healthy, "V5")


def test_qt_follows_the_patient_and_the_rate():
    def peak(**changes):
        upright = [one[10, 190:] for one in beats_of(**changes) if one[10, 200:300].max() > 0.15]
        return np.median([wave[:250].argmax() for wave in upright])

    usual = peak()
    assert peak(electrics={"qtc_ms": 465}) > usual + 12
    assert peak(rhythm={"heart_rate_bpm": 55}) > usual + 5
    assert peak(rhythm={"heart_rate_bpm": 85}) < usual - 5


def test_atrial_fibrillation_is_irregular_and_has_no_p_wave(healthy):
    fibrillating = list(patients(rhythm={"atrial_fibrillation": True}))
    spread = [
        np.std(gaps) / np.mean(gaps) for gaps in (np.diff(complexes(simulate_ecg(p) * 0.005)) for p in fibrillating)
    ]
    assert np.median(spread) > 0.12
    assert abs(np.mean([beat(patient)[1, 68:98] for patient in fibrillating])) < 0.03
    assert np.mean([one[1, 68:98] for one in healthy]) > 0.04
