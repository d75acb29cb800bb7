"""Samples that were written in another layout are refused with what to do, and no good record is taken for one."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from needed import ECGS, needs_real_ecgs
from test_inference_intake import changed

from inference.gate import LIMITS
from inference.intake import take_in
from inference.reading.find_ecgs import find_ecgs
from inference.reading.read_ecg import read_or_refuse
from inference.sample_layout import _read
from schemas.ecg_record import LEADS, EcgRecord
from training.simulation.ecg import generate_ecgs

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
SIMULATED = list(generate_ecgs(40, seed=3))


def steps_of(record):
    return np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)


def rewritten(record, steps):
    return msgspec.structs.replace(record, samples=np.ascontiguousarray(steps, "<i2").tobytes())


def interleaved(record):
    """Return the record as a device writes it that stores sample after sample."""
    steps = steps_of(record)
    return rewritten(record, np.ascontiguousarray(steps.T).reshape(steps.shape))


def swapped(record):
    """Return the record as a big-endian machine writes it."""
    return rewritten(record, steps_of(record).byteswap())


def of_eight_leads(record):
    rows = [record.leads.index(name) for name in EIGHT]
    return msgspec.structs.replace(rewritten(record, steps_of(record)[rows]), leads=EIGHT)


def at_half_the_rate(record):
    return msgspec.structs.replace(
        rewritten(record, steps_of(record)[:, ::2]), sample_rate_hz=record.sample_rate_hz / 2
    )


def codes(records):
    """Return the code of each refusal, None where the record is screened; in batches, as the records come."""
    return [getattr(outcome, "wire_code", None) for outcome in take_in(records, 1).outcomes]


forms = pytest.mark.parametrize("form", [lambda record: record, of_eight_leads, at_half_the_rate])


@forms
def test_interleaved_samples_are_told(form):
    assert set(codes([interleaved(form(record)) for record in SIMULATED])) == {"interleaved_samples"}


@forms
def test_swapped_bytes_are_told(form):
    assert set(codes([swapped(form(record)) for record in SIMULATED])) == {"swapped_bytes"}


@forms
def test_interleaved_samples_with_swapped_bytes_are_told(form):
    (refusal,) = take_in([swapped(interleaved(form(SIMULATED[0])))], 1).outcomes
    assert refusal.wire_code == "interleaved_samples"
    assert "write little-endian int16" in refusal.detail


@forms
def test_good_records_are_screened_beside_them(form):
    good = [form(record) for record in SIMULATED]
    mixed = [record for pair in zip(good, map(interleaved, good), strict=True) for record in pair]
    assert codes(mixed)[::2] == [None] * len(good)


def test_interleaved_samples_of_a_wrong_gain_are_told_as_well():
    for gain in (0.02, 60.0):
        assert codes([interleaved(changed(microvolts_per_step=gain))]) == ["interleaved_samples"]


def test_a_wrong_gain_alone_is_a_wrong_gain():
    for gain in (0.02, 100.0, 1000.0):
        assert codes([changed(microvolts_per_step=gain)]) == ["implausible_gain"]


def test_the_refusal_says_what_to_do_and_names_the_record():
    (refusal,) = take_in([interleaved(SIMULATED[0])], 1).outcomes
    assert refusal.detail == (
        "the samples are interleaved, one sample of each lead in turn: write all samples of a lead before the next lead"
    )
    assert refusal.record_id == SIMULATED[0].record_id
    assert refusal.numbers["jumps"] > 0.5


@given(st.integers(0, 2**32))
def test_noise_has_no_other_layout(seed):
    noise = np.random.default_rng(seed).normal(0, 60, (12, 5000)).astype("<i2")
    assert codes([changed(noise)])[0] not in {"interleaved_samples", "swapped_bytes"}


@needs_real_ecgs
def test_real_records_are_told_in_the_wrong_layout_and_none_is_taken_for_one_in_its_own():
    found = map(read_or_refuse, find_ecgs([ECGS / "wfdb", ECGS / "more" / "wfdb"]))
    real = [record for record in found if isinstance(record, EcgRecord) and set(record.leads) >= set(LEADS)]
    long = [record for record in real if record.n_samples >= 9 * record.sample_rate_hz]
    assert len(long) > 450
    assert not {"interleaved_samples", "swapped_bytes"} & set(codes(real))
    for write, code in ((interleaved, "interleaved_samples"), (swapped, "swapped_bytes")):
        for form in (lambda record: record, of_eight_leads):
            told = codes([write(form(record)) for record in long]).count(code)
            assert told >= 0.99 * len(long), (code, told)


@pytest.mark.parametrize("scale", [0.99, 0.999999, 1.000001, 1.01])
def test_counting_says_what_sorting_says_of_steep_changes(scale):
    """The median lead's percentile is brought to either side of the gate's limit."""
    for record in SIMULATED[:8]:
        steps = steps_of(record)
        size = LIMITS.steepest_mv / _read(record, steps).change_mv * scale
        reading = _read(msgspec.structs.replace(record, microvolts_per_step=record.microvolts_per_step * size), steps)
        assert reading.is_steep == (reading.change_mv > LIMITS.steepest_mv) == (scale > 1)


@needs_real_ecgs
def test_counting_says_what_sorting_says_of_real_ecgs_and_of_their_swapped_bytes():
    records = [record for record in map(read_or_refuse, list(find_ecgs([ECGS]))[:60]) if isinstance(record, EcgRecord)]
    readings = [_read(record, steps) for record in records for steps in (steps_of(record), steps_of(record).byteswap())]
    assert [one.is_steep for one in readings] == [one.change_mv > LIMITS.steepest_mv for one in readings]
    assert {one.is_steep for one in readings} == {True, False}
