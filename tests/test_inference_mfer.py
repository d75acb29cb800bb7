"""MFER files: every frame is kept with its time, and definitions mean what the standard says."""

import struct
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mfer_files import CODES, PREAMBLE, attributes, frame, mfer, patient, scaled, tlv

from inference.intake import take_in
from inference.reading.mfer import read_mfer
from inference.reading.mfer_definitions import is_mfer
from inference.reading.read_ecg import read_ecg
from schemas.codec import encode_ecg
from schemas.ecg_record import LEADS, MISSING_SAMPLE
from schemas.errors import UnreadableFile
from schemas.messages import Quality
from training.simulation.ecg import generate_ecgs

STEPS = np.frombuffer(next(generate_ecgs(1, 0)).samples, "<i2").reshape(12, -1)
"""10 s at 500 Hz, in steps of 5 µV."""
LIMBS, CHEST = CODES[:6], CODES[6:]


def written(folder, content):
    path = folder / "ecg.mwf"
    path.write_bytes(content)
    return path


def read(folder, content):
    return read_ecg(written(folder, content), UTC)


def refused(folder, content):
    with pytest.raises(UnreadableFile) as error:
        read(folder, content)
    return error.value.detail


def millivolts(record):
    steps = np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)
    return np.where(steps == MISSING_SAMPLE, np.nan, steps * record.microvolts_per_step / 1e3)


def same(record, steps=STEPS):
    np.testing.assert_allclose(millivolts(record), steps * 0.005, atol=record.microvolts_per_step / 2e3)


def verdict(record):
    (outcome,) = take_in([record], 1).outcomes
    return outcome


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("blocks", [1, 10, 5000])
@pytest.mark.parametrize("indefinite", [False, True])
def test_samples_are_read_in_both_byte_orders_and_any_layout(tmp_path, order, blocks, indefinite):
    record = read(tmp_path, mfer(STEPS, order=order, blocks=blocks, indefinite=indefinite))
    same(record)
    assert (record.leads, record.sample_rate_hz, record.microvolts_per_step) == (LEADS, 500.0, 5.0)
    assert record.remarks == ()
    assert isinstance(verdict(record), Quality)


@pytest.mark.parametrize(("kind", "code"), [("i2", 0), ("i4", 2), ("f4", 7), ("f8", 8)])
def test_every_type_of_signed_samples_is_read(tmp_path, kind, code):
    same(read(tmp_path, mfer(STEPS, kind=kind, type_code=code)))


def test_an_offset_is_added_before_the_scale(tmp_path):
    shifted = (STEPS + 2048).astype(np.uint16)
    same(read(tmp_path, mfer(shifted, kind="i2", offset=-2048)))


def test_the_number_of_sequences_may_be_left_out(tmp_path):
    same(read(tmp_path, mfer(STEPS, sequences=0)))


@pytest.mark.parametrize(
    "interval", [scaled("<", 0, 0, 500), scaled("<", 1, -3, 2), scaled("<", 1, -6, 2000), scaled("<", 0, 2, 5)]
)
def test_a_rate_may_be_written_as_a_rate_or_as_an_interval(tmp_path, interval):
    assert read(tmp_path, mfer(STEPS, interval=interval)).sample_rate_hz == pytest.approx(500)


def test_a_rate_that_is_no_whole_number_is_kept(tmp_path):
    assert read(tmp_path, mfer(STEPS, interval=scaled("<", 1, -4, 21))).sample_rate_hz == pytest.approx(1 / 0.0021)


def test_where_no_rate_is_given_that_of_the_standard_is_taken_and_told(tmp_path):
    record = read(tmp_path, mfer(np.tile(STEPS, 2), interval=b""))
    assert record.sample_rate_hz == 1000.0
    assert [remark.code for remark in record.remarks] == ["assumed_rate"]


@pytest.mark.parametrize("interval", [scaled("<", 0, 0, 0), scaled("<", 2, -3, 2), scaled("<", 1, -3, -2), b"\x00"])
def test_a_rate_that_cannot_be_is_refused(tmp_path, interval):
    assert "no rate that can be" in refused(tmp_path, mfer(STEPS, interval=interval))


