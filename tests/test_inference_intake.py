"""The intake keeps the order, refuses record by record, and never fails a batch."""

import csv

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needed import ECGS, needs_real_ecgs
from odd_ecgs import check_intake

from inference.ecg_measurements import UNITS
from inference.intake import CHUNK_RECORDS, screened_part, take_in, usable_signals
from inference.reading.read_ecg import read_ecg
from schemas.codec import decode_ecg, encode_ecg
from schemas.ecg_record import LEADS, MISSING_SAMPLE, EcgRecord, Remark
from schemas.errors import RecordError
from schemas.messages import Quality
from training.simulation.ecg import generate_ecgs

GOOD, SECOND, THIRD = generate_ecgs(3, 0)
STEPS = np.frombuffer(GOOD.samples, "<i2").reshape(12, -1)


def changed(steps=STEPS, **fields):
    return msgspec.structs.replace(GOOD, samples=np.ascontiguousarray(steps, "<i2").tobytes(), **fields)


def with_gap(start, stop, lead=8):
    steps = STEPS.copy()
    steps[lead, start:stop] = MISSING_SAMPLE
    return changed(steps)


def codes(quality):
    return {warning.code for warning in quality.warnings}


def test_records_of_all_layouts_come_back_in_order():
    eight = [LEADS.index(name) for name in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")]
    records = [
        SECOND,
        changed(STEPS[:, ::2], sample_rate_hz=250.0, record_id="slow"),
        changed(STEPS[eight], leads=tuple(LEADS[row] for row in eight), record_id="eight"),
        changed(STEPS[::-1], leads=LEADS[::-1], record_id="backwards"),
        THIRD,
    ]
    together = take_in(records, 3)
    alone = [take_in([record], 3) for record in records]
    assert together.outcomes == tuple(intake.outcomes[0] for intake in alone)
    assert together.measurements == tuple(intake.measurements[0] for intake in alone)
    assert together.inputs.shape == (5, 3, 12, 2250)
    np.testing.assert_allclose(together.inputs, np.concatenate([intake.inputs for intake in alone]), atol=1e-5)


def test_a_batch_of_several_chunks_is_answered_as_its_records_are_alone():
    records = [(GOOD, SECOND, with_gap(0, 5000), THIRD)[place * 7 % 4] for place in range(2 * CHUNK_RECORDS + 3)]
    together = take_in(records, 1)
    alone = [take_in([record], 1) for record in records]
    assert [getattr(one, "wire_code", None) for one in together.outcomes] == [
        getattr(intake.outcomes[0], "wire_code", None) for intake in alone
    ]
    np.testing.assert_allclose(together.inputs, np.concatenate([intake.inputs for intake in alone]), atol=1e-5)


def test_leads_are_taken_by_name_and_not_by_column():
    order = [3, 0, 11, 5, 4, 1, 2, 9, 6, 7, 8, 10]
    shuffled = changed(STEPS[order], leads=tuple(LEADS[row] for row in order))
    np.testing.assert_array_equal(take_in([shuffled], 3).inputs, take_in([GOOD], 3).inputs)


def test_eight_leads_give_the_input_of_twelve():
    eight = [0, 1, 6, 7, 8, 9, 10, 11]
    intake = take_in([changed(STEPS[eight], leads=tuple(LEADS[row] for row in eight))], 3)
    (quality,) = intake.outcomes
    assert quality.derived_leads == ("III", "aVR", "aVL", "aVF")
    assert codes(quality) == {"derived_leads"}
    # The generator rounds each lead to whole steps, so derived ones differ by half a step from rounded ones.
    np.testing.assert_allclose(intake.inputs, take_in([GOOD], 3).inputs, atol=0.05)


def test_a_refused_record_leaves_its_neighbours_alone():
    intake = take_in([GOOD, with_gap(0, 5000), GOOD], 2)
    first, refusal, last = intake.outcomes
    assert isinstance(refusal, RecordError)
    assert (refusal.wire_code, refusal.record_id) == ("nan_run", GOOD.record_id)
    assert first == last
    assert intake.inputs.shape == (2, 2, 12, 2250)


@pytest.mark.parametrize("gap", [(0, 40), (2000, 2050), (4990, 5000)])
def test_short_gaps_are_bridged_wherever_they_lie(gap):
    intake = take_in([with_gap(*gap)], 1)
    assert codes(intake.outcomes[0]) == {"short_nan_run"}
    assert np.isfinite(intake.inputs).all()
    assert np.abs(intake.inputs).max() < 1.5 * np.abs(take_in([GOOD], 1).inputs).max()


def test_a_record_that_goes_on_after_ten_seconds_says_so():
    longer = changed(np.concatenate([STEPS, STEPS[:, :500]], axis=1))
    intake = take_in([longer], 3)
    (quality,) = intake.outcomes
    assert (codes(quality), quality.duration_s) == ({"longer_than_10s"}, 11.0)
    np.testing.assert_array_equal(intake.inputs, take_in([GOOD], 3).inputs)


def test_a_pacemaker_is_remarked():
    assert codes(take_in([changed(paced=True)], 1).outcomes[0]) == {"paced"}


@pytest.mark.parametrize("twice", ["i", "Lead I", "DI", "\u2160", "\uff29", "MDC_ECG_LEAD_I"])
def test_two_leads_of_one_name_are_never_resolved_into_a_third(twice):
    record = decode_ecg(encode_ecg(changed(leads=(*LEADS[:2], twice, *LEADS[3:]))))
    (refusal,) = take_in([record], 1).outcomes
    assert (refusal.wire_code, refusal.numbers["leads"]) == ("duplicate_lead", "I")


def test_what_the_device_or_the_reader_remarked_follows_the_gates_own_warnings():
    remarks = (Remark("library_warning", "two bytes were left"), Remark("electrode_off", "V3 was off"))
    quality, plain = take_in([changed(paced=True, remarks=remarks), changed(paced=True)], 1).outcomes
    assert quality.warnings[:-2] == plain.warnings
    assert [(warning.code, warning.detail) for warning in quality.warnings[-2:]] == [
        ("library_warning", "two bytes were left"),
        ("electrode_off", "V3 was off"),
    ]


def test_no_records_give_no_inputs():
    assert take_in([], 3).inputs.shape == (0, 3, 12, 2250)
    assert take_in([with_gap(0, 5000)], 3).inputs.shape == (0, 3, 12, 2250)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"sample_rate_hz": float("nan")}, "unsupported_rate"),
        ({"sample_rate_hz": 1e-300}, "unsupported_rate"),
        ({"sample_rate_hz": 1000.0}, "too_short"),
        ({"microvolts_per_step": 1e300}, "malformed_record"),
        ({"microvolts_per_step": float("inf")}, "malformed_record"),
        ({"microvolts_per_step": -5.0}, "malformed_record"),
        ({"microvolts_per_step": 5000.0}, "implausible_gain"),
        ({"microvolts_per_step": 1e-300}, "flat_lead"),
        ({"leads": ()}, "malformed_record"),
        ({"leads": (*LEADS[:11], "RESP")}, "missing_lead"),
        ({"leads": (*LEADS[:11], "v5")}, "duplicate_lead"),
        ({"leads": (*LEADS, "V7")}, "malformed_record"),
    ],
)
def test_impossible_records_are_refused_with_their_code(fields, code):
    good, refusal = take_in([GOOD, changed(**fields)], 1).outcomes
    assert isinstance(good, Quality)
    assert refusal.wire_code == code


