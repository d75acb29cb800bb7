"""The stretch that is screened lies beside the gaps, is as long as it can be, and the report says which it is."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_inference_intake import GOOD, STEPS, THIRD, changed, codes

from inference.gate import LIMITS, miss_too_much
from inference.intake import screened_stretch, take_in, usable_signals
from inference.stretch import find_stretch, runs
from schemas.ecg_record import MISSING_SAMPLE
from stream.dashboard.record_page import arrange_ecg

RATE_HZ = 500


def longer(seconds):
    """Return the steps of a good ECG that goes on for so many seconds."""
    return np.tile(STEPS, 1 + seconds // 10)[:, : seconds * RATE_HZ].copy()


def without(steps, from_s, to_s, leads=slice(None)):
    steps[leads, round(from_s * RATE_HZ) : round(to_s * RATE_HZ)] = MISSING_SAMPLE
    return steps


def warning(quality, code):
    (found,) = [warning for warning in quality.warnings if warning.code == code]
    return found


def test_a_record_that_begins_with_missing_samples_is_screened_from_where_they_end():
    record = changed(without(longer(14), 0, 3))
    intake = take_in([GOOD, record, THIRD], 3)
    quality = intake.outcomes[1]
    assert codes(quality) == {"gap_left_out", "longer_than_10s"}
    gap, length = warning(quality, "gap_left_out"), warning(quality, "longer_than_10s")
    assert gap.detail == (
        "samples are missing from 0.00 s to 3.00 s in all leads: the seconds from 3.0 to 13.0 were screened"
    )
    assert length.detail == "only the seconds from 3.0 to 13.0 of 14.0 s were screened"
    assert (length.numbers["screened_from_s"], length.numbers["screened_to_s"]) == (3.0, 13.0)
    alone = take_in([changed(longer(14)[:, 3 * RATE_HZ : 13 * RATE_HZ])], 3)
    np.testing.assert_array_equal(intake.inputs[1], alone.inputs[0])
    np.testing.assert_array_equal(intake.inputs[[0, 2]], take_in([GOOD, THIRD], 3).inputs)


def test_ten_seconds_that_end_with_missing_samples_are_screened_up_to_where_they_begin():
    (quality,) = take_in([changed(without(longer(10), 9.3, 10, leads=4))], 3).outcomes
    assert codes(quality) == {"gap_left_out"}
    numbers = warning(quality, "gap_left_out").numbers
    assert (numbers["screened_from_s"], numbers["screened_to_s"], numbers["leads"]) == (0.0, 9.3, "aVL")


@pytest.mark.parametrize("gap", [(2, 5), (0, 1.2), (4, 4.5)])
def test_ten_seconds_without_nine_whole_ones_are_refused_by_lead_and_second(gap):
    (refusal,) = take_in([changed(without(longer(10), *gap, leads=[6, 7]))], 1).outcomes
    assert (refusal.wire_code, refusal.numbers["leads"]) == ("nan_run", "V1, V2")
    assert (refusal.numbers["gap_from_s"], refusal.numbers["gap_to_s"]) == gap
    assert refusal.detail == (
        f"samples are missing from {gap[0]:.2f} s to {gap[1]:.2f} s in V1, V2, and no other stretch of 9 s will do"
    )


def test_many_gaps_of_a_second_apart_leave_no_stretch():
    steps = longer(60)
    for second in range(0, 60, 2):
        without(steps, second, second + 1)
    (refusal,) = take_in([changed(steps)], 1).outcomes
    assert refusal.wire_code == "nan_run"


def test_many_short_gaps_are_left_out_as_a_long_one_is():
    steps = longer(25)
    for place in range(0, 5000, 100):
        steps[3, place : place + 4] = MISSING_SAMPLE
    (quality,) = take_in([changed(steps)], 1).outcomes
    gap = warning(quality, "gap_left_out")
    assert gap.detail.startswith("up to 4.0% of the samples are missing in aVR: ")
    assert 4 < gap.numbers["screened_from_s"] < 6


def test_a_flat_lead_in_the_stretch_is_still_refused():
    steps = without(longer(14), 0, 3)
    steps[7, 3 * RATE_HZ :] = 40
    (refusal,) = take_in([changed(steps)], 1).outcomes
    assert (refusal.wire_code, refusal.numbers["leads"]) == ("flat_lead", "V2")


def test_a_derived_lead_misses_what_its_sources_miss():
    eight = [0, 1, 6, 7, 8, 9, 10, 11]
    names = tuple(GOOD.leads[row] for row in eight)
    (quality,) = take_in([changed(without(longer(14), 0, 3, leads=0)[eight], leads=names)], 1).outcomes
    assert warning(quality, "gap_left_out").numbers["leads"] == "I, III, aVR, aVL, aVF"


def test_who_keeps_or_draws_signals_gets_the_seconds_that_are_screened():
    record = changed(without(longer(14), 0, 3))
    assert screened_stretch(record) == (3 * RATE_HZ, 13 * RATE_HZ)
    assert screened_stretch(GOOD) == (0, 10 * RATE_HZ)
    assert np.isfinite(usable_signals(record)).all()
    head, samples = arrange_ecg(record)
    assert head.n_samples == 10 * RATE_HZ
    assert np.frombuffer(samples, "<i2").min() > MISSING_SAMPLE


gaps = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 2999), st.integers(1, 400)), max_size=12)


@settings(max_examples=60)
@given(gaps, st.integers(2250, 3000))
def test_a_stretch_is_whole_and_none_is_passed_over(found, samples):
    missing = np.zeros((12, samples), bool)
    for lead, start, length in found:
        missing[lead, start : start + length] = True
    stretch = find_stretch(missing, 250)
    whole = ~np.logical_or.reduce([_in_long_runs(lead, LIMITS.missing_run_s * 250) for lead in missing])
    if stretch is None:
        assert max((stop - start for start, stop in runs(whole)), default=0) < 2250 or missing.mean() > 0.001
    else:
        part = missing[:, slice(*stretch)]
        assert not miss_too_much(part, 250).any()
        assert 2250 <= part.shape[1] <= 2500
        assert whole[slice(*stretch)].all()


def _in_long_runs(flags, most):
    marked = np.zeros(len(flags), bool)
    for start, stop in runs(flags):
        marked[start:stop] = stop - start > most
    return marked


def test_the_longest_record_with_gaps_everywhere_is_refused():
    steps = np.zeros((12, 166_000), "<i2")
    steps[:, ::3] = MISSING_SAMPLE
    record = msgspec.structs.replace(GOOD, samples=steps.tobytes(), sample_rate_hz=1000.0)
    (refusal,) = take_in([record], 1).outcomes
    assert refusal.wire_code == "nan_run"