def test_the_value_that_stands_for_none_is_a_missing_sample(tmp_path):
    steps = STEPS.copy()
    steps[3, 700:740] = -32768
    record = read(tmp_path, mfer(steps, null=-32768))
    missing = np.isnan(millivolts(record))
    assert missing[3, 700:740].all()
    assert missing.sum() == 40
    assert {warning.code for warning in verdict(record).warnings} == {"short_nan_run"}


@pytest.mark.parametrize(("step", "why"), [(None, "without a scale"), ((1, 0, 5), "no voltage (code 1)")])
def test_what_is_not_in_volts_is_refused(tmp_path, step, why):
    assert why in refused(tmp_path, mfer(STEPS, step=step))


def test_each_channel_may_have_a_scale_of_its_own(tmp_path):
    fine = STEPS.copy()
    fine[6:] *= 2
    content = mfer(fine, each=lambda number: [tlv(0x0C, scaled("<", 0, -7, 25))] if number >= 6 else [])
    same(read(tmp_path, content))


def test_leads_are_known_by_their_codes_and_others_are_named(tmp_path):
    record = read(tmp_path, mfer(STEPS[::-1], codes=CODES[::-1]))
    assert record.leads == LEADS[::-1]
    detail = refused(tmp_path, mfer(STEPS[:2], codes=(16, 20)))
    assert "none of the 12 standard leads" in detail
    assert "lead of code 16" in detail


def test_frames_that_follow_each_other_are_one_recording(tmp_path):
    halves = [frame(STEPS[:, :2500]), frame(STEPS[:, 2500:], pointer=2500)]
    same(read(tmp_path, PREAMBLE + b"".join(halves)))
    same(read(tmp_path, PREAMBLE + frame(STEPS[:, :2500]) + frame(STEPS[:, 2500:])))


def test_a_gap_between_frames_is_not_closed(tmp_path):
    detail = refused(tmp_path, PREAMBLE + frame(STEPS[:, :2500]) + frame(STEPS[:, 2500:], pointer=30000))
    assert "frame 2" in detail
    assert "60 s later" in detail


def test_frames_of_other_leads_at_the_same_time_are_put_together(tmp_path):
    halves = frame(STEPS[:6], codes=LIMBS, pointer=0) + frame(STEPS[6:], codes=CHEST, pointer=0)
    same(read(tmp_path, PREAMBLE + halves))


def test_leads_that_were_recorded_one_after_another_are_refused(tmp_path):
    halves = frame(STEPS[:6], codes=LIMBS) + frame(STEPS[6:], codes=CHEST)
    assert "were not recorded at one time" in refused(tmp_path, PREAMBLE + halves)


def test_a_dominant_beat_does_not_stand_for_the_recording(tmp_path):
    same(read(tmp_path, PREAMBLE + frame(STEPS[:, :500], waveform=9) + frame(STEPS)))


def test_a_channel_of_states_is_no_lead(tmp_path):
    steps = np.concatenate([STEPS, STEPS[:1]])
    content = mfer(steps, codes=(*CODES, 4160), each=lambda number: [tlv(0x0A, b"\x04")] if number == 12 else [])
    assert read(tmp_path, content).leads == LEADS


def test_a_file_that_ends_within_its_samples_is_told(tmp_path):
    content = mfer(STEPS, blocks=5000)
    record = read(tmp_path, content[: len(content) - 2 - 24 * 100 - 6])
    assert [remark.code for remark in record.remarks] == ["file_length"]
    lead_i, v6 = millivolts(record)[[0, 11]]
    assert (np.isnan(lead_i).sum(), np.isnan(v6).sum()) == (0, 1)
    assert record.n_samples == 5000 - 100


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (mfer(STEPS, more=tlv(0x0E, b"\x01\x00")), "samples are compressed"),
        (mfer(STEPS, type_code=9), "of type 9"),
        (PREAMBLE + patient(), "holds no samples"),
        (PREAMBLE + tlv(0x04, bytes(9)), "a value of 9 bytes"),
        (PREAMBLE + tlv(0x05, b"\xff\xff\x00\x00") + tlv(0x1E, bytes(4)), "4294901760 channels"),
        (PREAMBLE + tlv(0x04, b"\xff\xff\xff\xff") + tlv(0x1E, bytes(4)), "one sequence alone takes 8589934590"),
        (PREAMBLE + tlv(0x04, b"\x00") + tlv(0x1E, bytes(4)), "one sequence alone takes 0"),
        (PREAMBLE + b"\x3f\x00\x80" * 10, "too deep in each other"),
        (PREAMBLE + b"\x0a\x80", "has no length"),
        (PREAMBLE + b"\x0a\x88" + bytes(8), "a length of 8 bytes"),
    ],
)
def test_what_cannot_be_is_refused_in_words(tmp_path, content, words):
    detail = refused(tmp_path, content)
    assert "was taken for MFER, but" in detail
    assert words in detail


