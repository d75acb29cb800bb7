"""The detector of exchanged electrodes learns from simulated ECGs: a tiny one already finds exchanged arms."""

import numpy as np
import pytest
import torch
from measure_swaps import exchanged

from inference.lead_swaps import shapes_of
from inference.swap_detector import load_swap_detector
from inference.typical_beat import SEEN, SPANS, typical_beats
from training.simulation.beat_sets import simulate_beats
from training.simulation.devices import record_with_some_device
from training.simulation.ecg import generate_ecgs
from training.simulation.varied_ecgs import simulate_varied_ecg
from training.simulation.vector_ecgs import simulate_vector_ecg
from training.stages.disturbed_beats import Disturber
from training.stages.lead_swaps import LearnSwaps, train_swap_detector

SIMULATIONS = (simulate_varied_ecg, simulate_vector_ecg)


@pytest.mark.parametrize("simulate", SIMULATIONS)
def test_a_simulated_ecg_fulfils_einthovens_law_and_depends_on_its_number_alone(simulate):
    ecg = simulate(1, 7)
    assert ecg.shape == (12, 5000)
    np.testing.assert_allclose(ecg[0] + ecg[2], ecg[1], atol=1e-9)
    np.testing.assert_array_equal(ecg, simulate(1, 7))
    assert not np.array_equal(ecg, simulate(1, 8))


def test_a_device_gives_its_rate_its_length_and_its_steps():
    for seed in range(20):
        signals, rate_hz = record_with_some_device(np.random.default_rng(seed), simulate_vector_ecg(1, seed))
        assert 9 * rate_hz - 1 <= signals.shape[1] <= 10 * rate_hz
        assert np.isfinite(signals).all()


def test_beats_are_the_same_on_any_number_of_processes():
    alone, together = (simulate_beats(3, 120, processes) for processes in (1, 2))
    assert alone.shape == (120, len(SEEN), SPANS)
    np.testing.assert_array_equal(alone, together)
    assert alone.any(axis=(1, 2)).mean() > 0.95


def test_disturbed_beats_fulfil_einthovens_law_and_mirrored_ones_keep_their_p_wave():
    beats = torch.from_numpy(simulate_beats(3, 40, 1))
    disturber = Disturber(0)
    disturbed = disturber.disturb(beats)
    torch.testing.assert_close(disturbed[:, 1] - disturbed[:, 0], disturbed[:, 2])
    assert not torch.allclose(disturbed, beats)
    mirrored = disturber.mirror(beats)
    torch.testing.assert_close(mirrored[..., :20], beats[..., :20])
    changed = (mirrored != beats).any(dim=2).any(dim=1).float().mean()
    assert 0.2 < changed < 1


@pytest.mark.learns
def test_a_tiny_detector_learns_to_find_exchanged_arms_and_says_how_it_was_made(tmp_path):
    manifest = train_swap_detector(tmp_path / "detector", LearnSwaps(records=600, steps=250, seed=1), 1)
    assert "--records 600 --steps 250 --seed 1" in manifest.notes
    detector = load_swap_detector(tmp_path / "detector")
    sound = np.stack(
        [np.frombuffer(ecg.samples, "<i2").reshape(12, -1) * np.float32(0.005) for ecg in generate_ecgs(40, seed=2)]
    ).astype(np.float32)
    moved = np.stack([exchanged(ecg, "RA-LA") for ecg in sound])
    found = [suspicion.exchange for suspicion in suspected(detector, moved) if suspicion.ahead > 0]
    assert found.count("RA-LA") >= 34
    assert sum(suspicion.ahead > 0 for suspicion in suspected(detector, sound)) <= 6


def suspected(detector, signals):
    return detector.limb.suspicions(shapes_of(typical_beats(signals[..., ::2], 250.0)))
