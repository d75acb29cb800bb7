"""SCP-ECG files of every kind are read as they were meant: start times, codes, subtracted beats, long leads."""

import struct
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needed import ECGS, needs_real_ecgs
from scp_files import leads_of, packed, plain, rhythm, scp, standard_code, table_of, tags

from inference.reading.assemble import assemble
from inference.reading.read_ecg import read_ecg
from inference.reading.scp import read_scp
from inference.reading.scp_huffman import BrokenCode, decode, standard_table, tables_of
from inference.reading.scp_sections import is_scp
from schemas.codec import encode_ecg
from schemas.ecg_record import LEADS, MISSING_SAMPLE
from schemas.errors import UnreadableFile

PATH = Path("ward/0001.scp")
FORMATS = ECGS / "more" / "formats"
ROWS = np.cumsum(np.random.default_rng(0).integers(-40, 41, (12, 2500)), axis=1)


def record_of(content):
    assert is_scp(content[:4096])
    return assemble(read_scp(content, PATH), PATH, UTC)


def steps_of(record):
    return np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)


def codes(record):
    return [remark.code for remark in record.remarks]


def refused(content):
    outcome = read_or_refused(content)
    assert isinstance(outcome, UnreadableFile)
    return outcome.detail


def read_or_refused(content):
    is_scp(content[:4096])
    try:
        return assemble(read_scp(content, PATH), PATH, UTC)
    except UnreadableFile as error:
        return said_in_a_sentence(error)


def said_in_a_sentence(error):
    assert str(PATH) in error.detail
    assert "\n" not in error.detail
    return error


@pytest.mark.parametrize("code", [None, standard_code])
@pytest.mark.parametrize("differences", [0, 1, 2])
def test_plain_and_coded_rhythms_keep_their_samples_and_their_step(code, differences):
    record = record_of(plain(ROWS, code=code, differences=differences))
    np.testing.assert_array_equal(steps_of(record), ROWS)
    assert (record.leads, record.microvolts_per_step, record.sample_rate_hz) == (LEADS, 5.0, 250.0)
    assert codes(record) == []


def test_differences_of_those_who_reckon_in_16_bits_wrap_around():
    rows = ROWS.copy()
    rows[0, 1::2], rows[0, ::2] = 32767, -32767
    wrapped = rows.astype(np.int16).astype(np.int64)
    record = record_of(plain(rows, differences=1))
    np.testing.assert_array_equal(steps_of(record), wrapped)


def test_the_time_of_recording_has_the_zone_of_the_file():
    day, time = struct.pack("<HBB", 2026, 7, 1), bytes([12, 30, 5])
    for zone, instant in (
        ((), datetime(2026, 7, 1, 12, 30, 5, tzinfo=UTC)),
        (((34, struct.pack("<hH", 120, 0)),), datetime(2026, 7, 1, 10, 30, 5, tzinfo=UTC)),
        (((34, struct.pack("<hH", -300, 0)),), datetime(2026, 7, 1, 17, 30, 5, tzinfo=UTC)),
        (((34, struct.pack("<hH", 0x7FFF, 0)),), datetime(2026, 7, 1, 12, 30, 5, tzinfo=UTC)),
    ):
        record = record_of(plain(ROWS, sections={1: tags((25, day), (26, time), *zone)}))
        assert record.recorded_at == instant


@pytest.mark.parametrize(
    "wrong", [(25, b"\0\0\0\0"), (25, b"\xea\x07\x0d\x01"), (26, b"\x18\0\0"), (26, b""), (25, b"\1")]
)
def test_a_time_that_is_none_is_absent(wrong):
    right = {25: struct.pack("<HBB", 2026, 7, 1), 26: bytes([12, 30, 5])} | dict([wrong])
    assert record_of(plain(ROWS, sections={1: tags(*right.items())})).recorded_at is None


def test_age_sex_and_pacemaker_are_read_and_no_name_number_or_birth_date():
    patient = tags(
        (0, b"Roe\0"),
        (1, b"Jane\0"),
        (2, b"4711\0"),
        (5, struct.pack("<HBB", 1965, 12, 30)),
        (4, struct.pack("<HB", 18, 2)),
        (8, b"\x02"),
        (32, bytes([0, 1, 42])),
    )
    record = record_of(plain(ROWS, sections={1: patient}))
    assert (record.age_years, record.sex, record.paced, record.patient_id) == (1.5, "female", True, None)
    assert not any(word in encode_ecg(record) for word in (b"Roe", b"Jane", b"4711"))
    assert record_of(plain(ROWS, sections={1: tags((32, bytes([1, 42])), (8, b"\x09"))})).paced is None


