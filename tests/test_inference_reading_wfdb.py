"""WFDB records are read as header(5) means them, or refused for what is in them."""

import gzip
import os
import tracemalloc
import unicodedata
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from needed import ECGS, needs_real_ecgs
from wfdb_records import GAIN, STEPS, millivolts, signal_line, write_header, write_record

from inference.intake import take_in
from inference.reading.content import MAX_FILE_BYTES
from inference.reading.read_ecg import read_ecg
from schemas.codec import decode_ecg, encode_ecg
from schemas.ecg_record import LEADS, MISSING_SAMPLE
from schemas.errors import UnreadableFile
from schemas.messages import Quality
from schemas.record_limits import MAX_SAMPLE_BYTES

FAULTS = ECGS / "faults" / "wfdb"


def refused(path):
    with pytest.raises(UnreadableFile) as error:
        read_ecg(path)
    assert "\n" not in error.value.detail
    return error.value.detail


def codes(record):
    return [remark.code for remark in record.remarks]


# The inputs of ../shared/data/ecg/faults/wfdb, each by its kind


@needs_real_ecgs
@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("no number of samples in the record line", "no_length"),
        ("0 samples in the record line", "length_zero"),
        ("a name that is not ASCII", "übung"),
    ],
)
def test_what_header_5_allows_has_the_samples_of_the_control(kind, file):
    control, record = read_ecg(FAULTS / "as_it_should_be.hea"), read_ecg(FAULTS / f"{file}.hea")
    assert (record.samples, record.leads, record.microvolts_per_step) == (control.samples, LEADS, 5.0), kind
    assert record.record_id == file
    assert isinstance(take_in([record], 1).outcomes[0], Quality)


@needs_real_ecgs
def test_a_negative_gain_turns_the_samples_over():
    control, record = read_ecg(FAULTS / "as_it_should_be.hea"), read_ecg(FAULTS / "negative_gain.hea")
    assert (record.samples, record.microvolts_per_step) == (control.samples, control.microvolts_per_step)


@needs_real_ecgs
def test_the_comment_not_paced_is_no_pacemaker():
    control, record = read_ecg(FAULTS / "as_it_should_be.hea"), read_ecg(FAULTS / "not_paced.hea")
    assert record.samples == control.samples
    assert (record.paced, record.age_years, record.sex) == (False, 61, "female")


@needs_real_ecgs
def test_signals_without_names_are_no_leads_and_the_error_says_how_to_name_them():
    said = refused(FAULTS / "no_description.hea")
    assert "names none of its 12 signals" in said
    assert "at the end of each signal's line, such as 'ecg.dat 16 200 16 0 0 0 0 II'" in said


# The same kinds, and others, on records that are written here


@pytest.mark.parametrize("length", ["", " 0", " 5000"])
def test_the_length_is_the_headers_or_the_files(tmp_path, length):
    assert read_ecg(write_record(tmp_path, length=length)).samples == STEPS.tobytes()


def test_of_files_of_different_lengths_the_shorter_one_counts_where_the_header_has_no_length(tmp_path):
    lines = [signal_line("a.dat" if place < 6 else "b.dat", lead) for place, lead in enumerate(LEADS)]
    (tmp_path / "a.dat").write_bytes(STEPS[:6].T.tobytes())
    (tmp_path / "b.dat").write_bytes(STEPS[6:, :4900].T.tobytes())
    record = read_ecg(write_header(tmp_path / "r.hea", "r 12 500", lines))
    assert record.samples == STEPS[:, :4900].tobytes()


@pytest.mark.parametrize("gain", ["", "0", "200", "200(0)", "200(0)/mV", "2e2", "200.(0.0)/MV", "200000/V", "0.2/uV"])
def test_a_gain_may_be_written_in_many_ways(tmp_path, gain):
    record = read_ecg(write_record(tmp_path, gain=gain, rest="16 0 0 0 0" if gain else ""))
    assert record.microvolts_per_step == pytest.approx(5.0)
    assert record.samples == STEPS.tobytes()
    assert codes(record) == (["uncalibrated"] if gain in {"", "0"} else [])


def test_the_adc_zero_is_the_baseline_where_there_is_none(tmp_path):
    record = read_ecg(write_record(tmp_path, digital=STEPS + 7, gain="200", rest="16 7 0 0 0"))
    assert record.samples == STEPS.tobytes()


