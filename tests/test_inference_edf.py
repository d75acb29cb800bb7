"""EDF and BDF: the times of data records are kept, the scale is the file's own, and what cannot be is said."""

from datetime import UTC, datetime

import numpy as np
import pytest
from edf_files import edf
from hypothesis import given, settings
from hypothesis import strategies as st
from needed import ECGS, needs_real_ecgs

from inference.intake import take_in
from inference.reading.edf import read_edf
from inference.reading.read_ecg import read_ecg
from schemas.codec import encode_ecg
from schemas.ecg_record import LEADS, MISSING_SAMPLE
from schemas.errors import UnreadableFile
from schemas.messages import Quality
from training.simulation.ecg import generate_ecgs

STEPS = np.frombuffer(next(generate_ecgs(1, 0)).samples, "<i2").reshape(12, -1)
"""10 s at 500 Hz, in steps of 5 µV, as `edf` writes them."""


def written(folder, *arguments, **options):
    path = folder / "ecg.edf"
    path.write_bytes(edf(*arguments, **options))
    return path


def read(folder, *arguments, **options):
    return read_ecg(written(folder, *arguments, **options), UTC)


def refused(folder, *arguments, **options):
    with pytest.raises(UnreadableFile) as error:
        read(folder, *arguments, **options)
    return error.value.detail


def millivolts(record):
    steps = np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)
    return np.where(steps == MISSING_SAMPLE, np.nan, steps * record.microvolts_per_step / 1e3)


def verdict(record):
    (outcome,) = take_in([record], 1).outcomes
    return outcome


def codes(record):
    return {warning.code for warning in verdict(record).warnings}


@pytest.mark.parametrize("kind", ["", "EDF+C", "EDF+D"])
@pytest.mark.parametrize("bdf", [False, True])
def test_an_ecg_without_gaps_is_read_in_every_kind(tmp_path, kind, bdf):
    kind = kind.replace("EDF", "BDF") if bdf else kind
    record = read(tmp_path, STEPS, kind=kind, bdf=bdf, starts=range(10) if kind else None)
    np.testing.assert_allclose(millivolts(record), STEPS * 0.005, atol=0.00051)
    assert (record.leads, record.sample_rate_hz, record.remarks) == (LEADS, 500.0, ())
    assert isinstance(verdict(record), Quality)


def test_bdf_keeps_values_that_sixteen_bits_cannot_hold(tmp_path):
    steps = STEPS.astype(np.int32) * 300 - 2_000_000
    record = read(tmp_path, steps, bdf=True, digital=(-(2**23), 2**23 - 1), physical=(-100.0, 100.0))
    low, high = -(2**23), 2**23 - 1
    expected = (steps - low) * 200 / (high - low) - 100
    np.testing.assert_allclose(millivolts(record), expected, atol=0.0008)


def test_ten_single_seconds_a_minute_apart_are_refused_with_their_times(tmp_path):
    detail = refused(tmp_path, STEPS, kind="EDF+D", starts=[60 * second for second in range(10)])
    assert "EDF+D" in detail
    assert "the network needs 9 s of 12 leads at one time" in detail
    assert "data record 2 of 10" in detail
    assert "60 s later" in detail


def test_a_gap_that_the_gate_bridges_is_missing_samples(tmp_path):
    starts = [*range(5), *(second + 0.1 for second in range(5, 10))]
    record = read(tmp_path, STEPS, kind="EDF+D", starts=starts)
    missing = np.isnan(millivolts(record))
    assert missing[:, 2500:2550].all()
    assert missing.sum() == 12 * 50
    np.testing.assert_allclose(millivolts(record)[:, 2550:], STEPS[:, 2500:] * 0.005, atol=0.00051)
    assert codes(record) == {"short_nan_run", "longer_than_10s"}


def test_a_long_gap_in_the_middle_leaves_too_little(tmp_path):
    assert "for 5 s" in refused(tmp_path, STEPS, kind="EDF+D", starts=[*range(5), *range(8, 13)])


def test_ten_seconds_without_a_gap_are_taken_wherever_they_lie(tmp_path):
    steps = np.concatenate([STEPS[:, :1500], STEPS], axis=1)
    record = read(tmp_path, steps, kind="EDF+D", starts=[0, 1, 2, *range(60, 70)])
    np.testing.assert_allclose(millivolts(record), STEPS * 0.005, atol=0.00051)
    assert record.recorded_at == datetime(2020, 11, 16, 21, 45, 39, tzinfo=UTC)


