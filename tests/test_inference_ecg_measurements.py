"""What an electrocardiograph prints: on drawn ECGs whose intervals are known, and on LUDB's marks."""

import numpy as np
import pytest
from drawn_ecgs import PR_MS, QRS_MS, RATE_HZ, drawn_ecg, f_waves, irregular_beats, qt_ms
from hypothesis import given, settings
from hypothesis import strategies as st
from ludb import ludb_records
from needed import needs_real_ecgs

from inference.ecg_measurements import NOT_MEASURABLE, UNITS, measure_ecgs
from inference.gate import examine
from training.simulation.ecg import simulate_ecg
from training.simulation.physiology import draw_patient


def measured(*signals, rate_hz=RATE_HZ, paced=False):
    """Return for each signal the measurements by name: a value, or why there is none."""
    rows = measure_ecgs(np.stack(signals).astype(np.float32), rate_hz, [paced] * len(signals))
    return [{one.name: one.not_measurable or one.value for one in row} for row in rows]


def noise(seed, amplitude_mv):
    return amplitude_mv * np.random.default_rng(seed).standard_normal((12, 10 * RATE_HZ))


@pytest.mark.parametrize("rate", [40, 50, 60, 75, 90, 110])
def test_rate_and_intervals_are_those_that_were_drawn(rate):
    (found,) = measured(drawn_ecg(rate))
    assert found["heart_rate"] == pytest.approx(rate, abs=1)
    assert found["pr_interval"] == pytest.approx(PR_MS, abs=12)
    assert found["qrs_duration"] == pytest.approx(QRS_MS, abs=12)
    assert found["qt_interval"] == pytest.approx(qt_ms(rate), abs=15)
    assert found["qtc_fridericia"] == pytest.approx(found["qt_interval"] / (60 / rate) ** (1 / 3), abs=3)


@pytest.mark.parametrize("rate", [130, 150, 180])
def test_in_a_quick_heart_a_p_wave_that_meets_the_t_wave_is_not_measured(rate):
    (found,) = measured(drawn_ecg(rate))
    assert found["heart_rate"] == pytest.approx(rate, abs=2)
    assert found["qrs_duration"] == pytest.approx(QRS_MS, abs=15)
    assert found["qt_interval"] == pytest.approx(qt_ms(rate), abs=30)
    assert found["pr_interval"] in ("p_meets_t", "no_p_wave")


@pytest.mark.parametrize("axis", range(-170, 190, 20))
def test_axes_are_those_that_were_drawn_in_every_quadrant(axis):
    turned = [(axis + by + 180) % 360 - 180 for by in (0, 100, -70)]
    (found,) = measured(drawn_ecg(axes=turned))
    for name, drawn in zip(("p_axis", "qrs_axis", "t_axis"), turned, strict=True):
        apart = (found[name] - drawn + 180) % 360 - 180
        assert abs(apart) <= 4, f"{name} {found[name]}, drawn {drawn}"


def test_every_measurement_has_its_unit_and_either_a_value_or_a_reason():
    clear, still = measure_ecgs(np.stack([drawn_ecg(), np.zeros((12, 5000), np.float32)]), RATE_HZ, [False, False])
    for row in (clear, still):
        assert [(one.name, one.unit) for one in row] == list(UNITS.items())
        assert all((one.value is None) == (one.not_measurable in NOT_MEASURABLE) for one in row)
    assert all(one.value is not None for one in clear)


def test_a_fibrillating_heart_has_no_pr_interval_and_no_corrected_qt():
    without = [drawn_ecg(beats_s=irregular_beats(seed), p_mv=0.0) + f_waves(seed) for seed in range(20)]
    found = measured(*without)
    assert sum(row["pr_interval"] == "no_p_wave" for row in found) >= 19
    assert sum(row["p_axis"] == "no_p_wave" for row in found) >= 19
    assert sum(row["qtc_fridericia"] == "irregular_rhythm" for row in found) >= 18
    assert all(isinstance(row["heart_rate"], float) and isinstance(row["qrs_duration"], float) for row in found)


def test_simulated_patients_have_the_measurements_that_they_were_drawn_with():
    patients = [draw_patient(31, number) for number in range(60)]
    found = measured(*(simulate_ecg(patient) * np.float32(5e-3) for patient in patients))
    pairs = [
        (row["pr_interval"] - patient.electrics.pr_ms, row["heart_rate"] - patient.rhythm.heart_rate_bpm)
        for row, patient in zip(found, patients, strict=True)
        if isinstance(row["pr_interval"], float) and not patient.rhythm.atrial_fibrillation
    ]
    pr, rate = np.abs(np.array(pairs)).T
    assert len(pairs) >= 50
    assert np.median(pr) < 8
    assert np.percentile(pr, 90) < 25
    assert np.median(rate) < 1