def test_one_negative_gain_turns_its_signal_alone(tmp_path):
    turned = STEPS.copy()
    turned[1] = 100 - turned[1]
    lines = [signal_line("r.dat", lead, gain="-200(100)/mV" if lead == "II" else GAIN) for lead in LEADS]
    (tmp_path / "r.dat").write_bytes(turned.T.tobytes())
    assert read_ecg(write_header(tmp_path / "r.hea", "r 12 500 5000", lines)).samples == STEPS.tobytes()


@pytest.mark.parametrize("unit", ["bpm", "NU", "adu", "mmHg", "mv/s"])
def test_a_lead_in_a_unit_that_is_no_voltage_is_never_taken_as_millivolts(tmp_path, unit):
    lines = [signal_line("r.dat", lead, gain=f"200/{unit}" if lead == "V3" else GAIN) for lead in LEADS]
    (tmp_path / "r.dat").write_bytes(STEPS.T.tobytes())
    said = refused(write_header(tmp_path / "r.hea", "r 12 500 5000", lines))
    assert "V3" in said
    assert f"in {unit!r}, which is no known unit of voltage" in said


def test_a_lead_in_an_unknown_unit_is_left_out_and_told_where_it_can_be_derived(tmp_path):
    lines = [signal_line("r.dat", lead, gain="200/NU" if lead == "aVF" else GAIN) for lead in LEADS]
    (tmp_path / "r.dat").write_bytes(STEPS.T.tobytes())
    record = read_ecg(write_header(tmp_path / "r.hea", "r 12 500 5000", lines))
    assert record.leads == tuple(lead for lead in LEADS if lead != "aVF")
    assert [(remark.code, "aVF" in remark.detail) for remark in record.remarks] == [("unknown_unit", True)]


def test_two_signals_with_one_name_are_not_resolved(tmp_path):
    leads = ["V1" if lead == "V2" else lead for lead in LEADS]
    said = refused(write_record(tmp_path, leads=leads))
    assert "V2" in said or "V1" in said


@pytest.mark.parametrize("places", [(), (5,), (0, 7, 11)])
def test_a_skew_moves_a_lead_to_its_time(tmp_path, places):
    late = np.stack([np.roll(row, 20) if place in places else row for place, row in enumerate(STEPS)])
    lines = [signal_line("r.dat", lead, fmt="16:20" if n in places else "16") for n, lead in enumerate(LEADS)]
    (tmp_path / "r.dat").write_bytes(late.T.tobytes())
    record = read_ecg(write_header(tmp_path / "r.hea", "r 12 500 5000", lines))
    expected = STEPS[:, : 4980 if places else 5000]
    assert record.samples == expected.tobytes()
    assert codes(record) == (["leads_aligned"] if places else [])


def test_several_samples_a_frame_are_samples_at_a_higher_rate(tmp_path):
    frames = STEPS.reshape(12, 1000, 5).transpose(1, 0, 2)
    (tmp_path / "r.dat").write_bytes(frames.tobytes())
    lines = [signal_line("r.dat", lead, fmt="16x5") for lead in LEADS]
    record = read_ecg(write_header(tmp_path / "r.hea", "r 12 100 1000", lines))
    assert (record.samples, record.sample_rate_hz) == (STEPS.tobytes(), 500)


def test_of_signals_at_several_rates_those_of_one_rate_make_the_ecg(tmp_path):
    frames = np.concatenate([STEPS.reshape(12, 1000, 5).transpose(1, 0, 2).reshape(1000, 60), np.ones((1000, 2))], 1)
    (tmp_path / "r.dat").write_bytes(frames.astype("<i2").tobytes())
    lines = [signal_line("r.dat", lead, fmt="16x5") for lead in LEADS]
    slow = [signal_line("r.dat", "RESP", gain="10/NU"), signal_line("r.dat", "III")]
    record = read_ecg(write_header(tmp_path / "r.hea", "r 14 100 1000", [*lines, *slow]))
    assert (record.samples, record.leads) == (STEPS.tobytes(), LEADS)