def test_leads_that_begin_later_are_put_on_one_time_line():
    rows = [row[50 * (place > 5) :] for place, row in enumerate(ROWS)]
    record = record_of(plain(rows, [(2501 - len(row), 2500) for row in rows]))
    np.testing.assert_array_equal(steps_of(record), ROWS[:, 50:])
    assert codes(record) == ["leads_aligned"]
    assert record.recorded_at == datetime(2026, 1, 1, 10, 10, 10, 200_000, tzinfo=UTC)


def test_three_by_four_leads_are_refused():
    rows = [row[:625] for row in ROWS]
    ranges = [(625 * (place // 3) + 1, 625 * (place // 3 + 1)) for place in range(12)]
    assert "not recorded at one time" in refused(plain(rows, ranges))


def test_a_file_that_contradicts_itself_on_simultaneity_is_doubted():
    sections = {3: leads_of([(1, 2500)] * 12, flags=3 << 3)}
    assert codes(record_of(plain(ROWS, sections=sections))) == ["doubtful_times"]


def test_numbers_of_samples_that_count_from_0_are_understood():
    record = record_of(plain(ROWS, [(0, 2500)] * 12))
    np.testing.assert_array_equal(steps_of(record), ROWS)
    assert codes(record) == []


@pytest.mark.parametrize("samples", [32_768, 37_855, 70_000])
def test_leads_of_more_than_32767_samples_are_read(samples):
    long = np.resize(ROWS, (12, samples))
    record = record_of(plain(long, interval_us=1000))
    np.testing.assert_array_equal(steps_of(record), long)


def test_leads_that_a_writer_cut_at_32767_samples_are_as_long_as_they_are():
    record = record_of(plain(np.resize(ROWS, (12, 32_767)), [(1, 37_855)] * 12, interval_us=1250))
    assert (record.n_samples, codes(record)) == (32_767, ["file_length"])


def test_coded_leads_of_more_bytes_than_can_be_written_down_are_refused_by_name():
    noise = np.random.default_rng(0).integers(-3000, 3000, (12, 30_000))
    assert "more bytes than SCP-ECG can write down" in refused(plain(noise, code=standard_code))


def test_a_missing_sample_of_a_plain_rhythm_is_missing():
    rows = ROWS.copy()
    rows[3, 100:105] = MISSING_SAMPLE
    np.testing.assert_array_equal(steps_of(record_of(plain(rows))), rows)


def subtracted(rows, beat, fiducial, places, step_nv=(5000, 5000), kinds=None, interval_us=4000):
    """Return a file in which a beat was subtracted around its places, which are numbers of samples."""
    residual = rows * (5000 // step_nv[1])
    zones = []
    for kind, place in zip(kinds or [0] * len(places), places, strict=True):
        first, last = place - fiducial + 3, min(place - fiducial + beat.shape[1] - 5, rows.shape[1])
        zones.append((kind, first, place, last))
        if kind == 0:
            within = slice(first - 1 - (place - fiducial), last - (place - fiducial))
            residual[:, first - 1 : last] -= beat[:, within] * (step_nv[0] // step_nv[1])
    head = struct.pack("<HHH", beat.shape[1] * 4, fiducial, len(zones))
    return {
        3: leads_of([(1, rows.shape[1])] * 12, flags=0b101 | 12 << 3 & 0xFF),
        4: head + b"".join(struct.pack("<HIII", *zone) for zone in zones),
        5: rhythm(beat, step_nv=step_nv[0], interval_us=interval_us),
        6: rhythm(residual, step_nv=step_nv[1]),
    }


@pytest.mark.parametrize("step_nv", [(5000, 5000), (5000, 1000)])
def test_a_beat_that_was_subtracted_is_added_again_where_it_was(step_nv):
    beat = np.random.default_rng(1).integers(-300, 300, (12, 150))
    sections = subtracted(ROWS, beat, 60, [200, 600, 1000, 2440], step_nv, kinds=[0, 1, 0, 0])
    record = record_of(scp(sections))
    np.testing.assert_allclose(steps_of(record) * record.microvolts_per_step, ROWS * 5)
    assert record.microvolts_per_step == step_nv[1] / 1000


def test_what_cannot_be_put_together_again_is_refused_by_name():
    beat = np.ones((12, 150), int)
    sections = subtracted(ROWS, beat, 60, [200])
    assert "the beat (sections 4 and 5) is missing" in refused(scp({n: s for n, s in sections.items() if n != 5}))
    assert "the beat (sections 4 and 5) is missing" in refused(scp({n: s for n, s in sections.items() if n != 4}))
    other_rate = subtracted(ROWS, beat, 60, [200], interval_us=2000)
    assert "a beat of another sample rate" in refused(scp(other_rate))
    bimodal = plain(ROWS, sections={6: rhythm(ROWS, bimodal=1)})
    assert "bimodal compression" in refused(bimodal)
    assert "no rhythm (section 6)" in refused(scp({3: leads_of([(1, 2500)] * 12)}))
    assert "it announces 0 leads" in refused(scp({3: bytes(11), 6: rhythm(ROWS)}))


def test_the_flag_of_bimodal_compression_means_nothing_from_version_3_on():
    content = bytearray(plain(ROWS, sections={6: rhythm(ROWS, bimodal=1)}))
    content[15] = 30
    np.testing.assert_array_equal(steps_of(record_of(bytes(content))), ROWS)


def test_a_rhythm_without_a_scale_is_refused_lead_by_lead():
    assert "I without a scale" in refused(plain(ROWS, step_nv=0))


@pytest.mark.parametrize("place", [0, -20])
def test_a_wrong_checksum_is_a_remark(place):
    content = bytearray(plain(ROWS))
    content[place] ^= 1
    record = record_of(bytes(content))
    assert codes(record) == ["file_checksum"]
    assert ("section 6" in record.remarks[0].detail) == (place != 0)


def test_a_file_that_is_cut_says_so():
    content = plain(ROWS)
    assert "ends within section 6" in refused(content[:-100])


def test_a_broken_section_that_is_not_needed_does_not_matter():
    record = record_of(plain(ROWS, sections={7: b"", 8: b"\xff", 10: b"\xff\xff", 11: b""}))
    np.testing.assert_array_equal(steps_of(record), ROWS)


def test_own_tables_are_followed_from_one_to_the_other():
    section = table_of(
        [("0", 1, 1, 5), ("10", 2, 0, 2), ("11", 10, 1, 0)],
        [("0", 1, 1, -7), ("1" * 20, 20, 0, 1), ("1" * 19 + "0", 20, 1, 9)],
    )
    bits = "0" + "11" + f"{-3 & 0xFF:08b}" + "10" + "0" + "0" + "1" * 19 + "0" + "1" * 20 + "0"
    np.testing.assert_array_equal(decode(packed(bits), 6, tables_of(section)), [5, -3, -7, -7, 9, 5])


@given(st.lists(st.integers(-32768, 32767), max_size=300))
def test_the_code_of_the_standard_gives_back_every_number(values):
    coded = standard_code(np.array(values, np.int64))
    np.testing.assert_array_equal(decode(coded, len(values), [standard_table()]), values)


@pytest.mark.parametrize(
    "section",
    [
        b"",
        struct.pack("<H", 0),
        struct.pack("<H", 999),
        struct.pack("<HH", 1, 60_000),
        table_of([("0" * 3, 2, 1, 0)]),
        struct.pack("<HHBBBhI", 1, 1, 0, 0, 1, 0, 0),
        struct.pack("<HHBBBhI", 1, 1, 40, 40, 1, 0, 0),
    ],
)
def test_tables_that_contradict_themselves_are_refused(section):
    with pytest.raises(BrokenCode, match="section 2"):
        tables_of(section)


def test_what_is_no_code_and_tables_that_are_not_there_are_refused():
    with pytest.raises(BrokenCode, match="no Huffman code"):
        decode(b"\xff", 8, tables_of(table_of([("0", 1, 1, 0)])))
    with pytest.raises(BrokenCode, match="switches to Huffman table 7 of 1"):
        decode(b"\0", 8, tables_of(table_of([("0", 1, 0, 7)])))


def test_tables_that_switch_for_ever_end_with_the_data():
    tables = tables_of(table_of([("0", 1, 0, 2)], [("0", 1, 0, 1)]))
    assert len(decode(bytes(500), 8, tables)) == 0


def test_announced_samples_cost_no_memory():
    tracemalloc.start()
    assert "file_length" in codes(record_of(plain(ROWS, [(1, 4_000_000_000)] * 12, code=standard_code)))
    assert tracemalloc.get_traced_memory()[1] < 64e6
    tracemalloc.stop()


SMALL = [plain(ROWS[:, :900], interval_us=10_000, code=code, differences=2) for code in (None, standard_code)]
SMALL.append(scp(subtracted(ROWS[:, :900], np.ones((12, 50), int), 20, [200, 400])))


@settings(max_examples=400)
@given(
    content=st.sampled_from(SMALL),
    changes=st.lists(st.tuples(st.integers(0, 800), st.binary(min_size=1, max_size=8)), max_size=8),
    end=st.integers(0, 30_000),
)
def test_mutated_files_are_read_or_refused_in_a_sentence(content, changes, end):
    mutated = bytearray(content)
    for place, new in changes:
        mutated[place : place + len(new)] = new
    read_or_refused(bytes(mutated[:end]))


@settings(max_examples=200)
@given(st.binary(max_size=2000))
def test_any_bytes_are_read_or_refused_in_a_sentence(content):
    read_or_refused(content)


@needs_real_ecgs
def test_one_ecg_as_scp_and_as_dicom_has_the_same_samples_and_time():
    scp_ecg = read_ecg(FORMATS / "scp_eli250_example.scp", UTC)
    dicom = read_ecg(FORMATS / "dicom_12lead_eli250_500Hz_108annotations.dcm", UTC)
    np.testing.assert_array_equal(steps_of(scp_ecg)[[scp_ecg.leads.index(lead) for lead in LEADS]], steps_of(dicom))
    assert scp_ecg.recorded_at == dicom.recorded_at == datetime(2002, 11, 22, 9, 10, tzinfo=UTC)
    assert scp_ecg.microvolts_per_step == dicom.microvolts_per_step == 2.5


@needs_real_ecgs
def test_one_ecg_as_scp_and_as_edf_has_the_same_time_and_the_same_course():
    scp_ecg = read_ecg(FORMATS / "contec_ecg90a_47s.scp", UTC)
    edf = read_ecg(FORMATS / "contec_ecg90a_47s.edf", UTC)
    assert scp_ecg.recorded_at == edf.recorded_at == datetime(2020, 11, 16, 21, 44, 39, tzinfo=UTC)
    # The SCP-ECG file says 37,855 samples and holds 32,767. The EDF has another scale; V1 to V6 are flat in both.
    assert (edf.n_samples, scp_ecg.n_samples, codes(scp_ecg)) == (37_855, 32_767, ["file_length"])
    for lead in LEADS[:6]:
        one, other = steps_of(scp_ecg)[scp_ecg.leads.index(lead)], steps_of(edf)[edf.leads.index(lead)]
        assert np.corrcoef(one, other[: len(one)])[0, 1] > 0.999999


@needs_real_ecgs
def test_raw_samples_of_eight_leads_at_1000_hz_are_read():
    record = read_ecg(FORMATS / "scp_demo_8lead_raw.scp", UTC)
    assert (record.leads, record.n_samples, record.sample_rate_hz) == (("I", "II", *LEADS[6:]), 10_000, 1000.0)
    assert (record.microvolts_per_step, codes(record)) == (0.183, [])


@needs_real_ecgs
def test_a_rhythm_with_a_subtracted_beat_has_the_samples_that_ecgdatakit_reads(tmp_path):
    from ecgdatakit import FileParser

    content = bytearray((FORMATS / "scp_plusi_wfdb_test.scp").read_bytes())
    record = record_of(bytes(content))
    struct.pack_into("<HII", content, 22 + 11 * 10, 11, 0, 0)  # ecgdatakit refuses the empty section 11
    (tmp_path / "ecg.scp").write_bytes(content)
    with pytest.warns(UserWarning, match="CRC"):
        leads = FileParser().parse(tmp_path / "ecg.scp").leads
    assert (record.leads, record.age_years, record.sex) == (("I", "II", *LEADS[6:]), 49, "male")
    expected = np.stack([lead.samples * {"mV": 1e3, "uV": 1.0}[lead.units] for lead in leads])
    np.testing.assert_allclose(steps_of(record) * record.microvolts_per_step, expected, atol=1e-6)