def test_a_paced_rhythm_has_a_rate_and_nothing_else():
    (found,) = measured(drawn_ecg(), paced=True)
    assert found.pop("heart_rate") == 75
    assert set(found.values()) == {"paced"}


@pytest.mark.parametrize("signal", [np.zeros((12, 5000)), np.ones((12, 5000)), noise(1, 0.2), noise(2, 5)])
def test_what_has_no_beats_has_no_measurements_not_even_a_rate(signal):
    (found,) = measured(signal)
    assert set(found.values()) == {"too_few_beats"}


def test_a_heart_that_beats_twice_in_ten_seconds_has_no_measurements():
    (found,) = measured(drawn_ecg(beats_s=[2.0, 7.0]))
    assert set(found.values()) == {"too_few_beats"}


def test_without_a_t_wave_there_is_no_qt_but_all_else():
    (found,) = measured(drawn_ecg(t_mv=0.0))
    assert {name for name, value in found.items() if value == "no_t_wave"} == {
        "qt_interval",
        "qtc_fridericia",
        "t_axis",
    }
    assert found["pr_interval"] == pytest.approx(PR_MS, abs=12)


def test_flat_leads_leave_the_measurements_of_the_others():
    flat = drawn_ecg()
    flat[6:9] = 0
    (found,) = measured(flat)
    assert found["pr_interval"] == pytest.approx(PR_MS, abs=15)
    assert found["qt_interval"] == pytest.approx(qt_ms(75), abs=15)
    limbs = drawn_ecg()
    limbs[:6] = 0
    (found,) = measured(limbs)
    assert found["qrs_duration"] == pytest.approx(QRS_MS, abs=15)
    assert found["qrs_axis"] == "no_net_area"


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_a_gain_changes_no_measurement(gain):
    plain, scaled = measured(drawn_ecg(axes=(50, -20, 130)), gain * drawn_ecg(axes=(50, -20, 130)))
    assert scaled == pytest.approx(plain, abs=3)


def test_a_scaled_lead_changes_intervals_little():
    scaled = drawn_ecg()
    scaled[8] *= 2
    plain, changed = measured(drawn_ecg(), scaled)
    assert changed == pytest.approx(plain, abs=4)


@pytest.mark.parametrize("start_s", [0.13, 0.37, 0.61])
def test_another_start_changes_no_measurement(start_s):
    plain, shifted = measured(drawn_ecg(83), drawn_ecg(83, start_s=start_s))
    assert shifted == pytest.approx(plain, abs=3)


@pytest.mark.parametrize("rate_hz", [100, 200, 250, 257, 400, 1000])
def test_another_sample_rate_gives_the_same_measurements(rate_hz):
    (plain,), (other,) = measured(drawn_ecg()), measured(drawn_ecg(rate_hz=rate_hz), rate_hz=rate_hz)
    assert other == pytest.approx(plain, abs=12 if rate_hz == 100 else 6)


def test_offsets_of_the_electrodes_count_for_nothing():
    plain, moved = measured(drawn_ecg(), drawn_ecg() + np.linspace(-3, 3, 12)[:, None])
    assert moved == pytest.approx(plain, abs=1)


@pytest.mark.parametrize("mains_hz", [50, 60])
def test_mains_interference_moves_the_measurements_little(mains_hz):
    times = np.arange(5000) / RATE_HZ
    hum = 0.1 * np.sin(2 * np.pi * mains_hz * times + 0.3)
    plain, humming = measured(drawn_ecg(), drawn_ecg() + hum)
    assert humming == pytest.approx(plain, abs=4)


def test_wander_moves_the_measurements_little():
    times = np.arange(5000) / RATE_HZ
    wander = np.stack([0.4 * np.sin(2 * np.pi * (0.15 + 0.02 * lead) * times + lead) for lead in range(12)])
    plain, wandering = measured(drawn_ecg(), drawn_ecg() + wander)
    assert wandering == pytest.approx(plain, abs=10)


def test_noise_moves_the_measurements_little_or_they_are_not_given():
    plain, noisy, noisier = measured(drawn_ecg(), drawn_ecg() + noise(3, 0.02), drawn_ecg() + noise(4, 0.15))
    assert noisy == pytest.approx(plain, abs=12)
    assert noisier["heart_rate"] == plain["heart_rate"]
    assert noisier["pr_interval"] in NOT_MEASURABLE
    for name in ("qrs_duration", "qt_interval"):
        assert noisier[name] in NOT_MEASURABLE or noisier[name] == pytest.approx(plain[name], abs=35)


