"""What `ecgdatakit` reads for us: its doubts reach the record, and its errors become sentences."""

import base64
import gzip
from datetime import UTC, datetime

import numpy as np
import pytest
from other_files import kardia, mortara

from inference.intake import take_in
from inference.reading.other_formats import read_other
from inference.reading.read_ecg import read_ecg
from schemas.codec import encode_ecg
from schemas.ecg_record import LEADS
from schemas.errors import UnreadableFile
from schemas.messages import Quality
from training.simulation.ecg import generate_ecgs

STEPS = np.frombuffer(next(generate_ecgs(1, 0)).samples, "<i2").reshape(12, -1)
"""10 s at 500 Hz, in steps of 5 µV."""


def written(folder, content, name="ecg.xml"):
    path = folder / name
    path.write_bytes(content)
    return path


def read(folder, content):
    return read_ecg(written(folder, content), UTC)


def refusal(folder, content):
    with pytest.raises(UnreadableFile) as error:
        read(folder, content)
    return error.value.detail


def test_what_the_library_reads_becomes_a_record(tmp_path):
    record = read(tmp_path, mortara(STEPS))
    assert (record.leads, record.sample_rate_hz) == (LEADS, 500.0)
    steps = np.frombuffer(record.samples, "<i2").reshape(12, -1)
    np.testing.assert_allclose(steps * record.microvolts_per_step, STEPS * 5, atol=record.microvolts_per_step / 2)
    assert record.recorded_at == datetime(2020, 11, 16, 21, 44, 39, tzinfo=UTC)
    assert record.remarks == ()
    assert b"Roe" not in encode_ecg(record)


def test_a_compressed_file_is_read_as_well(tmp_path):
    plain, packed = read(tmp_path, mortara(STEPS)), read(tmp_path, gzip.compress(mortara(STEPS)))
    assert packed.samples == plain.samples


def test_a_warning_of_the_library_is_read_and_not_muted(tmp_path):
    record = read(tmp_path, mortara(STEPS, channel='OFFSET="7"'))
    (remark,) = record.remarks
    assert (remark.code, "CHANNEL OFFSET is non-zero" in remark.detail) == ("library_warning", True)
    (quality,) = take_in([record], 1).outcomes
    assert isinstance(quality, Quality)
    assert {warning.code for warning in quality.warnings} == {"library_warning"}


def test_leads_without_a_scale_are_refused_and_not_taken_for_millivolts(tmp_path):
    assert "I without a scale" in refusal(tmp_path, mortara(STEPS, units_per_mv=""))
    assert "without a scale" in refusal(tmp_path, kardia(STEPS, amplitudeResolution=None))


def test_a_lead_that_comes_twice_is_not_resolved_into_another(tmp_path):
    names = ["I", "II", "II", *LEADS[3:]]
    assert "two different channels are named II" in refusal(tmp_path, mortara(STEPS, names=names))


def test_median_beats_are_derived_and_never_taken_for_the_ecg(tmp_path):
    data = base64.b64encode(STEPS[0, :500].astype("<i2").tobytes()).decode()
    beats = "".join(f'<TYPICAL_CYCLE_CHANNEL NAME="{name}" DATA="{data}"/>' for name in LEADS)
    more = f'<TYPICAL_CYCLE SAMPLE_FREQ="500" UNITS_PER_MV="200">{beats}</TYPICAL_CYCLE>'
    recording = read_other(written(tmp_path, mortara(STEPS, more=more)))
    assert [part.derived for part in recording.parts] == [False, True]
    assert read(tmp_path, mortara(STEPS, more=more)).n_samples == 5000


def test_a_handheld_recorder_of_six_leads_lacks_the_others(tmp_path):
    detail = refusal(tmp_path, kardia(STEPS))
    assert "read as AliveCor Kardia JSON and lacks V1, V2, V3, V4, V5, V6" in detail


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (kardia(STEPS, frequency=0), "frequency is missing or invalid"),
        (kardia(STEPS, samples={}), "no samples in data.raw"),
        (kardia(STEPS, samples={"leadI": ["x"]}), "cannot decode the file"),
        (b'{"recordedAt": 1, "patientID": 1, "data": ', "Malformed Kardia JSON in the file"),
        (b'{"recordedAt": 1, "data12L": 1, "data": 1}', "Kardia 12L recordings are not supported"),
        (mortara(STEPS)[:-200], "Malformed Mortara XML in the file"),
        (mortara(STEPS, channel='BITS2="8"').replace(b'BITS="16"', b'BITS="8"'), "only 16-bit signed Base64 data"),
    ],
)
def test_an_error_of_the_library_becomes_a_sentence_without_pythons_words(tmp_path, content, found):
    detail = refusal(tmp_path, content)
    assert "was taken for" in detail
    assert found in detail
    assert "Export it again" in detail
    assert not any(words in detail for words in ("Error", "could not convert", "Expecting", "line 1", "None"))
