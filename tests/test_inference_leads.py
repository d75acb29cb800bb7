"""Leads are chosen by name, and the limb leads that lack follow from I and II."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.lead_names import LEAD_BY_NAME, codes, normal_form, own_names
from inference.leads import arrange_leads, standard_name
from schemas.ecg_record import LEADS
from schemas.errors import UnusableSignal

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def numbered(names):
    """Return (1, leads, 3) in which each lead holds its place among the standard ones."""
    return np.stack([np.full(3, LEADS.index(name), np.float32) for name in names])[None]


@given(st.permutations(LEADS))
def test_any_order_is_put_into_the_standard_one(names):
    arranged, derived = arrange_leads(numbered(names), names)
    assert arranged[0, :, 0].tolist() == list(range(12))
    assert derived == ()


COMMON = [("avr", "aVR"), (" AVL ", "aVL"), ("MDC_ECG_LEAD_V1", "V1"), ("Lead II", "II"), ("v6", "V6"), ("aV-F", "aVF")]
IN_FILES = [
    *[("ECG_I", "I"), ("ECG I", "I"), ("EKG II", "II"), ("LEAD_III", "III"), ("LeadV4", "V4"), ("ecg.v2", "V2")],
    *[("MDC_ECG_LEAD_AVR", "aVR"), ("MDC_ECG_ELEC_POTL_II", "II"), ("aV L", "aVL"), ("V 5", "V5"), ("V_3", "V3")],
]
OF_COUNTRIES = [("DI", "I"), ("dii", "II"), ("D_III", "III"), ("D1", "I"), ("D2", "II"), ("D3", "III"), ("ECG DI", "I")]
OF_THE_CHEST = [("C1", "V1"), ("c6", "V6"), ("Lead C3", "V3")]
WITH_A_UNIT = [("I (mV)", "I"), ("V1[uV]", "V1"), ("aVF (µV)", "aVF"), ("II_mV", "II"), ("V2 (V)", "V2")]
AS_CODES = [("2:1", "I"), ("2:61", "III"), ("2:64", "aVF"), ("131073", "I"), ("131329", "I"), ("131389", "III")]
IN_WORDS = [("Lead I (Einthoven)", "I"), ("aVR, augmented voltage, right", "aVR"), ("5.6.3-9-8", "V6")]
IN_UNICODE = [("ＡＶＲ", "aVR"), ("ｖ１", "V1"), ("Ⅱ", "II"), ("V₆", "V6"), ("I\u00a0", "I"), ("V1\0\0", "V1")]
ALL_WRITTEN = [*COMMON, *IN_FILES, *OF_COUNTRIES, *OF_THE_CHEST, *WITH_A_UNIT, *AS_CODES, *IN_WORDS, *IN_UNICODE]


@pytest.mark.parametrize(("written", "name"), ALL_WRITTEN)
def test_a_lead_is_known_by_its_meaning_however_it_is_spelled(written, name):
    assert standard_name(written) == name


OTHER_LEADS = ["V7", "V8", "V9", "V1R", "V3R", "V4R", "rV4", "X", "Y", "Z", "CM5", "MCL1", "MLII", "NEHB D"]
UPSIDE_DOWN = ["-aVR", "-V1", "−aVR", "Lead -I", "I-II", "II-I", "I_II", "I II", "I.I", "V1-V2", "MDC_ECG_LEAD_AVRNEG"]
AMBIGUOUS = [
    "",
    "1",
    "2",
    "ECG1",
    "EKG1",
    "ECG 2",
    "L1",
    "L2",
    "VR",
    "VL",
    "VF",
    "R",
    "L",
    "F",
    "V",
    "C",
    "D",
    "II_2",
    "C7",
]
LOOKALIKES = ["І", "Ι", "аVR", "V１２", "ν1", "С1", "Ｉ-ＩＩ"]
NOT_LEADS = [
    "RESP",
    "IV",
    "Lead",
    "ECG",
    "I (bpm)",
    "I (mmHg)",
    "131074000",
    "2:9",
    "x" * 10_000,
    "Pleth",
    "EEG C3-A2",
    "C3-P3",
]


@pytest.mark.parametrize("name", [*OTHER_LEADS, *UPSIDE_DOWN, *AMBIGUOUS, *LOOKALIKES, *NOT_LEADS])
def test_what_is_another_lead_or_may_mean_several_is_none_of_the_twelve(name):
    assert standard_name(name) is None


def test_no_name_in_the_table_stands_for_two_leads():
    pairs = {(normal_form(name), lead) for lead in LEADS for name in (*own_names(lead), *codes(lead))}
    assert len({name for name, _ in pairs}) == len(pairs)
    assert all(standard_name(name) == lead for name, lead in pairs)


@given(st.text(max_size=12))
def test_only_names_of_the_table_are_leads(name):
    assert (standard_name(name) is not None) == (normal_form(name) in LEAD_BY_NAME)


def test_eight_leads_give_twelve_by_einthoven_and_goldberger():
    rng = np.random.default_rng(0)
    signals = rng.standard_normal((2, 8, 50)).astype(np.float32)
    arranged, derived = arrange_leads(signals, EIGHT)
    i, ii, iii, avr, avl, avf = arranged[:, :6].swapaxes(0, 1)
    assert derived == ("III", "aVR", "aVL", "aVF")
    np.testing.assert_allclose(i + iii, ii, atol=1e-6)
    np.testing.assert_allclose(avr + avl + avf, 0, atol=1e-6)
    np.testing.assert_allclose(avf, (ii + iii) / 2, atol=1e-6)


def test_a_lead_that_cannot_be_derived_is_named():
    with pytest.raises(UnusableSignal, match="II, V3") as refusal:
        arrange_leads(numbered(["I", "V1", "V2", "V4", "V5", "V6"]), ["I", "V1", "V2", "V4", "V5", "V6"])
    assert refusal.value.wire_code == "missing_lead"


def test_a_lead_that_comes_twice_is_refused():
    with pytest.raises(UnusableSignal) as refusal:
        arrange_leads(numbered([*LEADS, "V1"]), [*LEADS, "v1"])
    assert (refusal.value.wire_code, refusal.value.numbers) == ("duplicate_lead", {"leads": "V1"})


def test_two_spellings_of_one_lead_are_not_resolved_into_a_third():
    names = ["I", "DI", "III", *LEADS[3:]]
    with pytest.raises(UnusableSignal, match="lead I comes twice: as 'I', 'DI'") as refusal:
        arrange_leads(numbered(LEADS), names)
    assert refusal.value.wire_code == "duplicate_lead"


@pytest.mark.parametrize("wrong", ["-I", "I-II", "L1", "1", "І"])
def test_an_augmented_lead_is_never_derived_from_a_lead_that_only_looks_like_i(wrong):
    with pytest.raises(UnusableSignal) as refusal:
        arrange_leads(numbered(EIGHT), [wrong, *EIGHT[1:]])
    assert refusal.value.numbers == {"leads": "I", "not_recognised": ascii(wrong)}
    assert ascii(wrong) in refusal.value.detail


def test_names_that_are_not_recognised_are_listed_within_bounds():
    with pytest.raises(UnusableSignal) as refusal:
        arrange_leads(np.zeros((1, 40, 3), np.float32), [f"channel {number} " + "x" * 500 for number in range(40)])
    assert "'channel 0 x" in refusal.value.detail
    assert "and 28 more" in refusal.value.detail
    assert len(refusal.value.detail) < 700
