"""ECG files become records with the very samples of the file, no name of a patient, and clear refusals."""

import os
import warnings

import numpy as np
import pytest
from needed import ECGS, needs_real_ecgs

from inference.intake import take_in
from inference.reading.content import MAX_FILE_BYTES
from inference.reading.find_ecgs import find_ecgs
from inference.reading.read_ecg import read_ecg
from schemas.codec import decode_ecg, encode_ecg
from schemas.ecg_record import LEADS, MISSING_SAMPLE
from schemas.errors import UnreadableFile
from schemas.messages import Quality
from training.simulation.ecg import generate_ecgs

STEPS = np.frombuffer(next(generate_ecgs(1, 0)).samples, "<i2").reshape(12, -1)


def write(folder, name="100", digital=STEPS, gain=200.0, units="mV", baseline=0, comments=()):
    """Write a WFDB record by hand, in the layout of MIMIC-IV-ECG, and return its header's path."""
    bits = digital.dtype.itemsize * 8
    signals = zip(LEADS, np.broadcast_to(gain, 12), np.broadcast_to(baseline, 12), strict=True)
    lines = [f"{name}.dat {bits} {gain:.12g}({zero})/{units} {bits} 0 0 0 0 {lead}" for lead, gain, zero in signals]
    header = folder / f"{name}.hea"
    header.write_text("\n".join([f"{name} 12 500 {digital.shape[1]}", *lines, *(f"# {c}" for c in comments), ""]))
    header.with_suffix(".dat").write_bytes(digital.T.astype(f"<i{bits // 8}").tobytes())
    return header


def millivolts(record):
    steps = np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)
    return np.where(steps == MISSING_SAMPLE, np.nan, steps * record.microvolts_per_step / 1e3)


def test_the_digital_samples_are_kept_where_one_step_fits_all_leads(tmp_path):
    record = read_ecg(write(tmp_path))
    assert record.samples == STEPS.tobytes()
    assert (record.microvolts_per_step, record.sample_rate_hz, record.leads) == (5.0, 500.0, LEADS)
    assert record.record_id == "100"


@pytest.mark.parametrize("named", ["100.hea", "100.dat", "100"])
def test_a_wfdb_record_is_found_by_header_signal_or_stem(tmp_path, named):
    write(tmp_path)
    assert read_ecg(tmp_path / named).record_id == "100"


def test_another_record_is_never_read_in_place_of_the_one_that_is_named(tmp_path):
    write(tmp_path, name="v1")
    assert "is not there" in refused(tmp_path / "v1.5")
    assert "is not there" in refused(tmp_path / "v1.xml")
    write(tmp_path).rename(tmp_path / "v1.5.hea")
    assert read_ecg(tmp_path / "v1.5").record_id == "v1.5"


def test_channels_that_are_no_leads_leave_the_step_of_the_leads_alone(tmp_path):
    header = write(tmp_path, digital=np.concatenate([STEPS, np.full((2, STEPS.shape[1]), 30000, np.int16)]))
    first, *lines = header.read_text().splitlines()
    extra = "100.dat 16 1(0)/bpm 16 0 0 0 0 RESP"
    header.write_text("\n".join([first.replace(" 12 ", " 14 "), *lines[:12], extra, extra, *lines[12:], ""]))
    record = read_ecg(header)
    assert record.samples == STEPS.tobytes()
    assert (record.microvolts_per_step, record.leads) == (5.0, LEADS)


