"""Leads are chosen by name, and the limb leads that lack follow from I and II."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    ("written", "name"),
    [("avr", "aVR"), (" AVL ", "aVL"), ("MDC_ECG_LEAD_V1", "V1"), ("Lead II", "II"), ("v6", "V6"), ("aV-F", "aVF")],
)
def test_common_spellings_are_understood(written, name):
    assert standard_name(written) == name


@pytest.mark.parametrize("name", ["", "V7", "RESP", "IV", "Lead", "-aVR", "-V1", "I-II", "MDC_ECG_LEAD_AVRNEG"])
def test_other_channels_are_none_of_the_twelve(name):
    assert standard_name(name) is None


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
