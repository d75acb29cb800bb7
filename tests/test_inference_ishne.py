"""ISHNE Holter files: faults are missing samples, and codes have their meaning."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ishne_files import SPECS, ishne
from needed import ECGS, needs_real_ecgs

from inference.intake import take_in
from inference.reading.ishne import read_ishne
from inference.reading.read_ecg import read_ecg
from schemas.codec import encode_ecg
from schemas.ecg_record import LEADS, MISSING_SAMPLE
from schemas.errors import UnreadableFile
from schemas.messages import Quality
from training.simulation.ecg import generate_ecgs

STEPS = np.frombuffer(next(generate_ecgs(1, 0)).samples, "<i2").reshape(12, -1)
"""10 s at 500 Hz, in steps of 5 µV, as `ishne` writes them."""
FAULT = -32768


def written(folder, *arguments, **options):
    path = folder / "holter.ecg"
    path.write_bytes(ishne(*arguments, **options))
    return path


def read(folder, *arguments, **options):
    return read_ecg(written(folder, *arguments, **options), UTC)


def refused(folder, *arguments, **options):
    with pytest.raises(UnreadableFile) as error:
        read(folder, *arguments, **options)
    return error.value.detail


def steps_of(record):
    return np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)


def verdict(record):
    (outcome,) = take_in([record], 1).outcomes
    return outcome


def codes(record):
    return {warning.code for warning in verdict(record).warnings}


def test_the_samples_are_those_of_the_file(tmp_path):
    record = read(tmp_path, STEPS)
    np.testing.assert_array_equal(steps_of(record), STEPS)
    assert (record.leads, record.sample_rate_hz, record.microvolts_per_step) == (LEADS, 500.0, 5.0)
    assert (record.remarks, codes(record)) == ((), set())


def test_the_value_of_a_lead_fault_is_a_missing_sample(tmp_path):
    faulty = STEPS.copy()
    faulty[:, 1000:1050] = FAULT
    record = read(tmp_path, faulty)
    assert (steps_of(record)[:, 1000:1050] == MISSING_SAMPLE).all()
    assert (steps_of(record) == MISSING_SAMPLE).sum() == 12 * 50
    assert codes(record) == {"short_nan_run"}


def test_a_lead_that_is_at_fault_for_long_is_refused(tmp_path):
    faulty = STEPS.copy()
    faulty[8, 1000:2000] = FAULT
    assert verdict(read(tmp_path, faulty)).wire_code == "nan_run"


def test_a_holter_of_which_a_later_stretch_is_whole_is_screened_there(tmp_path):
    faulty = np.concatenate([STEPS, STEPS], axis=1)
    faulty[:, 500:1500] = FAULT
    record = read(tmp_path, faulty)
    assert isinstance(verdict(record), Quality)
    assert "gap_left_out" in codes(record)


def test_each_lead_has_a_step_of_its_own(tmp_path):
    record = read(tmp_path, STEPS, steps_nv=[5000] * 6 + [2500] * 6)
    halves = np.repeat([1.0, 0.5], 6)[:, None]
    found = steps_of(record) * record.microvolts_per_step
    np.testing.assert_allclose(found, STEPS * halves * 5, atol=record.microvolts_per_step / 2 + 1e-9)


@pytest.mark.parametrize("step_nv", [0, -9, -1])
def test_a_lead_without_a_scale_is_refused(tmp_path, step_nv):
    assert "so it has no scale" in refused(tmp_path, STEPS, steps_nv=step_nv)


def test_leads_are_known_by_their_codes_and_not_by_their_places(tmp_path):
    record = read(tmp_path, STEPS[::-1], specs=SPECS[::-1])
    assert record.leads == LEADS[::-1]
    assert isinstance(verdict(record), Quality)


def test_orthogonal_and_other_holter_leads_are_none_of_the_twelve(tmp_path):
    detail = refused(tmp_path, STEPS[:3], specs=(2, 3, 4))
    assert "none of the 12 standard leads" in detail
    assert "bipolar X" in detail
    assert "lead of code 77" in refused(tmp_path, STEPS[:3], specs=(77, 0, 17))


def test_what_the_recorder_says_of_a_lead_is_told(tmp_path):
    record = read(tmp_path, STEPS, qualities=[1, 2, 0, 1, 1, 1, 3, 4, 1, 1, 1, 1])
    assert [remark.detail for remark in record.remarks] == [
        "the recorder marked lead II: intermittent noise",
        "the recorder marked lead V1: frequent noise",
        "the recorder marked lead V2: intermittent disconnection",
    ]
    assert codes(record) == {"doubtful_lead"}


def test_a_lead_that_was_often_disconnected_is_refused(tmp_path):
    assert "marked lead V3 as often disconnected" in refused(tmp_path, STEPS, qualities=[1] * 8 + [5, 1, 1, 1])


@pytest.mark.parametrize(
    ("code", "paced"), [(0, False), (1, True), (2, True), (3, True), (4, True), (5, True), (-9, None), (6, None)]
)
def test_the_code_of_the_pacemaker_has_its_meaning(tmp_path, code, paced):
    assert read(tmp_path, STEPS, pacemaker=code).paced is paced


@pytest.mark.parametrize(("code", "sex"), [(0, None), (1, "male"), (2, "female"), (-9, None)])
def test_the_sex_is_taken_where_it_is_known(tmp_path, code, sex):
    assert read(tmp_path, STEPS, sex=code).sex == sex


def test_no_name_and_no_birth_date_is_taken(tmp_path):
    record = read(tmp_path, STEPS)
    assert (record.patient_id, record.device_id, record.age_years) == (None, None, None)
    assert b"Roe" not in encode_ecg(record)


def test_date_and_time_are_when_it_was_recorded(tmp_path):
    assert read(tmp_path, STEPS).recorded_at == datetime(2020, 11, 16, 21, 44, 39, tzinfo=UTC)
    assert read(tmp_path, STEPS, date=(-9, -9, -9)).recorded_at is None
    assert read(tmp_path, STEPS, time=(25, 0, 0)).recorded_at is None


@pytest.mark.parametrize("text", [b"", b"a comment", b"x" * 5000])
def test_a_text_may_stand_before_the_samples(tmp_path, text):
    record = read(tmp_path, STEPS, text=text)
    np.testing.assert_array_equal(steps_of(record), STEPS)
    assert record.remarks == ()


def test_a_wrong_place_of_the_samples_is_not_followed(tmp_path):
    np.testing.assert_array_equal(steps_of(read(tmp_path, STEPS, text=b"text", ecg_place=0)), STEPS)


def test_a_place_that_alone_fits_the_number_of_samples_is_followed(tmp_path):
    content = ishne(STEPS, ecg_place=530, checksum=0)
    path = tmp_path / "holter.ecg"
    path.write_bytes(content[:522] + b"\x01" * 8 + content[522:])
    np.testing.assert_array_equal(steps_of(read_ecg(path)), STEPS)


def test_samples_may_be_counted_a_lead_or_all_together(tmp_path):
    assert read(tmp_path, STEPS, announced=STEPS.size).remarks == ()


def test_a_file_that_is_cut_short_is_told_and_its_whole_samples_are_read(tmp_path):
    path = written(tmp_path, STEPS)
    path.write_bytes(path.read_bytes()[:-1001])
    record = read_ecg(path)
    np.testing.assert_array_equal(steps_of(record), STEPS[:, : record.n_samples])
    assert [remark.code for remark in record.remarks] == ["file_length"]
    assert record.n_samples == 5000 - 42


def test_a_wrong_checksum_is_told(tmp_path):
    assert [remark.code for remark in read(tmp_path, STEPS, checksum=12345).remarks] == ["file_checksum"]
    assert read(tmp_path, STEPS, checksum=0).remarks == ()


@pytest.mark.parametrize("rate_hz", [0, -500])
def test_a_rate_that_cannot_be_is_refused(tmp_path, rate_hz):
    assert f"at {rate_hz} Hz" in refused(tmp_path, STEPS, rate_hz=rate_hz)


@pytest.mark.parametrize("length", [8, 100, 521, 522, 540])
def test_a_header_without_samples_is_refused(tmp_path, length):
    path = tmp_path / "holter.ecg"
    path.write_bytes(ishne(STEPS)[:length])
    with pytest.raises(UnreadableFile, match="was taken for an ISHNE Holter file"):
        read_ecg(path)


def test_a_file_of_annotations_is_named(tmp_path):
    assert "file of annotations" in refused(tmp_path, STEPS, magic=b"ANN  1.0")


SMALL = ishne(STEPS[:, :100])


@given(place=st.integers(8, 600), value=st.binary(min_size=1, max_size=8), length=st.integers(8, len(SMALL)))
@settings(max_examples=300)
def test_a_changed_file_is_read_or_refused_in_words(tmp_path_factory, place, value, length):
    content = (SMALL[:place] + value + SMALL[place + len(value) :])[:length]
    try:
        recording = read_ishne(content, tmp_path_factory.getbasetemp() / "holter.ecg")
    except UnreadableFile:
        return
    assert sum(len(channel.millivolts) for part in recording.parts for channel in part.channels) <= len(content)


@needs_real_ecgs
def test_the_shared_file_with_a_fault_is_its_clean_twin_but_for_the_missing_samples():
    faulty, clean = (read_ecg(ECGS / "faults" / f"ishne_{name}.ecg") for name in ("lead_fault", "clean_twin"))
    missing = steps_of(faulty) == MISSING_SAMPLE
    assert missing.sum() == 12 * 25
    np.testing.assert_array_equal(steps_of(faulty)[~missing], steps_of(clean)[~missing])
    assert (codes(faulty), codes(clean)) == ({"short_nan_run"}, set())