def test_a_name_that_is_no_text_is_refused_in_words(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.hea")
    write(tmp_path).rename(path)
    refused(path).encode()
    assert "not UTF-8" in refused(path)


def test_what_the_system_refuses_is_one_records_trouble_alone(tmp_path):
    assert "cannot be read as an ECG" in refused(tmp_path / ("x" * 300))


def test_a_name_with_a_dot_is_found_too(tmp_path):
    write(tmp_path).rename(tmp_path / "v1.5.hea")
    assert read_ecg(tmp_path / "v1.5").record_id == "v1.5"


def test_microvolts_are_not_taken_for_millivolts(tmp_path):
    assert read_ecg(write(tmp_path, gain=0.2, units="uV")).microvolts_per_step == pytest.approx(5.0)


def test_different_gains_and_baselines_keep_the_voltages(tmp_path):
    gains, baselines = np.linspace(150, 400, 12), np.arange(12) * 10
    header = write(tmp_path, gain=gains, baseline=baselines)
    expected = (STEPS - baselines[:, None]) / gains[:, None]
    np.testing.assert_allclose(millivolts(read_ecg(header)), expected, atol=0.00051)


def test_samples_beyond_int16_are_rescaled_and_not_clipped(tmp_path):
    large = STEPS.astype(np.int32) * 100
    header = write(tmp_path, digital=large, gain=20000.0)
    np.testing.assert_allclose(millivolts(read_ecg(header)), large / 20000, atol=0.00051)


def test_missing_samples_stay_missing(tmp_path):
    holes = STEPS.copy()
    holes[3, 100:110] = MISSING_SAMPLE
    for folder, baseline in (("kept", 0), ("rescaled", 7)):
        (tmp_path / folder).mkdir()
        found = np.isnan(millivolts(read_ecg(write(tmp_path / folder, digital=holes, baseline=baseline))))
        assert (found[3, 100:110].all(), found.sum()) == (True, 10)


@pytest.mark.parametrize(
    ("comments", "age", "sex"),
    [
        (["Age: 83", "Sex: Male"], 83, "male"),
        (["<age>: 51", "<sex>: F"], 51, "female"),
        (["Age: -1", "Sex: Unknown"], None, None),
        (["Age: 300"], None, None),
        (["Age: NaN", "Sex: NaN"], None, None),
        (["dosage: 40", "Sexual history: none"], None, None),
    ],
)
def test_ages_and_sexes_are_taken_where_they_can_be_true(tmp_path, comments, age, sex):
    record = read_ecg(write(tmp_path, comments=comments))
    assert (record.age_years, record.sex) == (age, sex)


@pytest.mark.parametrize(
    ("comment", "paced"),
    [
        ("UNIpolar ventricular pacing.", True),
        ("Dx: 10370003,59118001", True),
        ("Wandering atrial pacemaker.", None),
        ("Spaced electrodes", None),
        ("Dx: 426783006", None),
    ],
)
def test_a_pacemaker_is_known_by_word_or_code(tmp_path, comment, paced):
    assert read_ecg(write(tmp_path, comments=[comment])).paced is paced


def test_the_pseudonym_of_mimic_is_the_patient_and_no_other_comment_is(tmp_path):
    record = read_ecg(write(tmp_path, comments=["<subject_id>: 19900016", "Name: Jane Roe"]))
    assert record.patient_id == "19900016"
    assert b"Roe" not in encode_ecg(record)


def refused(path):
    with pytest.raises(UnreadableFile) as error:
        read_ecg(path)
    return error.value.detail


def test_what_is_not_there_or_a_folder_is_said_so(tmp_path):
    assert "is not there" in refused(tmp_path / "absent.xml")
    assert "is a folder" in refused(tmp_path)


def test_a_header_without_its_signal_is_refused(tmp_path):
    header = write(tmp_path)
    header.with_suffix(".dat").unlink()
    assert "cannot be read as an ECG" in refused(header)


def test_a_signal_that_is_cut_short_is_refused(tmp_path):
    header = write(tmp_path)
    signal = header.with_suffix(".dat")
    signal.write_bytes(signal.read_bytes()[:5000])
    assert "cannot be read as an ECG" in refused(header)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.hea", b""),
        ("empty.xml", b""),
        ("text.hea", b"hello there\n"),
        ("noleads.hea", b"noleads 0 500 5000\n"),
        ("other.xml", b"<?xml version='1.0'?><root/>"),
        ("cut.xml", b"<?xml version='1.0'?><RestingECG><Waveform>"),
        ("noise.dcm", bytes(range(256)) * 20),
        ("noise.scp", bytes(range(256)) * 20),
        ("noise.bin", bytes(range(256)) * 20),
    ],
)
def test_what_is_no_ecg_is_refused_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert "\n" not in refused(tmp_path / name)


def test_a_huge_file_is_refused_unread(tmp_path):
    huge = tmp_path / "huge.xml"
    with huge.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # sparse: takes no room
    assert "larger than" in refused(huge)


def test_a_walk_finds_each_ecg_once_in_sorted_order(tmp_path):
    for folder in ("b/2", "b/1", "a"):
        (tmp_path / folder).mkdir(parents=True)
        write(tmp_path / folder, name=f"r{folder[-1]}")
        (tmp_path / folder / "notes.txt").touch()
    (tmp_path / "a" / "z.XML").touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_ecgs([tmp_path])]
    assert found == ["a/ra.hea", "a/z.XML", "b/1/r1.hea", "b/2/r2.hea"]


def test_files_as_named_are_passed_on_whatever_they_are(tmp_path):
    named = [tmp_path / "b.dat", tmp_path / "a.bin"]
    assert list(find_ecgs(named)) == named


def test_a_walk_is_lazy(tmp_path):
    write(tmp_path, name="first")
    walk = find_ecgs([tmp_path, tmp_path])
    next(walk)
    write(tmp_path, name="later")
    assert [path.stem for path in walk] == ["first", "later"]


@needs_real_ecgs
def test_every_real_format_is_read_screenable_without_a_warning_and_fits_the_wire():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        records = [read_ecg(path) for path in find_ecgs([ECGS / "formats"])]
    assert len(records) == 12
    assert {len(record.leads) for record in records} == {8, 12}
    for record in records:
        assert decode_ecg(encode_ecg(record)) == record
        assert record.patient_id is None
    assert all(isinstance(outcome, Quality) for outcome in take_in(records, 1).outcomes)


@needs_real_ecgs
@pytest.mark.parametrize("folder", ["ludb", "ptbxl", "chapman_ningbo", "georgia", "cpsc2018", "ptb_cropped"])
def test_real_wfdb_records_have_the_voltages_that_wfdb_reads(folder):
    header = next(find_ecgs([ECGS / "wfdb" / folder]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wfdb's own, about the newest pandas
        import wfdb

        signals, fields = wfdb.rdsamp(str(header.with_suffix("")))
    record = read_ecg(header)
    assert [name.lower() for name in record.leads] == [name.lower() for name in fields["sig_name"]]
    np.testing.assert_allclose(millivolts(record), signals.T, atol=0.00051)
