import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.ecg_record import LEADS
from training.instruments.ecg_measurements import CLASSIC_MEASUREMENTS, measure_ecgs

RATE_HZ, SAMPLES = 500, 5000
# height in mV, time from the R peak in s, width (σ) in s, of a lead such as II
P, Q, R, S, T = (0.15, -0.16, 0.02), (-0.1, -0.025, 0.007), (1.2, 0, 0.010), (-0.25, 0.028, 0.008), (0.35, 0.27, 0.045)
GAIN = np.array([0.7, 1, 0.3, -0.85, 0.2, 0.65, -0.4, 0.3, 0.6, 0.9, 1, 0.8])
"""Of each lead; III, aVR, aVL, aVF follow from I and II, so that the axis is known."""


def column(measured, name):
    return measured[:, CLASSIC_MEASUREMENTS.index(name)]


def ecg(beats_s, waves=(P, Q, R, S, T), noise_mv=0.0, rng=None):
    time = np.arange(SAMPLES) / RATE_HZ
    lead = sum(
        height * np.exp(-0.5 * ((time - beat - at) / width) ** 2) for beat in beats_s for height, at, width in waves
    )
    rng = rng or np.random.default_rng(0)
    return (GAIN[:, None] * lead + noise_mv * rng.standard_normal((12, SAMPLES))).astype(np.float32)


def test_rate_intervals_and_axis_of_a_drawn_ecg_are_measured():
    measured = measure_ecgs(ecg(np.arange(0.5, 10, 0.8))[None], RATE_HZ)
    assert column(measured, "heart_rate_bpm")[0] == pytest.approx(75, abs=0.3)
    assert column(measured, "rr_sd_ms")[0] < 3
    # drawn limits: 2.5 σ from the centre of P, Q, S and T
    assert column(measured, "pr_ms")[0] == pytest.approx(210 - 43, abs=15)
    assert column(measured, "qrs_ms")[0] == pytest.approx(43 + 48, abs=15)
    assert column(measured, "qt_ms")[0] == pytest.approx(43 + 270 + 112, abs=20)
    assert column(measured, "qtc_ms")[0] == pytest.approx(column(measured, "qt_ms")[0] / 0.8 ** (1 / 3), rel=0.01)
    # I is 0.7, aVF 0.65: atan2(0.65 · 2/√3, 0.7)
    for wave in ("p", "qrs", "t"):
        assert column(measured, f"{wave}_axis_deg")[0] == pytest.approx(47, abs=2)


def test_amplitudes_of_a_drawn_ecg_are_measured_in_each_lead():
    measured = measure_ecgs(ecg(np.arange(0.5, 10, 0.8))[None], RATE_HZ)
    for lead, gain in zip(LEADS, GAIN, strict=True):
        if gain > 0:
            assert column(measured, f"r_{lead}_mv")[0] == pytest.approx(1.18 * gain, rel=0.08)
            assert column(measured, f"s_{lead}_mv")[0] == pytest.approx(0.23 * gain, rel=0.3)
        assert column(measured, f"t_{lead}_mv")[0] == pytest.approx(0.35 * gain, abs=0.03)
        assert column(measured, f"p_{lead}_mv")[0] == pytest.approx(0.15 * gain, abs=0.02)


def test_without_p_waves_there_is_no_pr_interval_but_all_else():
    beats = np.cumsum(np.random.default_rng(2).uniform(0.5, 1.1, 12)) - 0.2
    measured = measure_ecgs(ecg(beats[beats < 9.8], waves=(Q, R, S, T), noise_mv=0.02)[None], RATE_HZ)
    assert np.isnan(column(measured, "pr_ms")[0])
    assert np.isnan(column(measured, "p_II_mv")[0])
    assert np.isfinite(column(measured, "qrs_ms")[0])
    assert column(measured, "rr_sd_ms")[0] > 100


def test_a_premature_beat_of_another_kind_does_not_change_the_median_beat():
    beats = [0.5, 1.3, 2.1, 2.9, 3.7, 5.3, 6.1, 6.9, 7.7, 8.5, 9.3]
    plain = ecg(beats)
    wide = np.array([1, -1, -2, 0, 1.5, -1.5, 1, -1, -1, -1, -1, -1])[:, None]
    time = np.arange(SAMPLES) / RATE_HZ
    ectopic = (plain + wide * np.exp(-0.5 * ((time - 4.3) / 0.04) ** 2)).astype(np.float32)
    both = measure_ecgs(np.stack([plain, ectopic]), RATE_HZ)
    for name in ("qrs_ms", "qrs_axis_deg", "r_V5_mv"):
        assert column(both, name)[1] == pytest.approx(column(both, name)[0], rel=0.03)


def test_noise_moves_the_measurements_little():
    beats = np.arange(0.5, 10, 0.8)
    clean, noisy = measure_ecgs(np.stack([ecg(beats), ecg(beats, noise_mv=0.05)]), RATE_HZ)
    names = ("pr_ms", "qrs_ms", "qt_ms")
    assert [noisy[CLASSIC_MEASUREMENTS.index(name)] for name in names] == pytest.approx(
        [clean[CLASSIC_MEASUREMENTS.index(name)] for name in names], abs=25
    )


def test_another_sampling_rate_gives_the_same_measurements():
    signal = ecg(np.arange(0.5, 10, 0.8))
    half, whole = measure_ecgs(signal[None, :, ::2], 250), measure_ecgs(signal[None], 500)
    assert column(half, "pr_ms") == pytest.approx(column(whole, "pr_ms"), abs=8)
    assert column(half, "r_V5_mv") == pytest.approx(column(whole, "r_V5_mv"), rel=0.03)


@pytest.mark.parametrize("signal", [np.zeros((12, 5000)), np.full((12, 5000), np.nan), np.ones((12, 300))])
def test_what_is_no_ecg_measures_nan_throughout(signal):
    assert np.isnan(measure_ecgs(signal[None].astype(np.float32), RATE_HZ)).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.02, 0.5, 5]), st.integers(0, 12))
def test_no_signal_makes_it_fail(seed, noise_mv, flat_leads):
    rng = np.random.default_rng(seed)
    signal = ecg(np.sort(rng.uniform(0, 10, rng.integers(0, 30))), noise_mv=noise_mv, rng=rng)
    signal[:flat_leads] = rng.choice([0, np.nan, np.inf])
    assert measure_ecgs(signal[None], RATE_HZ).shape == (1, len(CLASSIC_MEASUREMENTS))


def test_no_records_give_no_rows():
    assert measure_ecgs(np.empty((0, 12, 5000), np.float32), RATE_HZ).shape == (0, len(CLASSIC_MEASUREMENTS))
