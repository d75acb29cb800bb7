"""Contec ECG90A files: eight leads, marks of electrodes that were off, and a header of which little is taken."""

from datetime import UTC, datetime

import numpy as np
import pytest
from contec_files import contec
from hypothesis import given, settings
from hypothesis import strategies as st
from needed import ECGS, needs_real_ecgs

from inference.intake import take_in
from inference.reading.contec import is_contec, read_contec
from inference.reading.read_ecg import read_ecg
from schemas.codec import encode_ecg
from schemas.ecg_record import LEADS, MISSING_SAMPLE
from schemas.errors import UnreadableFile
from schemas.messages import Quality
from training.simulation.ecg import generate_ecgs

STEPS = np.frombuffer(next(generate_ecgs(1, 0)).samples, "<i2").reshape(12, -1)
STORED = STEPS[[1, 2, 6, 7, 8, 9, 10, 11]].repeat(2, axis=1)
"""II, III, V1 to V6, 12.5 s at 800 Hz: a slow heart, in steps of 5 µV."""
FORMATS = ECGS / "more" / "formats"


def written(folder, *arguments, **options):
    path = folder / "0000050.ECG"
    path.write_bytes(contec(*arguments, **options))
    return path


def read(folder, *arguments, **options):
    return read_ecg(written(folder, *arguments, **options), UTC)


def steps_of(record):
    return np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)


def verdict(record):
    (outcome,) = take_in([record], 1).outcomes
    return outcome


def test_the_stored_leads_are_those_of_the_file_and_i_follows_from_two_of_them(tmp_path):
    record = read(tmp_path, STORED)
    assert record.leads == ("I", "II", "III", *LEADS[6:])
    assert (record.sample_rate_hz, record.microvolts_per_step) == (800.0, 5.0)
    np.testing.assert_array_equal(steps_of(record)[1:], STORED)
    np.testing.assert_array_equal(steps_of(record)[0], STORED[0] - STORED[1])


def test_it_is_screened_with_the_warning_that_the_format_is_not_published(tmp_path):
    quality = verdict(read(tmp_path, STORED))
    assert isinstance(quality, Quality)
    assert "unpublished_format" in {warning.code for warning in quality.warnings}


def test_the_value_of_an_electrode_that_is_off_is_a_missing_sample(tmp_path):
    off = STORED.copy()
    off[0, 100:140] = 0x6800 - 2048
    missing = steps_of(read(tmp_path, off)) == MISSING_SAMPLE
    assert missing[:2, 100:140].all()  # lead I needs it too
    assert missing.sum() == 80
    off[5] = 0x6800 - 2048
    assert verdict(read(tmp_path, off)).wire_code == "nan_run"


def test_of_the_header_time_age_and_sex_are_taken_and_no_name(tmp_path):
    record = read(tmp_path, STORED)
    assert record.recorded_at == datetime(2020, 11, 16, 21, 44, 39, tzinfo=UTC)
    assert (record.age_years, record.sex, record.patient_id) == (66.0, "female", None)
    assert b"Roe" not in encode_ecg(record)
    record = read(tmp_path, STORED, sex=255, age=0)
    assert (record.age_years, record.sex) == (None, None)


def test_a_file_without_its_end_is_told(tmp_path):
    record = read(tmp_path, STORED, end=b"\x07\x08\x09")
    np.testing.assert_array_equal(steps_of(record)[1:], STORED)
    assert "file_length" in {remark.code for remark in record.remarks}


def test_a_file_without_samples_is_refused(tmp_path):
    with pytest.raises(UnreadableFile, match="was taken for a Contec ECG90A file, but holds no sample"):
        read(tmp_path, STORED[:, :0])


@pytest.mark.parametrize("length", [0, 30, 42, 43, 58])
def test_a_header_that_is_cut_short_is_refused(tmp_path, length):
    with pytest.raises(UnreadableFile, match="holds no sample"):
        read_contec(contec(STORED)[:length], tmp_path / "0000050.ECG")


@pytest.mark.parametrize("time", [b"2020-13-16 21:44:39", b"16.11.2020 21:44:39", b"", b"2020-11-16T21:44:39"])
def test_what_has_no_time_in_its_place_is_not_taken_for_one(time):
    assert not is_contec(contec(STORED, time=time))


@given(content=st.binary(max_size=400))
@settings(max_examples=200)
def test_any_samples_are_read_or_refused_in_words(tmp_path_factory, content):
    head = contec(STORED[:, :0], end=b"")
    try:
        recording = read_contec(head + content, tmp_path_factory.getbasetemp() / "0000050.ECG")
    except UnreadableFile:
        return
    assert len(recording.parts[0].channels) == 9


@needs_real_ecgs
def test_the_shared_file_has_the_samples_of_its_twin_whose_scale_alone_is_another():
    own, twin = (read_ecg(FORMATS / f"contec_ecg90a_47s.{kind}", UTC) for kind in ("ECG", "edf"))
    content = (FORMATS / "contec_ecg90a_47s.edf").read_bytes()
    np.testing.assert_array_equal(steps_of(own)[:3], np.frombuffer(content[3328:], "<i2").reshape(-1, 12).T[:3])
    assert (own.recorded_at, own.n_samples, own.sample_rate_hz) == (twin.recorded_at, twin.n_samples, 800.0)
    assert verdict(own).wire_code == "nan_run"  # no chest electrode was on


@needs_real_ecgs
def test_the_shared_file_with_all_electrodes_is_screened():
    quality = verdict(read_ecg(FORMATS / "contec_ecg90a_2.ECG", UTC))
    assert {warning.code for warning in quality.warnings} == {"unpublished_format", "derived_leads", "longer_than_10s"}
