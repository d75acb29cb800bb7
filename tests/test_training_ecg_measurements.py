import csv
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needed import ECGS, needs_real_ecgs

from inference.reading.read_ecg import read_ecg
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


# LUDB's own delineations: a global limit is the second earliest (latest) over the 12 leads, T's end the middle one


@pytest.fixture(scope="module")
def ludb():
    """Return measured values and LUDB's (43, 4), of every third record: heart rate, PR, QRS, QT."""
    with (ECGS / "labels.csv").open() as file:
        paths = [ECGS / row["file"] for row in csv.DictReader(file) if row["dataset"] == "LUDB"][::3]
    records = [read_ecg(path) for path in paths]
    signals = [
        np.frombuffer(ecg.samples, "<i2").reshape(12, -1) * np.float32(ecg.microvolts_per_step / 1e3) for ecg in records
    ]
    return measure_ecgs(np.stack(signals), RATE_HZ), np.array([ludb_intervals(path) for path in paths])


def ludb_intervals(path):
    import wfdb

    annotations = [wfdb.rdann(str(path), lead.lower()) for lead in LEADS]
    leads = [list(delineated_waves(a.symbol, a.sample)) for a in annotations]
    peaks = [peak for kind, _, peak, _ in leads[1] if kind == "N"]
    beats = np.array([global_intervals(leads, peak) for peak in peaks])
    pr, qrs, qt = (np.median(known) if (known := c[np.isfinite(c)]).size else np.nan for c in beats.T)
    return [60e3 / (2 * np.median(np.diff(peaks))) if len(peaks) > 1 else np.nan, pr, qrs, qt]


def delineated_waves(symbols, samples) -> Iterator[tuple[str, int, int, int]]:
    for before, at, after in zip(range(len(symbols)), range(1, len(symbols)), range(2, len(symbols)), strict=False):
        if symbols[before] == "(" and symbols[after] == ")":
            yield symbols[at], samples[before], samples[at], samples[after]


def global_intervals(leads, peak):
    def limits(kind, earliest, latest):
        near = [[wave for wave in waves if wave[0] == kind and earliest <= wave[2] - peak <= latest] for waves in leads]
        found = [waves[0] for waves in near if waves]
        return np.array([(on, off) for _, on, _, off in found]) if len(found) >= 4 else np.full((4, 2), np.nan)

    qrs, p, t = limits("N", -60, 60), limits("p", -200, -20), limits("t", 30, 300)
    onset = np.sort(qrs[:, 0])[1]
    return 2 * np.array([onset - np.sort(p[:, 0])[1], np.sort(qrs[:, 1])[-2] - onset, np.median(t[:, 1]) - onset])


@needs_real_ecgs
@pytest.mark.parametrize(
    ("name", "number", "bias", "spread", "most_unmeasured"),
    [
        ("heart_rate_bpm", 0, 0.5, 1.5, 0),
        ("pr_ms", 1, 10, 25, 3),
        ("qrs_ms", 2, 10, 25, 0),
        ("qt_ms", 3, 10, 25, 2),
    ],
)
def test_intervals_agree_with_the_cardiologists_of_ludb(ludb, name, number, bias, spread, most_unmeasured):
    measured, delineated = column(ludb[0], name), ludb[1][:, number]
    known = np.isfinite(delineated)
    assert known.sum() > 30
    assert np.isnan(measured[known]).sum() <= most_unmeasured
    lower, middle, upper = np.nanpercentile((measured - delineated)[known], [25, 50, 75])
    print(f"{name}: median error {middle:.1f}, interquartile range {upper - lower:.1f}, n {known.sum()}")
    assert abs(middle) < bias
    assert upper - lower < spread


@needs_real_ecgs
def test_p_waves_are_found_where_the_cardiologists_saw_them(ludb):
    measured, delineated = np.isfinite(column(ludb[0], "pr_ms")), np.isfinite(ludb[1][:, 1])
    assert measured[delineated].mean() > 0.97
    assert (~measured[~delineated]).sum() >= 0.6 * (~delineated).sum()
