"""Missing samples are filled in from the other leads or from a similar beat, and a filled record is finite."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.bridge import bridge
from training.simulation.ecg import generate_ecgs

RATE_HZ = 500
ECGS = [
    np.frombuffer(ecg.samples, "<i2").reshape(12, -1).astype(np.float32) * np.float32(0.005)
    for ecg in generate_ecgs(12, seed=5)
]


def without(signals, start, stop, leads=slice(None)):
    holed = signals.copy()
    holed[leads, start:stop] = np.nan
    return holed


def straight(holed):
    places, filled = np.arange(holed.shape[1]), holed.copy()
    for lead in filled:
        gaps = np.isnan(lead)
        lead[gaps] = np.interp(places[gaps], places[~gaps], lead[~gaps])
    return filled


def steepest(signals):
    """Return the middle of a QRS complex that is not at an end."""
    changes = np.abs(np.diff(signals, axis=1)).sum(axis=0)
    return 300 + int(np.argmax(np.convolve(changes, np.ones(20), "same")[300:-300]))


def error(filled, signals, start, stop, leads=slice(None)):
    return float(np.sqrt(np.mean((filled - signals)[leads, start:stop] ** 2)))


def errors(holed, signals, start, stop, leads=slice(None)):
    """Return the error of the bridge and of a straight line."""
    filled = bridge(holed[None], RATE_HZ)[0]
    return error(filled, signals, start, stop, leads), error(straight(holed), signals, start, stop, leads)


def test_whole_signals_are_returned_as_they_are():
    signals = np.stack(ECGS)
    assert bridge(signals, RATE_HZ) is signals


@pytest.mark.parametrize("lead", range(12))
def test_a_qrs_complex_that_one_lead_lacks_is_taken_from_the_other_leads(lead):
    for signals in ECGS:
        middle = steepest(signals)
        ours, straights = errors(
            without(signals, middle - 25, middle + 25, lead), signals, middle - 25, middle + 25, lead
        )
        assert ours < max(0.5 * straights, 0.05)


def test_a_qrs_complex_that_all_leads_lack_is_taken_from_another_beat():
    pairs = []
    for signals in ECGS:
        middle = steepest(signals)
        pairs.append(errors(without(signals, middle - 25, middle + 25), signals, middle - 25, middle + 25))
    ours, straights = np.array(pairs).T
    assert np.median(ours) < 0.25 * np.median(straights)


def test_a_gap_is_filled_without_a_step_at_its_ends():
    for signals in ECGS:
        for leads in (slice(None), 8):
            filled = bridge(without(signals, 1000, 1080, leads)[None], RATE_HZ)[0]
            usual = np.abs(np.diff(signals, axis=1)).max(axis=1)
            assert (np.abs(np.diff(filled, axis=1))[:, [999, 1079]] <= usual[:, None] + 1e-6).all()


def test_what_was_there_stays_as_it_is():
    holed = without(ECGS[0], 1000, 1080)
    filled = bridge(holed[None], RATE_HZ)[0]
    there = ~np.isnan(holed)
    np.testing.assert_array_equal(filled[there], holed[there])


def test_the_records_beside_a_repaired_one_stay_as_they_are():
    batch = np.stack([ECGS[0], without(ECGS[1], 0, 60), ECGS[2]])
    filled = bridge(batch, RATE_HZ)
    np.testing.assert_array_equal(filled[[0, 2]], batch[[0, 2]])
    np.testing.assert_array_equal(filled[1], bridge(batch[1:2], RATE_HZ)[0])


gaps = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 2400), st.integers(1, 60)), min_size=1, max_size=20)


@settings(max_examples=60)
@given(gaps, st.booleans(), st.integers(0, 11))
def test_whatever_is_missing_the_result_is_finite_and_of_an_ecgs_size(found, all_leads, which):
    signals = ECGS[which][:, ::2]
    holed = signals.copy()
    for lead, start, length in found:
        holed[slice(None) if all_leads else lead, start : start + length] = np.nan
    filled = bridge(holed[None], 250)[0]
    assert np.isfinite(filled).all()
    assert np.abs(filled).max() < 3 * np.abs(signals).max() + 1


def test_flat_and_equal_leads_are_filled_too():
    for signals in (np.zeros((12, 2500), np.float32), np.tile(ECGS[0][1, ::2], (12, 1))):
        assert np.isfinite(bridge(without(signals, 700, 740)[None], 250)).all()
        assert np.isfinite(bridge(without(signals, 700, 740, 3)[None], 250)).all()
