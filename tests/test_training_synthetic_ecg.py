"""Generated ECGs are repeatable, obey Einthoven, pass the gate, and look like ECGs."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import find_peaks

from inference.intake import take_in
from schemas.codec import decode_ecg, encode_ecg
from schemas.ecg_record import LEADS
from schemas.messages import Quality
from training.cohort.synthetic_ecg import generate_ecgs, synthesise_ecg

few = settings(max_examples=25, deadline=None)
seeds = given(st.integers(0, 2**32), st.integers(0, 10**6))


def millivolts(ecg):
    steps = np.frombuffer(ecg.samples, "<i2").reshape(len(ecg.leads), -1)
    return dict(zip(ecg.leads, steps * ecg.microvolts_per_step / 1e3, strict=True))


def beats(leads):
    """Return the places of the QRS complexes: where all the leads together change most steeply."""
    steepness = np.sqrt(np.square(leads[:, 8:] - leads[:, :-8]).sum(axis=0))
    smooth = np.convolve(steepness, np.ones(40) / 40, mode="same")
    return find_peaks(smooth, height=0.4 * smooth.max(), distance=200)[0]


def test_an_ecg_depends_on_the_seed_and_its_number_alone():
    first, again = list(generate_ecgs(5, 3)), list(generate_ecgs(9, 3))
    assert first == again[:5]
    assert first[4] == synthesise_ecg(3, 4)
    assert len({ecg.samples for ecg in [*again, *generate_ecgs(9, 4)]}) == 18


def test_ids_are_distinct_and_say_that_the_patient_is_none():
    ecgs = list(generate_ecgs(4, 7))
    assert [ecg.record_id for ecg in ecgs] == [f"synthetic-7-{number}" for number in range(4)]
    assert len({ecg.patient_id for ecg in ecgs}) == 4
    assert all(ecg.patient_id.startswith("synthetic") for ecg in ecgs)


def test_without_a_number_there_is_no_end():
    assert len(list(itertools.islice(generate_ecgs(None, 1), 30))) == 30


@few
@seeds
def test_every_ecg_passes_the_gate_without_doubts(seed, number):
    (quality,) = take_in([synthesise_ecg(seed, number)], 1).outcomes
    assert isinstance(quality, Quality)
    assert quality.warnings == ()


@few
@seeds
def test_the_limb_leads_obey_einthoven_and_goldberger_to_the_rounding(seed, number):
    lead = millivolts(synthesise_ecg(seed, number))
    assert tuple(lead) == LEADS
    np.testing.assert_allclose(lead["I"] + lead["III"], lead["II"], atol=0.0076)
    np.testing.assert_allclose(lead["aVR"] + lead["aVL"] + lead["aVF"], 0, atol=0.0076)


@few
@seeds
def test_the_heart_beats_like_one_at_rest(seed, number):
    places = beats(np.stack(list(millivolts(synthesise_ecg(seed, number)).values())))
    intervals_s = np.diff(places) / 500
    assert 7 <= len(places) <= 18
    assert 0.5 < intervals_s.min() <= intervals_s.max() < 1.4
    assert np.std(intervals_s) / np.mean(intervals_s) < 0.1


def test_r_grows_and_s_shrinks_from_v1_to_v5():
    ecgs = [millivolts(ecg) for ecg in generate_ecgs(20, 5)]
    upright = [[ecg[name].max() > -ecg[name].min() for name in ("V1", "V5")] for ecg in ecgs]
    assert np.mean(upright, axis=0).tolist() == [0, 1]


def test_the_wire_carries_it_unchanged():
    ecg = synthesise_ecg(1, 1)
    assert decode_ecg(encode_ecg(ecg)) == ecg