def test_of_the_patient_age_and_sex_are_taken_and_no_name_and_no_birth_date(tmp_path):
    for order in "<>":
        record = read(tmp_path, mfer(STEPS, order=order))
        assert (record.age_years, record.sex, record.patient_id) == (66.0, "female", None)
        assert record.recorded_at == datetime(2020, 11, 16, 21, 44, 39, 250000, tzinfo=UTC)
        assert not any(words in encode_ecg(record) for words in (b"Roe", b"12345"))
    record = read(tmp_path, PREAMBLE + patient(age=0, days=0, sex=0, time=(2020, 13, 1, 0, 0, 0)) + frame(STEPS))
    assert (record.age_years, record.sex, record.recorded_at) == (None, None, None)


def test_a_skew_of_a_channel_is_when_it_begins(tmp_path):
    skew = struct.pack("<I", 500_000_000)
    recording = read_mfer(mfer(STEPS, each=lambda number: [tlv(0x43, skew)] if number == 5 else []), tmp_path)
    assert [channel.start_s for channel in recording.parts[0].channels] == [0.0] * 5 + [0.5] + [0.0] * 6


def test_a_file_without_a_preamble_is_known_by_its_definitions():
    assert is_mfer(frame(STEPS)[:4096])
    assert is_mfer(PREAMBLE)
    others = (
        b"",
        b"\x00" * 200,
        b"<?xml version='1.0'?>",
        b'{"a": 1}',
        bytes(range(256)),
        b"\x08\x00\x05\x00\x0a\x00\x00\x00",
    )
    assert not any(is_mfer(other) for other in others)


def test_attributes_of_a_channel_end_with_two_zero_bytes_where_they_have_no_length(tmp_path):
    content = PREAMBLE + frame(STEPS, indefinite=True, more=attributes(0, tlv(0x16, b"a note"), indefinite=True))
    same(read(tmp_path, content))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("blocks", "pointer"), [(1, None), (10, 0), (100, 0)])
def test_another_reader_of_the_standard_finds_the_same(tmp_path, order, blocks, pointer):
    from ecgdatakit import FileParser

    path = written(tmp_path, mfer(STEPS, order=order, blocks=blocks, pointer=pointer, null=-32768, offset=7))
    theirs = FileParser.parse(path)
    ours = read_mfer(path.read_bytes(), path)
    assert [lead.label for lead in theirs.leads] == [channel.name for channel in ours.parts[0].channels]
    for lead, channel in zip(theirs.leads, ours.parts[0].channels, strict=True):
        np.testing.assert_allclose(channel.millivolts, lead.samples, atol=1e-9)
    assert (theirs.recording.date, theirs.patient.age) == (ours.recorded_at, ours.age_years)


SMALL = mfer(STEPS[:, :40], blocks=2)


@given(place=st.integers(34, 300), value=st.binary(min_size=1, max_size=8), length=st.integers(34, len(SMALL)))
@settings(max_examples=500)
def test_a_changed_file_is_read_or_refused_in_words(tmp_path_factory, place, value, length):
    content = (SMALL[:place] + value + SMALL[place + len(value) :])[:length]
    try:
        recording = read_mfer(content, tmp_path_factory.getbasetemp() / "ecg.mwf")
    except UnreadableFile:
        return
    assert sum(len(channel.millivolts) for part in recording.parts for channel in part.channels) <= 4 * len(content)


@given(content=st.binary(max_size=300))
@settings(max_examples=500)
def test_any_definitions_are_read_or_refused_in_words(tmp_path_factory, content):
    is_mfer(content)
    try:
        read_mfer(PREAMBLE + content, tmp_path_factory.getbasetemp() / "ecg.mwf")
    except UnreadableFile:
        return