def test_times_that_overlap_are_refused_where_gaps_are_allowed(tmp_path):
    assert "overlap" in refused(tmp_path, STEPS, kind="EDF+D", starts=[0] * 10)
    assert "missing" in refused(tmp_path, STEPS, kind="EDF+D", annotations=[b"no time"] * 10)


def test_times_that_say_nothing_are_doubted_where_the_file_promises_no_gaps(tmp_path):
    record = read(tmp_path, STEPS, kind="EDF+C", starts=[0] * 10)
    assert [remark.code for remark in record.remarks] == ["doubtful_times"]
    assert record.n_samples == 5000
    assert read(tmp_path, STEPS, kind="EDF+C", annotations=[b"no time"] * 10).remarks == ()


def test_gaps_in_a_file_that_promises_none_are_believed(tmp_path):
    assert "60 s later" in refused(tmp_path, STEPS, kind="EDF+C", starts=[60 * second for second in range(10)])


def test_a_clock_that_drifts_makes_no_gaps(tmp_path):
    record = read(tmp_path, STEPS, kind="EDF+C", starts=[second * 1.0004 for second in range(10)])
    assert not np.isnan(millivolts(record)).any()
    assert record.remarks == ()


def test_data_records_of_one_sample_are_read(tmp_path):
    record = read(tmp_path, STEPS, record_s=0.002)
    np.testing.assert_allclose(millivolts(record), STEPS * 0.005, atol=0.00051)


def test_a_rate_that_is_no_whole_number_is_kept(tmp_path):
    assert read(tmp_path, STEPS, duration=1.024).sample_rate_hz == pytest.approx(500 / 1.024)


@pytest.mark.parametrize(
    ("duration", "words"), [(0, "rate is not known"), ("-1", "cannot be"), ("1e-300", "cannot be")]
)
def test_a_duration_from_which_no_rate_follows_is_refused(tmp_path, duration, words):
    assert words in refused(tmp_path, STEPS, duration=duration)


@pytest.mark.parametrize(
    ("unit", "millivolts_a_unit"), [("mV", 1.0), ("uV", 1e-3), ("\u00b5V", 1e-3), ("V", 1e3), ("nV", 1e-6)]
)
def test_units_of_voltage_are_told_apart(tmp_path, unit, millivolts_a_unit):
    ends = (-5.0 / millivolts_a_unit, 5.0 / millivolts_a_unit)
    record = read(tmp_path, STEPS, unit=unit, physical=ends)
    np.testing.assert_allclose(millivolts(record), STEPS * 0.005, atol=0.00051)


@pytest.mark.parametrize("unit", ["", "mmHg", "AU", "Filtered"])
def test_a_unit_that_is_not_known_is_refused_and_not_guessed(tmp_path, unit):
    detail = refused(tmp_path, STEPS, unit=unit)
    assert f"{unit!r}, no unit of voltage" in detail


def test_a_signal_that_is_no_lead_may_have_any_unit(tmp_path):
    steps = np.concatenate([STEPS, STEPS[:1]])
    units = ["mV"] * 12 + ["%"]
    assert read(tmp_path, steps, labels=[*LEADS, "SpO2"], unit=units).leads == LEADS


def test_a_range_that_is_turned_over_turns_the_signal_over(tmp_path):
    record = read(tmp_path, STEPS, physical=(5.0, -5.0))
    np.testing.assert_allclose(millivolts(record), -STEPS * 0.005, atol=0.00051)


@pytest.mark.parametrize(
    "ends",
    [{"physical": (1.0, 1.0)}, {"digital": (7, 7)}, {"physical": (-1e30, 1e30)}, {"physical": (float("nan"), 1.0)}],
)
def test_a_signal_without_a_scale_is_refused(tmp_path, ends):
    assert "has no scale" in refused(tmp_path, STEPS, **ends)


def test_a_number_that_is_none_is_said(tmp_path):
    path = written(tmp_path, STEPS)
    path.write_bytes(path.read_bytes().replace(b"500     ", b"5oo     ", 1))
    with pytest.raises(UnreadableFile, match="has '5oo' for the samples of I in a data record"):
        read_ecg(path)


def test_the_lowest_value_is_a_sample_like_any_other(tmp_path):
    steps = STEPS.copy()
    steps[:, 100] = -1000
    assert not np.isnan(millivolts(read(tmp_path, steps))).any()


def test_several_rates_are_kept_apart(tmp_path):
    content = bytearray(edf(STEPS))
    place = 256 + 12 * (16 + 80 + 8 + 32 + 80) + 11 * 8
    content[place : place + 8] = b"250     "  # V6 alone
    (tmp_path / "ecg.edf").write_bytes(bytes(content))
    with pytest.raises(UnreadableFile) as error:
        read_ecg(tmp_path / "ecg.edf")
    assert "V6 for" in error.value.detail
    assert "at 250 Hz" in error.value.detail


