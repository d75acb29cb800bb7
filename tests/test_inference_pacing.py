"""Pacing spikes are seen in the signal, and nothing else is taken for them."""

import msgspec
import numpy as np
import pytest
from needed import ECGS, needs_real_ecgs
from paced import pace, qrs_times, simulated
from test_inference_intake import GOOD, codes

from inference.intake import take_in
from inference.pacing import find_spikes
from inference.reading.read_ecg import read_ecg
from schemas.ecg_record import MISSING_SAMPLE

RATE_HZ = 500
ECGS_MV = simulated(30, 7)


def paced(number=30, rate_hz=RATE_HZ, signals=ECGS_MV, **form):
    rng = np.random.default_rng(2)
    form = {"amplitude_mv": 3, "width_ms": 0.5, "filter_hz": 150} | form
    return np.stack([pace(one, rate_hz, rng, **form) for one in signals[:number]])


def found(signals, rate_hz=RATE_HZ):
    return dict(find_spikes(signals, rate_hz))


def record_of(signals, rate_hz=RATE_HZ):
    steps = np.round(signals / 0.005).clip(-32767, 32767).astype("<i2")
    return msgspec.structs.replace(GOOD, samples=steps.tobytes(), sample_rate_hz=float(rate_hz))


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"width_ms": 0.1, "amplitude_mv": 20},
        {"width_ms": 2, "amplitude_mv": 0.5},
        {"tail": 0.3},
        {"tail": 0.3, "tail_ms": 20},
        {"tail": -0.2},
        {"before_s": 0.16},
        {"sensed": 0.2},
    ],
)
def test_spikes_are_seen_in_most_records_whatever_their_form(form):
    assert len(found(paced(**form))) >= 24


def test_spikes_are_seen_at_1000_hz():
    signals = simulated(30, 7, 1000)
    assert not found(signals, 1000)
    assert len(found(paced(signals=signals, rate_hz=1000, filter_hz=250), 1000)) >= 24


def test_their_number_and_height_are_told():
    for index, spikes in found(paced()).items():
        beats = len(qrs_times(ECGS_MV[index], RATE_HZ))
        assert spikes.per_minute <= 6 * beats + 1
        assert spikes.per_minute >= 3 * beats
        assert 0.2 < spikes.amplitude_mv < 1.0  # 3 mV for 0.5 ms behind a filter of 150 Hz


def test_ecgs_that_are_not_paced_have_none():
    assert not found(simulated(100, 8))


def test_noise_of_one_electrode_is_no_spike():
    for electrode in ([1, 0, -1, -0.5, 1, -0.5, *(6 * [-1 / 3])], [0] * 6 + [0, 1, 0, 0, 0, 0]):
        signals = ECGS_MV.copy()
        signals[:, :, 250::500] += np.array(electrode, np.float32)[:, None]
        assert not found(signals)


def test_steps_are_no_spikes():
    signals = ECGS_MV.copy()
    steps = (np.arange(5000) // 400 % 2).astype(np.float32)
    signals += np.linspace(-1, 1, 12, dtype=np.float32)[:, None] * steps
    assert not found(signals)


def test_spikes_that_keep_no_time_are_artefacts():
    rng, signals = np.random.default_rng(5), ECGS_MV.copy()
    for one in signals:
        places = np.cumsum(rng.uniform(100, 900, 10)).astype(int)
        one[:, places[places < 4900]] += rng.normal(0, 1, (12, 1)).astype(np.float32)
    assert len(found(signals)) <= 2


def test_a_record_does_not_depend_on_its_neighbours():
    signals = np.stack([one for pair in zip(ECGS_MV[:8], paced(8), strict=True) for one in pair])
    assert set(found(signals)) == {2 * index + 1 for index in found(paced(8))}


def test_the_report_warns_and_says_whether_it_could_tell():
    index = min(found(paced()))
    (seen, not_seen, slow) = take_in(
        [
            record_of(paced()[index]),
            record_of(ECGS_MV[index]),
            record_of(paced()[index][:, ::2], 250),
        ],
        1,
    ).outcomes
    assert (seen.pacing, not_seen.pacing, slow.pacing) == ("seen", "not_seen", "not_assessable")
    (warning,) = [warning for warning in seen.warnings if warning.code == "pacing_spikes"]
    assert set(warning.numbers) == {"spikes_per_minute", "amplitude_mv"}
    assert "pacing_spikes" not in codes(not_seen) | codes(slow)


def test_a_gap_does_not_hide_the_spikes():
    index = min(found(paced()))
    record = record_of(paced()[index])
    steps = np.frombuffer(record.samples, "<i2").reshape(12, -1).copy()
    steps[:, 2000:2080] = MISSING_SAMPLE
    (quality,) = take_in([msgspec.structs.replace(record, samples=steps.tobytes())], 1).outcomes
    assert {"pacing_spikes", "short_nan_run"} <= codes(quality)


@pytest.mark.parametrize("scale", [0, 1e-30, 1e30, np.nan])
def test_absurd_signals_have_none(scale):
    with np.errstate(all="ignore"):
        assert not found(ECGS_MV[:2] * np.float32(scale))


@needs_real_ecgs
@pytest.mark.parametrize("name", ["ptbxl/HR12083", "chapman_ningbo/JS23463", "ludb/8", "ludb/45", "ludb/74", "ludb/93"])
def test_real_paced_records_whose_spikes_are_in_the_signal_are_seen(name):
    (quality,) = take_in([read_ecg(ECGS / "wfdb" / f"{name}.hea")], 1).outcomes
    assert quality.pacing == "seen"