hostile = st.builds(
    EcgRecord,
    record_id=st.just("hostile"),
    leads=st.one_of(st.just(LEADS), st.lists(st.sampled_from([*LEADS, "x", ""]), max_size=13).map(tuple)),
    sample_rate_hz=st.one_of(st.just(100.0), st.floats()),
    microvolts_per_step=st.one_of(st.just(5.0), st.floats()),
    samples=st.one_of(
        st.binary(max_size=200),
        st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).bytes(12 * 2 * 1000)),
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(hostile, max_size=4))
def test_whatever_comes_each_record_gets_an_outcome_and_the_good_one_its_crops(records):
    intake = take_in([*records, GOOD], 1)
    assert len(intake.outcomes) == len(records) + 1
    assert isinstance(intake.outcomes[-1], Quality)
    assert len(intake.inputs) == sum(isinstance(outcome, Quality) for outcome in intake.outcomes)
    assert np.isfinite(intake.inputs).all()


@needs_real_ecgs
def test_copies_in_mimic_layout_give_the_input_of_their_originals():
    with (ECGS / "labels.csv").open() as file:
        originals = {row["record"]: ECGS / f"{row['file']}.hea" for row in csv.DictReader(file)}
    with (ECGS / "mimic_format" / "record_list.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    for row in rows:
        original, copy = read_ecg(originals[row["source_record"]]), read_ecg(ECGS / f"mimic_format/{row['path']}.hea")
        assert copy.leads != original.leads  # MIMIC stores aVF before aVL
        assert copy.patient_id == row["subject_id"]
        expected, got = take_in([original], 3), take_in([copy], 3)
        assert isinstance(got.outcomes[0], Quality)
        # The copies are in steps of 5 µV: up to 2 µV, or 0.04 deviations, from the originals' steps of 1 µV.
        np.testing.assert_allclose(got.inputs, expected.inputs, atol=0.05, err_msg=row["source_record"])


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=160))
def test_ecgs_of_any_shape_are_answered_alone_as_among_neighbours(content):
    check_intake(content)


def test_the_part_that_was_screened_is_what_is_left_of_a_long_ecg_with_other_leads():
    steps = np.concatenate([np.tile(STEPS, (1, 3)), np.ones((2, 15_000))])
    steps[3, 200:900] = MISSING_SAMPLE
    long = changed(steps, leads=(*LEADS, "V7", "X"), remarks=(Remark("a_remark", "of the device"),))
    part = screened_part(long)
    assert (part.leads, part.n_samples, part.remarks) == (LEADS, 5000, ())
    assert part.samples == np.ascontiguousarray(steps[:12, 900:5900], "<i2").tobytes()
    assert screened_part(part) == part
    np.testing.assert_array_equal(usable_signals(part), usable_signals(long))


def test_only_what_is_accepted_is_measured():
    intake = take_in([with_gap(0, 5000), GOOD, SECOND], 1)
    assert intake.measurements == (*take_in([GOOD], 1).measurements, *take_in([SECOND], 1).measurements)
    assert [one.name for one in intake.measurements[0]] == list(UNITS)


def test_leads_that_were_computed_change_no_measurement():
    eight = [LEADS.index(name) for name in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")]
    derived = changed(STEPS[eight], leads=tuple(LEADS[row] for row in eight))
    assert take_in([derived], 1).measurements == take_in([GOOD], 1).measurements


def test_a_record_that_is_said_to_be_paced_has_a_rate_alone():
    ((rate, *others),) = take_in([changed(paced=True)], 1).measurements
    assert rate.value is not None
    assert {one.not_measurable for one in others} == {"paced"}