def test_the_number_of_data_records_may_be_unknown(tmp_path):
    record = read(tmp_path, STEPS, records=-1)
    assert (record.n_samples, record.remarks) == (5000, ())


def test_a_data_record_that_is_cut_short_is_left_out_and_told(tmp_path):
    path = written(tmp_path, STEPS)
    path.write_bytes(path.read_bytes()[:-100])
    record = read_ecg(path)
    assert record.n_samples == 4500
    assert [remark.code for remark in record.remarks] == ["file_length"]
    assert "file_length" in codes(record)


def test_more_data_records_than_are_announced_are_told(tmp_path):
    record = read(tmp_path, np.concatenate([STEPS, STEPS], axis=1), records=10)
    assert record.n_samples == 5000
    assert "announces 10 data records, and the file has 20" in record.remarks[0].detail


@pytest.mark.parametrize(
    ("date", "recording", "year"),
    [
        ("16.11.84", "X", 2084),
        ("16.11.85", "X", 1985),
        ("16.11.yy", "Startdate 16-NOV-2090 X X X", 2090),
        ("16.11.20", "Startdate 16-nov-2020 X X X", 2020),
        ("16.11.20", "Startdate X X X X", 2020),
        ("01.01.85", "Startdate X X X X", None),
        ("31.02.20", "X", None),
        ("", "", None),
    ],
)
def test_the_start_is_read_where_it_is_known(tmp_path, date, recording, year):
    record = read(tmp_path, STEPS, kind="EDF+C", date=date, recording=recording, starts=range(10))
    assert (record.recorded_at and record.recorded_at.year) == year


def test_the_fraction_of_the_first_second_belongs_to_the_start(tmp_path):
    record = read(tmp_path, STEPS, kind="EDF+C", starts=[second + 0.25 for second in range(10)])
    assert record.recorded_at == datetime(2020, 11, 16, 21, 44, 39, 250000, tzinfo=UTC)


def test_of_the_patient_the_sex_alone_is_taken(tmp_path):
    record = read(tmp_path, STEPS, kind="EDF+C", starts=range(10), patient="12345 F 02-MAY-1951 Roe_Jane")
    assert (record.sex, record.patient_id, record.age_years) == ("female", None, None)
    assert not any(word in encode_ecg(record) for word in (b"Roe", b"1951", b"12345"))
    assert read(tmp_path, STEPS, patient="Miller F").sex is None  # plain EDF has free text there


@pytest.mark.parametrize("label", ["ECG {}", "EKG {}", "{}-Ref", "ECG {}-Ref"])
def test_labels_of_edf_are_understood(tmp_path, label):
    assert read(tmp_path, STEPS, labels=[label.format(lead) for lead in LEADS]).leads == LEADS


def test_a_header_that_is_cut_short_is_refused(tmp_path):
    path = written(tmp_path, STEPS)
    content = path.read_bytes()
    for length in (100, 255, 256, 1000, 3328, 4000):
        path.write_bytes(content[:length])
        with pytest.raises(UnreadableFile, match="taken for EDF"):
            read_ecg(path)


SMALL = edf(STEPS[:, :1000], kind="EDF+D", starts=[0, 1])


@given(place=st.integers(0, 3583), value=st.binary(min_size=1, max_size=8))
@settings(max_examples=300)
def test_a_changed_header_is_read_or_refused_in_words(tmp_path_factory, place, value):
    content = SMALL[:place] + value + SMALL[place + len(value) :]
    try:
        recording = read_edf(content, tmp_path_factory.getbasetemp() / "ecg.edf")
    except UnreadableFile:
        return
    assert sum(len(channel.millivolts) for part in recording.parts for channel in part.channels) <= 2 * len(content)


@needs_real_ecgs
def test_the_ten_single_seconds_of_the_shared_file_are_refused():
    with pytest.raises(UnreadableFile, match="needs 9 s of 12 leads at one time.*60 s later"):
        read_ecg(ECGS / "faults" / "edf_plus_d_ten_single_seconds.edf")


@needs_real_ecgs
def test_the_shared_file_of_one_sample_a_data_record_is_read():
    record = read_ecg(ECGS / "more" / "formats" / "contec_ecg90a_47s.edf", UTC)
    assert (record.sample_rate_hz, record.n_samples) == (800.0, 37855)
    assert record.recorded_at == datetime(2020, 11, 16, 21, 44, 39, tzinfo=UTC)
