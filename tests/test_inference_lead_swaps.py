"""Exchanged electrodes: exact exchanges, a typical beat that depends on none, and doubts that name them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from measure_swaps import CHEST, LIMB, exchanged
from scipy.ndimage import maximum_filter1d

from inference.electrode_exchanges import CHEST_EXCHANGES, LIMB_EXCHANGES
from inference.gate import examine
from inference.lead_swaps import shapes_of
from inference.swap_detector import default_folder, default_swap_detector, load_swap_detector
from inference.typical_beat import CHEST_LEADS, LIMB_LEADS, SEEN, SPANS, highest_around, typical_beats
from schemas.ecg_record import LEADS
from schemas.errors import CorruptBundle
from training.simulation.ecg import generate_ecgs

RATE_HZ = 500


@pytest.fixture(scope="module")
def simulated():
    """Simulated ECGs (60, 12, 5000) in mV."""
    return np.stack(
        [np.frombuffer(ecg.samples, "<i2").reshape(12, -1) * np.float32(0.005) for ecg in generate_ecgs(60, seed=5)]
    ).astype(np.float32)


def suspected(signals, code):
    """Return the exchange that the gate doubts in each record, or nothing."""
    verdicts = examine(signals, RATE_HZ)
    return [
        next((doubt.numbers["exchange"] for doubt in verdict.doubts if doubt.code == code), "") for verdict in verdicts
    ]


def test_an_exchange_of_two_electrodes_undoes_itself_and_three_that_moved_round_undo_each_other():
    for exchanges in (LIMB_EXCHANGES, CHEST_EXCHANGES):
        for name, undone in exchanges.items():
            twice = undone @ undone
            assert np.array_equal(twice, np.eye(len(twice))) == (name.count("-") < 2)
    assert np.array_equal(LIMB_EXCHANGES["RA-LA-LL"] @ LIMB_EXCHANGES["RA-LL-LA"], np.eye(3))


@pytest.mark.parametrize("name", LIMB)
def test_an_exchange_is_what_the_electrodes_potentials_say(name):
    right, left, foot = np.random.default_rng(0).normal(size=(3, 50))
    electrodes = {"RA": right, "LA": left, "LL": foot}
    one, other = name.split("-")
    recorded = electrodes | {one: electrodes[other], other: electrodes[one]}
    leads = [np.stack([e["LA"] - e["RA"], e["LL"] - e["RA"], e["LL"] - e["LA"]]) for e in (electrodes, recorded)]
    np.testing.assert_allclose(LIMB_EXCHANGES[name] @ leads[1], leads[0])
    as_measured = exchanged(np.concatenate([leads[0], np.zeros((9, 50))]), name)[:3]
    np.testing.assert_allclose(as_measured, leads[1])


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(2, 40)), elements=st.integers(0, 5)),
    st.integers(1, 12),
)
def test_complexes_are_where_nothing_near_is_higher(change, reach):
    expected = np.nonzero((change == maximum_filter1d(change, 2 * reach + 1, axis=-1)) & (change > 1))
    np.testing.assert_array_equal(highest_around(change, change > 1, reach), expected)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([*LIMB_EXCHANGES]), st.sampled_from([*CHEST_EXCHANGES]), st.integers(0, 59))
def test_a_typical_beat_moves_as_its_leads_do(simulated, limb, chest, index):
    sound = typical_beats(simulated[index, None, :, ::2], RATE_HZ / 2)
    leads = simulated[index, None].copy()
    leads[:, :3] = LIMB_EXCHANGES[limb] @ leads[:, :3]
    leads[:, 6:] = CHEST_EXCHANGES[chest] @ leads[:, 6:]
    moved = typical_beats(leads[..., ::2], RATE_HZ / 2)
    np.testing.assert_allclose(moved[:, LIMB_LEADS], LIMB_EXCHANGES[limb] @ sound[:, LIMB_LEADS], atol=1e-4)
    np.testing.assert_allclose(moved[:, CHEST_LEADS], CHEST_EXCHANGES[chest] @ sound[:, CHEST_LEADS], atol=1e-4)


def test_an_exchange_costs_a_beat_exactly_what_undoing_it_gives_back(simulated):
    beats = typical_beats(simulated[..., ::2], RATE_HZ / 2)
    scorer = default_swap_detector().limb
    names = list(LIMB_EXCHANGES)
    sound = scorer.scores(shapes_of(beats)) - scorer.log_odds
    for name in LIMB:
        moved = beats.copy()
        moved[:, LIMB_LEADS] = LIMB_EXCHANGES[name] @ moved[:, LIMB_LEADS]
        scores = scorer.scores(shapes_of(moved)) - scorer.log_odds
        np.testing.assert_allclose(scores[:, names.index(name)], sound[:, 0], atol=1e-3)
        np.testing.assert_allclose(scores[:, 0], sound[:, names.index(name)], atol=1e-3)


def test_sound_simulated_ecgs_raise_hardly_a_doubt(simulated):
    assert sum(map(bool, suspected(simulated, "limb_lead_reversal"))) <= 1
    assert sum(map(bool, suspected(simulated, "chest_lead_reversal"))) <= 1


@pytest.mark.parametrize(("name", "least"), [("RA-LA", 58), ("RA-LL", 58), ("LA-LL", 50)])
def test_exchanged_limb_electrodes_are_doubted_by_name(simulated, name, least):
    moved = np.stack([exchanged(ecg, name) for ecg in simulated])
    assert suspected(moved, "limb_lead_reversal").count(name) >= least


@pytest.mark.parametrize("name", CHEST)
def test_exchanged_chest_electrodes_are_often_doubted_by_name(simulated, name):
    moved = np.stack([exchanged(ecg, name) for ecg in simulated])
    assert suspected(moved, "chest_lead_reversal").count(name) >= 24


def test_an_exchange_is_a_doubt_and_no_refusal_and_carries_its_probability(simulated):
    (verdict,) = examine(exchanged(simulated[0], "RA-LA")[None], RATE_HZ)
    assert verdict.refusal is None
    (doubt,) = verdict.doubts
    assert doubt.code == "limb_lead_reversal"
    assert doubt.numbers["exchange"] == "RA-LA"
    assert 0.5 < doubt.numbers["probability"] <= 1


def test_a_record_without_beats_raises_no_doubt():
    noise = np.random.default_rng(0).normal(0, 0.02, (4, 12, 5000)).astype(np.float32)
    assert default_swap_detector().doubts(noise[..., ::2], 250.0) == [(None, None)] * 4
    assert default_swap_detector().doubts(noise[..., :40], 250.0) == [(None, None)] * 4


@pytest.mark.parametrize("rate_hz", [100, 257, 400, 1000])
def test_the_rate_of_a_record_does_not_matter_much(simulated, rate_hz):
    count = round(10 * rate_hz)
    places = np.linspace(0, 4999, count)
    sampled = np.stack(
        [[np.interp(places, np.arange(5000), lead) for lead in exchanged(ecg, "RA-LA")] for ecg in simulated[:20]]
    )
    verdicts = examine(sampled.astype(np.float32), rate_hz)
    found = [doubt.numbers["exchange"] for verdict in verdicts for doubt in verdict.doubts if "limb" in doubt.code]
    assert found.count("RA-LA") >= 19


def test_every_exchange_of_two_is_known():
    assert set(LIMB) < set(LIMB_EXCHANGES)
    pairs = {f"{one}-{other}" for one, other in itertools.combinations(LEADS[6:], 2)}
    assert pairs | {"none"} == set(CHEST_EXCHANGES)


def test_an_altered_detector_is_not_read(tmp_path):
    shipped = default_folder()
    for path in shipped.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert load_swap_detector(tmp_path).limb.threshold == default_swap_detector().limb.threshold
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(CorruptBundle, match="is not the file that the manifest describes"):
        load_swap_detector(tmp_path)


def test_a_record_is_scored_the_same_to_its_last_digit_however_many_are_scored_together():
    shapes = np.random.default_rng(0).normal(0, 1, (40, len(SEEN), SPANS)).astype(np.float32)
    for scorer in (default_swap_detector().limb, default_swap_detector().chest):
        for many in (2, 3, 8, 40):
            alone = np.concatenate([scorer.scores(shape[None]) for shape in shapes[:many]])
            np.testing.assert_array_equal(scorer.scores(shapes[:many]), alone)
