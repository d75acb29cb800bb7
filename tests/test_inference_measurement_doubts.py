"""What an ECG's own measurements make the gate doubt."""

import numpy as np
import pytest
from drawn_ecgs import drawn_ecg

from inference.ecg_measurements import UNITS
from inference.gate import Verdict
from inference.intake import take_in
from inference.measurement_doubts import doubt_measurements
from schemas.ecg_record import LEADS, EcgRecord
from schemas.messages import EcgMeasurement, Quality


def doubts(**values):
    """Return the doubts of a record with these measurements, and the others as in a healthy heart."""
    healthy = dict.fromkeys(UNITS, 100.0) | values
    measured = tuple(
        EcgMeasurement(name=name, value=healthy[name], unit=unit, not_measurable=None if healthy[name] else "paced")
        for name, unit in UNITS.items()
    )
    verdict = Verdict()
    doubt_measurements([verdict], [measured])
    assert verdict.refusal is None
    return {doubt.code: doubt.numbers for doubt in verdict.doubts}


@pytest.mark.parametrize("rate", [20, 32, 187, 230])
def test_rates_of_hearts_are_not_doubted(rate):
    assert doubts(heart_rate=float(rate)) == {}


@pytest.mark.parametrize("rate", [15.0, 245.0])
def test_a_rate_that_no_heart_has_is_doubted_and_not_refused(rate):
    assert doubts(heart_rate=rate) == {"implausible_rate": {"heart_rate_per_min": rate}}


def test_a_qrs_complex_as_narrow_as_a_spike_is_doubted():
    assert doubts(qrs_duration=36.0) == {"narrow_qrs": {"qrs_duration_ms": 36.0}}
    assert doubts(qrs_duration=72.0) == {}
    assert doubts(qrs_duration=None) == {}


def record(signals):
    steps = np.round(signals * 200).astype("<i2")
    return EcgRecord(
        record_id="drawn", patient_id=None, device_id="pen", leads=LEADS, sample_rate_hz=500.0,
        microvolts_per_step=5.0, samples=steps.tobytes(), paced=False,
    )  # fmt: skip


def test_what_has_no_beats_is_screened_with_a_warning():
    noise = np.random.default_rng(5).standard_normal((12, 5000)) * 0.12
    (quality, plain) = take_in([record(noise), record(drawn_ecg())], 1).outcomes
    assert isinstance(quality, Quality), quality
    assert "no_like_beats" in {warning.code for warning in quality.warnings}
    assert not {"no_like_beats", "implausible_rate", "narrow_qrs"} & {one.code for one in plain.warnings}


@pytest.mark.parametrize(("rate", "doubted"), [(150, False), (240, True)])
def test_an_ecg_that_is_too_quick_for_a_heart_is_screened_with_a_warning(rate, doubted):
    (quality,) = take_in([record(drawn_ecg(rate))], 1).outcomes
    assert ("implausible_rate" in {warning.code for warning in quality.warnings}) == doubted