def test_premature_and_aberrant_beats_change_the_rate_alone():
    beats = [0.5, 1.3, 2.1, 2.9, 3.7, 4.2, 5.3, 6.1, 6.9, 7.7, 8.5, 9.3]
    times = np.arange(5000) / RATE_HZ
    aberrant = np.zeros((12, 5000))
    aberrant += np.array([1, -1, -2, 0, 1.5, -1.5, 1, -1, -1, -1, -1, -1])[:, None] * np.exp(
        -0.5 * ((times - 4.2) / 0.04) ** 2
    )
    plain, ectopic = measured(drawn_ecg(), drawn_ecg(beats_s=[beat for beat in beats if beat != 4.2]) + aberrant)
    for name in ("pr_interval", "qrs_duration", "qt_interval", "qrs_axis"):
        assert ectopic[name] == pytest.approx(plain[name], abs=6)


def test_a_record_has_the_same_measurements_in_any_batch():
    signals = [drawn_ecg(60 + number, axes=(40, number, 50)) + noise(number, 0.02) for number in range(20)]
    together = measured(*signals)
    assert together == [row for signal in signals for row in measured(signal)]


def test_no_records_have_no_measurements():
    assert measure_ecgs(np.empty((0, 12, 5000), np.float32), RATE_HZ, []) == []


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.02, 0.5, 5]),
    st.integers(0, 12),
    st.sampled_from([100, 250, 500, 999.5]),
    st.floats(9, 10),
)
def test_no_signal_makes_it_fail_and_every_value_is_possible(seed, noise_mv, flat_leads, rate_hz, seconds):
    rng = np.random.default_rng(seed)
    signal = drawn_ecg(beats_s=np.sort(rng.uniform(0, 10, rng.integers(0, 40))), rate_hz=rate_hz)
    signal = signal[:, : round(seconds * rate_hz)] + noise_mv * rng.standard_normal((12, 1))
    signal[:flat_leads] = 0
    (found,) = measured(signal, rate_hz=rate_hz)
    values = {name: value for name, value in found.items() if not isinstance(value, str)}
    assert all(-180 <= value <= 180 for name, value in values.items() if name.endswith("axis"))
    assert all(0 < value < 1000 for name, value in values.items() if not name.endswith("axis"))


# LUDB's own delineations: a global limit is the second earliest (latest) over the 12 leads, T's end the middle one


@pytest.fixture(scope="module")
def ludb():
    """Return what is measured in LUDB's records, and their marks: dicts of heart rate, PR, QRS and QT."""
    records = ludb_records()
    signals = np.stack([record.signals for record in records])
    paced = [
        any(doubt.code == "pacing_spikes" for doubt in verdict.doubts) or record.paced
        for record, verdict in zip(records, examine(signals, RATE_HZ), strict=True)
    ]
    rows = measure_ecgs(signals, RATE_HZ, paced)
    found = [{one.name: one.not_measurable or one.value for one in row} for row in rows]
    return [(row, record.marks) for row, record, is_paced in zip(found, records, paced, strict=True) if not is_paced]


@needs_real_ecgs
@pytest.mark.parametrize(
    ("name", "middle", "wide", "most_unmeasured"),
    [("heart_rate", 0.6, 3, 0), ("pr_interval", 8, 22, 1), ("qrs_duration", 11, 26, 0), ("qt_interval", 10, 22, 2)],
)
def test_measurements_agree_with_the_cardiologists_of_ludb(ludb, name, middle, wide, most_unmeasured):
    pairs = [(row[name], marks[name]) for row, marks in ludb if np.isfinite(marks[name])]
    errors = np.abs([value - mark for value, mark in pairs if not isinstance(value, str)])
    print(f"{name}: median {np.median(errors):.1f}, 90th percentile {np.percentile(errors, 90):.1f}, n {len(errors)}")
    assert len(pairs) > 100
    assert len(pairs) - len(errors) <= most_unmeasured
    assert np.median(errors) <= middle
    assert np.percentile(errors, 90) <= wide


@needs_real_ecgs
def test_p_waves_are_not_found_where_the_cardiologists_saw_none(ludb):
    without = [row["pr_interval"] for row, marks in ludb if np.isnan(marks["pr_interval"])]
    assert len(without) >= 10
    assert sum(value == "no_p_wave" for value in without) >= 0.8 * len(without)
