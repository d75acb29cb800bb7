"""The gate: a verdict for anything, the right code for each fault, and no good record refused."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from needed import ECGS, needs_real_ecgs

from inference.gate import Limits, check_extent, examine, longest_run, middle
from inference.intake import take_in
from inference.reading.find_ecgs import find_ecgs
from inference.reading.read_ecg import read_ecg
from inference.waveform import MAX_DURATION_S
from schemas.codec import AVRO_SCHEMA
from schemas.ecg_record import LEADS
from schemas.errors import UnusableSignal
from schemas.json_schemas import json_schema
from schemas.messages import Quality, RiskReport
from training.simulation.ecg import generate_ecgs

RATE_HZ = 500


def good(seed=0, records=1):
    """Return good synthetic ECGs (records, 12, 5000) in mV."""
    return np.stack(
        [np.frombuffer(ecg.samples, "<i2").reshape(12, -1) * np.float32(0.005) for ecg in generate_ecgs(records, seed)]
    ).astype(np.float32)


def verdict(signals, rate_hz=RATE_HZ):
    (only,) = examine(signals, rate_hz)
    return only


def refusal(signals):
    found = verdict(signals).refusal
    assert found is not None, "the gate let it pass"
    assert found.numbers
    return found


def doubts(signals):
    found = verdict(signals)
    assert found.refusal is None
    return {doubt.code for doubt in found.doubts}


def test_good_ecgs_pass_without_doubts():
    assert [(v.refusal, v.doubts) for v in examine(good(records=30), RATE_HZ)] == [(None, [])] * 30


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 9)), elements=st.floats(-9, 9, width=32)))
def test_the_middle_is_the_median(signals):
    np.testing.assert_array_equal(middle(signals), np.median(signals, axis=-1))


leads_and_seeds = given(st.integers(0, 11), st.integers(0, 50))
few = settings(max_examples=25, deadline=None)


@few
@leads_and_seeds
def test_a_flat_lead_is_refused_by_name(lead, seed):
    signals = good(seed)
    signals[0, lead] = 0.3
    found = refusal(signals)
    assert (found.wire_code, found.numbers["leads"]) == ("flat_lead", LEADS[lead])


@few
@leads_and_seeds
def test_a_lead_that_comes_off_midway_is_refused_and_one_that_slips_is_doubted(lead, seed):
    signals = good(seed)
    signals[0, lead, :3000] = 0
    assert refusal(signals).wire_code == "flat_lead"
    slipped = good(seed)
    slipped[0, lead, 1000:2000] = slipped[0, lead, 1000]
    assert "partly_flat_lead" in doubts(slipped)


@few
@leads_and_seeds
def test_a_long_gap_is_refused_and_a_short_one_is_bridged(lead, seed):
    signals = good(seed)
    signals[0, lead, 700:900] = np.nan
    found = refusal(signals)
    assert (found.wire_code, found.numbers["longest_run_s"]) == ("nan_run", 0.4)
    short = good(seed)
    short[0, lead, 700:730] = np.nan
    assert doubts(short) == {"short_nan_run"}


@few
@leads_and_seeds
def test_clipping_at_a_rail_is_refused(lead, seed):
    signals = good(seed)
    scale = 5 / np.abs(signals[0, lead]).max()
    wandering = signals[0, lead] * scale * 0.2 + 3 * np.sin(np.arange(5000) / 500)
    signals[0, lead] = np.clip(wandering, -2, 2)
    assert refusal(signals).wire_code == "saturated"


@few
@given(st.sampled_from([0.001, 0.01, 12, 100, 1000]), st.integers(0, 50))
def test_a_wrong_gain_is_refused(gain, seed):
    # a small lead of few steps, made large, may also look as if it stood at a rail
    assert refusal(good(seed) * np.float32(gain)).wire_code in {"implausible_gain", "saturated"}


def test_a_gain_five_times_too_small_may_be_low_voltage_and_is_doubted():
    typical = good(seed=1)
    assert doubts(typical * np.float32(0.2)) == {"low_amplitude"}


def test_an_input_of_zeros_is_flat_rather_than_small():
    found = refusal(np.zeros((1, 12, 5000), np.float32))
    assert (found.wire_code, found.numbers["flat_leads"]) == ("flat_lead", 12)


@few
@given(st.integers(0, 50))
def test_exchanged_limb_leads_are_doubted(seed):
    signals = good(seed)
    signals[0, [0, 1]] = signals[0, [1, 0]]
    found = verdict(signals)
    assert found.refusal is None
    assert {"einthoven", "lead_order"} & {doubt.code for doubt in found.doubts}


@few
@given(st.integers(0, 50), st.permutations([3, 4, 5]))
def test_augmented_leads_under_each_others_names_are_doubted(seed, places):
    signals = good(seed)
    signals[0, 3:6] = signals[0, places]
    assert doubts(signals) == (set() if places == [3, 4, 5] else {"lead_order"})


@few
@given(st.integers(0, 50))
def test_exchanged_arm_electrodes_are_doubted(seed):
    signals = good(seed)
    i, ii, iii = signals[0, :3].copy()
    signals[0, :6] = np.stack([-i, iii, ii, i / 2 - iii, -i / 2 - ii / 2, (ii + iii) / 2])
    expected = {"limb_lead_reversal"} if np.corrcoef(np.diff(i), np.diff(signals[0, 11]))[0, 1] > 0.6 else set()
    assert expected <= {doubt.code for doubt in verdict(signals).doubts}


def test_an_artefact_peak_is_doubted():
    signals = good()
    signals[0, 7, 2000] = 14
    assert doubts(signals) == {"high_peak"}


def test_an_offset_is_no_peak_and_hides_none():
    signals = good() + np.float32(-40)
    assert doubts(signals) == set()
    signals[0, 7, 2000] += 14
    (peak,) = verdict(signals).doubts
    assert (peak.code, peak.numbers["peak_mv"]) == ("high_peak", pytest.approx(14, abs=2))


@few
@leads_and_seeds
def test_gaps_in_a_lead_with_an_offset_are_bridged_and_no_more(lead, seed):
    signals = good(seed)
    before = doubts(signals)
    signals[0, lead] += 5
    for start in (500, 2000, 3500):
        signals[0, lead, start : start + 33] = np.nan
    assert doubts(signals) == before | {"short_nan_run"}


anything = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 2), st.just(12), st.integers(1125, 1300)), elements=st.floats(width=32)
)


def test_a_verdict_does_not_depend_on_the_records_beside_it():
    signals = good(records=20)
    signals[3, 5] = 0
    signals[11] *= 100
    refused = [index for index, found in enumerate(examine(signals, RATE_HZ)) if found.refusal]
    assert refused == [3, 11]


@settings(max_examples=30, deadline=None)
@given(anything)
def test_any_numbers_get_a_verdict_and_a_refusal_carries_numbers(signals):
    for found in examine(signals, 125):
        assert found.refusal is None or found.refusal.numbers


def test_vendors_are_told_how_long_a_record_has_to_be_and_how_much_of_it_is_screened():
    (n_samples,) = [field["doc"] for field in AVRO_SCHEMA["fields"] if field["name"] == "n_samples"]
    duration_s = json_schema(RiskReport)["$defs"]["Quality"]["properties"]["duration_s"]["description"]
    for text in (n_samples, duration_s):
        assert f"at least {Limits().min_duration_s:g} s" in text
        assert f"first {MAX_DURATION_S:g} s" in text


@pytest.mark.parametrize(
    ("samples", "rate_hz", "code"),
    [
        (4000, 500, "too_short"),
        (2249, 250, "too_short"),
        (900, 99.9, "unsupported_rate"),
        (20000, 2000, "unsupported_rate"),
    ],
)
def test_what_is_too_short_or_of_no_known_rate_is_refused(samples, rate_hz, code):
    with pytest.raises(UnusableSignal) as found:
        check_extent(samples, rate_hz)
    assert found.value.wire_code == code


@pytest.mark.parametrize(("flags", "length"), [([], 0), ([0, 0], 0), ([1, 1, 0, 1], 2), ([0, 1, 1, 1], 3)])
def test_the_longest_run_is_found(flags, length):
    assert longest_run(np.array(flags, bool)) == length


@needs_real_ecgs
def test_real_records_are_refused_for_flat_leads_and_for_nothing_else():
    with (ECGS / "labels.csv").open() as file:
        labels = {row["record"]: row for row in csv.DictReader(file)}
    records = list(map(read_ecg, find_ecgs([ECGS / "wfdb"])))
    outcomes = dict(zip((r.record_id for r in records), take_in(records, 1).outcomes, strict=True))
    refused = {name: outcome.wire_code for name, outcome in outcomes.items() if not isinstance(outcome, Quality)}
    assert len(outcomes) == len(labels) == 274
    assert refused == {name: "flat_lead" for name, row in labels.items() if int(row["flat_leads"])}


@needs_real_ecgs
def test_real_records_of_wrong_gain_are_all_caught():
    records = list(map(read_ecg, find_ecgs([ECGS / "other" / "badscale_fixtures"])))
    assert [outcome.wire_code for outcome in take_in(records, 1).outcomes] == ["implausible_gain"] * 3


def test_the_evidence_is_the_same_to_its_last_digit_however_many_records_are_examined_together():
    rng, (one,) = np.random.default_rng(0), good()
    exchanged = one[[1, 0, *range(2, 12)], ::2]  # doubted by Einthoven's law, by Goldberger's and by how beats look
    noise = rng.normal(0, 0.03, (1600, *exchanged.shape)).astype(np.float32)
    records = (exchanged + noise) * rng.uniform(0.5, 30, (1600, 1, 1)).astype(np.float32)
    together = examine(records, RATE_HZ / 2)
    alone = [verdict(record[None], RATE_HZ / 2) for record in records]
    assert sum(len(each.doubts) for each in alone) > 3000
    assert [each.doubts for each in together] == [each.doubts for each in alone]