@pytest.mark.parametrize(
    ("number", "mark", "stored"),
    [
        ("16", -32768, lambda row: row.astype("<i2").tobytes()),
        ("61", -32768, lambda row: row.astype(">i2").tobytes()),
        ("160", -32768, lambda row: (row + 32768).astype("<u2").tobytes()),
        ("24", -(2**23), lambda row: np.frombuffer(row.astype("<i4").tobytes(), "u1").reshape(-1, 4)[:, :3].tobytes()),
        ("32", -(2**31), lambda row: row.astype("<i4").tobytes()),
        ("80", -128, lambda row: (row + 128).astype("u1").tobytes()),
    ],
)
def test_the_mark_of_a_missing_sample_is_a_missing_sample_in_each_format(tmp_path, number, mark, stored):
    digital = (STEPS // 8).clip(-127, 127).astype(np.int64) if number == "80" else STEPS.astype(np.int64)
    digital[7, 100:110] = mark
    (tmp_path / "r.dat").write_bytes(stored(digital.T.ravel()))
    lines = [signal_line("r.dat", lead, fmt=number) for lead in LEADS]
    found = np.frombuffer(read_ecg(write_header(tmp_path / "r.hea", "r 12 500 5000", lines)).samples, "<i2")
    expected = np.where(digital == mark, MISSING_SAMPLE, digital)
    np.testing.assert_array_equal(found.reshape(12, -1), expected)


def test_a_byte_offset_is_skipped(tmp_path):
    header = write_record(tmp_path, fmt="16+24")
    (tmp_path / "100.dat").write_bytes(b"MATLAB header, 24 bytes." + STEPS.T.tobytes())
    assert read_ecg(header).samples == STEPS.tobytes()


@pytest.mark.parametrize(
    ("end", "before"), [("\r\n", ""), ("\r", ""), ("\n", "# a comment first\n\n  # and another\n")]
)
def test_lines_may_end_and_comments_may_stand_anywhere(tmp_path, end, before):
    header = write_record(tmp_path)
    text = before + header.read_text() + "# Age: 50\n"
    header.write_bytes(text.replace("\n", end).encode())
    record = read_ecg(header)
    assert (record.samples, record.age_years) == (STEPS.tobytes(), 50)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_names_and_comments_may_lie_beyond_ascii(tmp_path, encoding):
    folder = tmp_path / "Lücke 心电图"
    folder.mkdir()
    (folder / "Müller.dat").write_bytes(STEPS.T.tobytes())
    lines = [signal_line("Müller.dat", lead) for lead in LEADS]
    header = write_header(
        folder / "Müller.hea", "Müller 12 500 5000", lines, ["Größe: 1", "Age: 50"], encoding=encoding
    )
    record = read_ecg(header)
    assert (record.samples, record.record_id, record.age_years) == (STEPS.tobytes(), "Müller", 50)


@pytest.mark.parametrize(("in_header", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_one_name_in_two_forms_of_unicode_is_one_name(tmp_path, in_header, on_disk):
    (tmp_path / unicodedata.normalize(on_disk, "übung.dat")).write_bytes(STEPS.T.tobytes())
    name = unicodedata.normalize(in_header, "übung")
    lines = [signal_line(f"{name}.dat", lead) for lead in LEADS]
    assert read_ecg(write_header(tmp_path / "r.hea", f"{name} 12 500 5000", lines)).samples == STEPS.tobytes()


@pytest.mark.parametrize("compressed", [[".hea"], [".dat"], [".hea", ".dat"]])
def test_a_header_and_its_signal_file_may_be_compressed(tmp_path, compressed):
    write_record(tmp_path)
    for suffix in compressed:
        path = tmp_path / f"100{suffix}"
        (tmp_path / f"100{suffix}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    record = read_ecg(tmp_path / ("100.hea.gz" if ".hea" in compressed else "100.hea"))
    assert (record.samples, record.record_id) == (STEPS.tobytes(), "100")


@pytest.mark.parametrize("length", [" 5000", ""])
def test_a_signal_file_that_is_compressed_in_several_pieces_is_read_to_its_end(tmp_path, length):
    header = write_record(tmp_path, length=length)
    stored = STEPS.T.tobytes()
    pieces = (stored[start : start + 50_000] for start in range(0, len(stored), 50_000))
    (tmp_path / "100.dat.gz").write_bytes(b"".join(map(gzip.compress, pieces)))
    (tmp_path / "100.dat").unlink()
    assert read_ecg(header).samples == STEPS.tobytes()


@pytest.mark.parametrize("elsewhere", ["../other/100.dat", "/etc/hostname", "a/../../100.dat"])
def test_a_header_makes_us_read_nothing_outside_its_folder(tmp_path, elsewhere):
    (tmp_path / "other").mkdir()
    (tmp_path / "ecg" / "a").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "other"):
        (folder / "100.dat").write_bytes(STEPS.T.tobytes())
    lines = [signal_line(elsewhere, lead) for lead in LEADS]
    said = refused(write_header(tmp_path / "ecg" / "r.hea", "r 12 500 5000", lines))
    assert f"{elsewhere!r}, which lies outside the header's folder: put the file beside the header" in said


def test_a_signal_file_may_lie_in_a_folder_below(tmp_path):
    (tmp_path / "signals").mkdir()
    (tmp_path / "signals" / "r.dat").write_bytes(STEPS.T.tobytes())
    lines = [signal_line("signals/r.dat", lead) for lead in LEADS]
    assert read_ecg(write_header(tmp_path / "r.hea", "r 12 500 5000", lines)).samples == STEPS.tobytes()


@pytest.mark.parametrize(
    ("named", "on_disk"),
    [("r.dat", "r.DAT"), ("r.dat", "R.DAT"), ("R.DAT", "r.dat"), ("below/r.dat", "below/R.dat"), ("r.dat", "R.DAT.GZ")],
)
def test_a_name_in_other_capitals_is_the_same_name_where_one_file_has_it(tmp_path, named, on_disk):
    (tmp_path / "below").mkdir()
    stored = STEPS.T.tobytes()
    (tmp_path / on_disk).write_bytes(gzip.compress(stored) if on_disk.endswith(".GZ") else stored)
    header = write_header(tmp_path / "r.hea", "r 12 500 5000", [signal_line(named, lead) for lead in LEADS])
    assert read_ecg(header).samples == STEPS.tobytes()


def test_of_two_names_that_differ_in_capitals_neither_is_guessed(tmp_path):
    for name in ("r.DAT", "R.dat"):
        (tmp_path / name).write_bytes(STEPS.T.tobytes())
    header = write_header(tmp_path / "r.hea", "r 12 500 5000", [signal_line("r.dat", lead) for lead in LEADS])
    assert "'r.dat', which is not there" in refused(header)


@pytest.mark.parametrize("header", ["r.HEA", "r.hea.gz"])
@pytest.mark.parametrize("named", ["r", "r.dat", "r.DAT"])
def test_a_record_is_found_whether_its_header_is_in_capitals_or_compressed(tmp_path, header, named):
    plain = write_record(tmp_path, "r")
    content = plain.read_bytes()
    plain.unlink()
    (tmp_path / header).write_bytes(gzip.compress(content) if header.endswith("gz") else content)
    record = read_ecg(tmp_path / named)
    assert (record.samples, record.record_id) == (STEPS.tobytes(), "r")


@pytest.mark.parametrize("name", ["pipe", "-", "x" * 300, "nul\x00"])
def test_what_is_no_file_is_not_read(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    lines = [signal_line(name, lead) for lead in LEADS]
    assert "which is not there" in refused(write_header(tmp_path / "r.hea", "r 12 500 5000", lines))


@pytest.mark.parametrize(
    ("record_line", "lines", "said"),
    [
        ("r 0 500 5000", [], "it describes no signal, as the header of annotations does"),
        ("r", [], "its first line is no record line, such as '100 12 500 5000'"),
        ("Patient record", [], "its first line is no record line"),
        ("r -1 500", [], "its first line is no record line"),
        ("r 12 fast", [], "the rate as 'fast': write the frames a second, such as 500"),
        ("r 12 0 5000", [], "the rate as '0'"),
        ("r 12 1e400 5000", [], "the rate as '1e400'"),
        ("r 2 500 5000", ["r.dat 16"], "announces 2 signals, but it has lines for 1 alone"),
        ("r 1 500 5000", ["r.dat"], "'r.dat' is no signal line: a signal file and its format are needed"),
        ("r 1 500 5000", ["r.dat 16x0 200 I"], "is no signal line"),
        ("r 1 500 5000", ["r.dat 16 200(0 16 0 0 0 0 I"], "'200(0' is no gain, such as 200(0)/mV"),
        ("r 1 500 5000", ["r.dat 16 1e300 16 0 0 0 0 I"], "that of no ECG"),
        ("r 1 500 5000", ["r.dat 17 200 16 0 0 0 0 I"], "format 17, which signal(5) does not know: it knows 8, 16, 24"),
        ("r 1 500 5000", ["~ 0 200 16 0 0 0 0 I"], "it names no signal file for its leads"),
        (
            "r 3 500 5000",
            ["r.dat 16 200 16 0 0 0 0 I", "s.dat 16 200 16 0 0 0 0 II", "r.dat 16 200 16 0 0 0 0 III"],
            "do not follow each other",
        ),
        (
            "r 2 500 5000",
            ["r.dat 16 200 16 0 0 0 0 I", "r.dat 212 200 16 0 0 0 0 II"],
            "differ in format or byte offset",
        ),
        ("r 1 500 5000", ["r.dat 16 200 16 0 0 0 0 I"], "announces 5000 frames, but r.dat holds 5: copy"),
        ("r 1 500 5000", ["r.dat 16 200 16 0 0 0 0 RESP"], "holds none of the 12 standard leads"),
        ("r/1 12 500 5000", ["r 5000"], "has segments itself"),
        ("r/1 12 500 5000", ["s 5000"], "the segment header 's.hea', which is not there"),
        ("r/1 12 500 5000", ["../s 5000"], "lies outside the header's folder"),
        ("r/1 12 500 5000", ["s"], "'s' is no segment line"),
        ("r/2 12 500 5000", ["s 5000"], "announces 2 segments, but it has lines for 1 alone"),
    ],
)
def test_a_header_that_cannot_be_meant_is_refused_for_what_is_in_it(tmp_path, record_line, lines, said):
    (tmp_path / "r.dat").write_bytes(bytes(10))
    assert said in refused(write_header(tmp_path / "r.hea", record_line, lines))


def test_an_empty_header_and_a_huge_one_are_refused(tmp_path):
    (tmp_path / "r.hea").write_bytes(b"# only a comment\n")
    assert "it has no record line" in refused(tmp_path / "r.hea")
    (tmp_path / "r.hea").write_bytes(b"# a comment\n" * 100_000)
    assert "it has more than 1 MiB" in refused(tmp_path / "r.hea")


def test_a_checksum_that_is_wrong_is_told_and_one_that_is_right_or_not_given_is_not(tmp_path):
    sums = STEPS.sum(axis=1, dtype=np.int64)
    for name, offset in (("right", 0), ("unsigned", 65536), ("wrong", 1)):
        lines = [
            signal_line("r.dat", lead, rest=f"16 0 0 {(total + 32768) % 65536 - 32768 + offset} 0")
            for lead, total in zip(LEADS, sums.tolist(), strict=True)
        ]
        (tmp_path / "r.dat").write_bytes(STEPS.T.tobytes())
        record = read_ecg(write_header(tmp_path / f"{name}.hea", f"{name} 12 500 5000", lines))
        assert codes(record) == (["file_checksum"] if name == "wrong" else [])
    assert "has another checksum of I, II, III, aVR" in record.remarks[0].detail


@pytest.mark.parametrize(
    ("moment", "read"),
    [
        (" 08:05:03 02/01/2180", datetime(2180, 1, 2, 8, 5, 3, tzinfo=UTC)),
        (" 8:5:3.25 2/1/1999", datetime(1999, 1, 2, 8, 5, 3, 250_000, tzinfo=UTC)),
        (" 05-May-2020 14:50:55", datetime(2020, 5, 5, 14, 50, 55, tzinfo=UTC)),
        (" 08:05:03", None),
        (" 0:0:0 0/0/0", None),
        (" 08:05:03 31/02/1999", None),
        (" 25:05:03 01/02/1999", None),
        (" tomorrow at noon", None),
        ("", None),
    ],
)
def test_the_time_of_recording_is_read_in_the_callers_zone(tmp_path, moment, read):
    header = write_record(tmp_path, moment=moment)
    assert read_ecg(header, UTC).recorded_at == read
    later = read_ecg(header, timezone(timedelta(hours=-3))).recorded_at
    assert later == (read and read + timedelta(hours=3))
    assert decode_ecg(encode_ecg(read_ecg(header))) == read_ecg(header)


@pytest.mark.parametrize(
    ("comment", "age"),
    [("Age: 8 months", 8 / 12), ("Age: 3 weeks", 3 * 7 / 365.25), ("Age: 10 days", 10 / 365.25), ("Age: 8 years", 8)],
)
def test_a_childs_age_is_read_in_its_unit(tmp_path, comment, age):
    assert read_ecg(write_record(tmp_path, comments=[comment])).age_years == pytest.approx(age)


def test_a_long_record_costs_what_a_message_holds_and_says_what_was_left_out(tmp_path):
    header = write_record(tmp_path, length=" 43200000")
    with (tmp_path / "100.dat").open("r+b") as file:
        file.truncate(43_200_000 * 24)  # a day of 12 leads at 500 Hz, sparse: takes no room
    tracemalloc.start()
    record = read_ecg(header)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(record.samples) <= MAX_SAMPLE_BYTES
    assert record.samples[: 12 * 2] != bytes(24)
    assert peak < 150 * 2**20
    assert [remark.detail for remark in record.remarks] == ["only the first 333.3 s of 8.64e+04 s fit a record"]


def test_a_signal_file_of_any_name_and_size_costs_only_what_is_described(tmp_path):
    header = write_record(tmp_path)
    (tmp_path / "100.dat").rename(tmp_path / "big.bin")
    header.write_text(header.read_text().replace("100.dat", "big.bin"))
    with (tmp_path / "big.bin").open("r+b") as file:
        file.truncate(MAX_FILE_BYTES * 4)
    tracemalloc.start()
    assert read_ecg(header).samples == STEPS.tobytes()
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()


def test_a_frame_that_no_memory_should_hold_is_not_read(tmp_path):
    lines = [*(signal_line("r.dat", lead) for lead in LEADS), *["r.dat 16x999999 1 16 0 0 0 0 EEG"] * 20]
    with (tmp_path / "r.dat").open("wb") as file:
        file.truncate(5000 * 24 + 5000 * 20 * 999_999 * 2)
    assert "hold no frame" in refused(write_header(tmp_path / "r.hea", "r 32 500 5000", lines))


@needs_real_ecgs
def test_half_an_hour_of_two_leads_is_read_at_its_beginning_and_refused_for_what_it_lacks():
    with pytest.raises(UnreadableFile, match="lacks I, II, V2") as error:
        read_ecg(ECGS / "more" / "long" / "208.hea")
    assert error.value.wire_code == "missing_lead"


@needs_real_ecgs
def test_the_layout_of_mimic_keeps_its_runs_of_missing_samples():
    for header in sorted((ECGS / "mimic_format").rglob("*.hea")):
        stored = np.frombuffer(header.with_suffix(".dat").read_bytes(), "<i2").reshape(-1, 12).T
        record = read_ecg(header)
        np.testing.assert_array_equal(np.frombuffer(record.samples, "<i2").reshape(12, -1), stored)
        assert record.recorded_at is not None
        assert record.recorded_at.year == 2180


def test_runs_of_missing_samples_in_the_layout_of_mimic_are_as_they_are(tmp_path):
    holes = STEPS.copy()
    holes[:, :40] = holes[3, 2000:2090] = holes[11, -7:] = MISSING_SAMPLE
    record = read_ecg(write_record(tmp_path, digital=holes, gain="200.0(0)/mV", comments=["<subject_id>: 19900001"]))
    assert (record.samples, record.patient_id) == (holes.tobytes(), "19900001")
    assert np.isnan(millivolts(record)).sum() == 12 * 40 + 90 + 7


# Records of several segments


def write_segments(folder, lengths, *, names=None, lines=(), total=None):
    """Write a master header over segments that cut the ECG in pieces, and return its path."""
    start, listed = 0, []
    for number, length in enumerate(lengths, start=1):
        if (names or {}).get(number) == "~":
            listed.append(f"~ {length}")
        else:
            name = f"s{number}"
            leads = (names or {}).get(number, LEADS)
            rows = [LEADS.index(lead) for lead in leads]
            write_record(folder, name, np.tile(STEPS, 3)[rows, start : start + length], leads)
            listed.append(f"{name} {length}")
        start += length
    listed = [*lines, *listed]
    return write_header(folder / "m.hea", f"m/{len(listed)} 12 500 {total or start} 08:00:00 01/01/2000", listed)


def recorded(second):
    return datetime(2000, 1, 1, 8, tzinfo=UTC) + timedelta(seconds=second)


def test_segments_that_follow_each_other_are_one_recording(tmp_path):
    record = read_ecg(write_segments(tmp_path, [1500, 1000, 2500]), UTC)
    assert (record.samples, record.recorded_at, record.remarks) == (STEPS.tobytes(), recorded(0), ())


def test_the_first_segment_that_is_long_enough_is_taken_and_keeps_its_time(tmp_path):
    header = write_segments(tmp_path, [1000, 5000, 5500], names={1: ("I", "II")})
    record = read_ecg(header, UTC)
    assert record.samples == np.tile(STEPS, 3)[:, 1000:11500].tobytes()
    assert record.recorded_at == recorded(2)


def test_a_layout_segment_has_no_samples_and_each_segment_its_own_order(tmp_path):
    header = write_segments(tmp_path, [2500, 2500], names={2: LEADS[::-1]}, lines=["m_layout 0"])
    layout = [signal_line("~", lead, fmt="0") for lead in LEADS]
    write_header(tmp_path / "m_layout.hea", "m_layout 12 500 0", layout)
    record = read_ecg(header)
    assert (record.samples, record.leads) == (STEPS.tobytes(), LEADS)


def test_a_short_gap_between_segments_is_missing_samples(tmp_path):
    record = read_ecg(write_segments(tmp_path, [2000, 50, 2950], names={2: "~"}))
    expected = STEPS.copy()
    expected[:, 2000:2050] = MISSING_SAMPLE
    assert record.samples == expected.tobytes()


def test_a_long_gap_parts_two_recordings(tmp_path):
    header = write_segments(tmp_path, [2000, 100_000, 5000], names={2: "~"})
    (tmp_path / "s3.dat").write_bytes(STEPS.T.tobytes())
    record = read_ecg(header, UTC)
    assert (record.samples, record.recorded_at) == (STEPS.tobytes(), recorded(204))


def test_where_no_segments_are_enough_the_error_lists_them(tmp_path):
    header = write_segments(tmp_path, [2000, 100_000, 3000, 2000], names={2: "~", 4: ("I", "II", "V1")})
    said = refused(header)
    assert "WFDB record of several segments and holds no 9 s of 12 leads at one time" in said
    assert "segment 1: I, II, III, aVR" in said
    assert "for 4 s at 500 Hz; segment 3: I" in said
    assert "segment 4: I, II, V1 for 4 s at 500 Hz, 210 s later" in said


def test_of_two_usable_recordings_the_first_one_is_taken_and_the_other_one_told(tmp_path):
    header = write_segments(tmp_path, [5000, 10_000, 5000], names={2: "~"})
    record = read_ecg(header)
    assert record.samples == STEPS.tobytes()
    assert [remark.detail for remark in record.remarks] == ["the file holds 2 usable ECGs: segment 1 was taken"]


def test_a_null_record_is_a_gap_too(tmp_path):
    header = write_segments(tmp_path, [2000, 50, 2950])
    write_header(tmp_path / "s2.hea", "s2 12 500 50", [signal_line("~", lead, fmt="0") for lead in LEADS])
    expected = STEPS.copy()
    expected[:, 2000:2050] = MISSING_SAMPLE
    assert read_ecg(header).samples == expected.tobytes()


def test_a_segment_that_contradicts_the_record_is_refused(tmp_path):
    header = write_segments(tmp_path, [2500, 2500])
    header.write_text(header.read_text().replace("s2 2500", "s2 2400"))
    assert "segment 's2' has 2500 frames, but is listed with 2400" in refused(header)
    write_header(tmp_path / "s1.hea", "s1 12 250 2500", [signal_line("s1.dat", lead) for lead in LEADS])
    assert "segment 's1' has 250 Hz, and the record 500 Hz" in refused(header)


def test_many_segments_are_read_as_far_as_a_message_holds(tmp_path):
    write_record(tmp_path, "s")
    header = write_header(tmp_path / "m.hea", "m/9000 12 500 45000000", ["s 5000"] * 9000)
    tracemalloc.start()
    record = read_ecg(header)
    assert tracemalloc.get_traced_memory()[1] < 150 * 2**20
    tracemalloc.stop()
    assert record.n_samples == MAX_SAMPLE_BYTES // 24
    assert [remark.detail for remark in record.remarks] == ["only the first 333.3 s of 9e+04 s fit a record"]
