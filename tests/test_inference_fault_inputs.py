"""Inputs that people reported, each beside what it must answer: `../shared/data/ecg/faults/README.md` tells of them."""

from pathlib import Path

import pytest
from needed import ECGS, needs_real_ecgs

from inference.file_account import FileAccount, ecgs_of
from inference.reading.file_note import PART
from inference.screen_files import Screened, screen_files
from schemas.codec import decode_ecg
from schemas.messages import DISEASES
from schemas.writer_schema import resolve_schema
from stream.screening.model import load_screener
from stream.settings import ModelSettings

FAULTS = ECGS / "faults"
pytestmark = needs_real_ecgs

SAME_ECG = {
    "wfdb/as_it_should_be.hea": "a control",
    "wfdb/no_length.hea": "header(5) allows a header without a number of samples",
    "wfdb/length_zero.hea": "0 samples mean that their number is not known",
    "wfdb/no_description.hea": "signals without names are in the standard order, or are refused by name",
    "wfdb/negative_gain.hea": "a negative gain turns the signal over",
    "wfdb/not_paced.hea": "'not paced' is not paced",
    "wfdb/übung.hea": "a name beyond ASCII",
    "dicom/as_it_should_be.dcm": "a control",
    "dicom/median_first_unlabelled.dcm": "the first group does not stand for the file",
    "dicom/limb_and_chest_groups.dcm": "the leads lie in two groups",
    "dicom/no_preamble.dcm": "a data set without the header of part 10",
}
"""Kinds of files that hold the ECG of their folder's control, by path."""
UNNAMED = "wfdb/no_description.hea"
SCREENED = ("pacs_folder/DICOM/00000002.ima", "pacs_folder/DICOM/IM000001", "pacs_folder/DICOM/IM000003.dcm")
OTHERS = ("muse_short_strip_first.xml", "ishne_clean_twin.ecg", "ishne_lead_fault.ecg")
REFUSED = {"edf_plus_d_ten_single_seconds.edf": "too_short"}
NO_ECGS = ("README.md", "kafka/optional_field_appended.avro.bin", "kafka/optional_field_appended.avsc",
           "proxies/http_proxy.py", "proxies/redis_proxy.py")  # fmt: skip
PARTS = ("wfdb/ecg.dat", "wfdb/inverted.dat", "wfdb/übung.dat")


@pytest.fixture(scope="module")
def account():
    return FileAccount()


@pytest.fixture(scope="module")
def answers(account):
    """The answers to the ECGs of the folder, by the path below it."""
    screener = load_screener(ModelSettings(engine="onnxruntime"), max_batch=16)
    found = screen_files(screener, ecgs_of([FAULTS], account))
    return {Path(answer.source).relative_to(FAULTS).as_posix(): answer for answer in found}


def probabilities(answer):
    assert isinstance(answer, Screened), answer.detail
    return {risk.disease: risk.probability for risk in answer.report.risks}


def warnings(answer):
    """Return the doubts about the signal. Whether a format tells the age is another matter."""
    return {warning.code for warning in answer.report.quality.warnings} - {"age_unknown"}


def test_every_file_of_the_folder_has_its_answer_here(answers, account):
    files = {path.relative_to(FAULTS).as_posix() for path in FAULTS.rglob("*") if path.is_file()}
    assert files == {*SAME_ECG, *SCREENED, *OTHERS, *REFUSED, *NO_ECGS, *PARTS}
    assert set(answers) == files - {*NO_ECGS, *PARTS}
    assert account.counts().passed_over == {"not_an_ecg": len(NO_ECGS)}
    assert account.counts().parts == len(PARTS)


@pytest.mark.parametrize("name", [name for name in SAME_ECG if name != UNNAMED], ids=lambda name: SAME_ECG[name])
def test_a_file_that_describes_the_ecg_of_its_control_has_the_same_answer(answers, name):
    folder = name.partition("/")[0]
    control = answers[next(path for path in SAME_ECG if path.startswith(folder))]
    assert probabilities(answers[name]) == pytest.approx(probabilities(control), abs=0.02)
    assert warnings(answers[name]) == warnings(control)


def test_signals_without_names_are_refused_by_name_and_not_by_python(answers):
    answer = answers[UNNAMED]
    assert (answer.status, answer.code) == ("rejected", "unreadable_file")
    assert "its 12 signals: write the lead at the end of each signal's line" in answer.detail


@pytest.mark.parametrize("name", SCREENED)
def test_each_ecg_of_a_folder_of_a_pacs_is_screened_whatever_it_is_called(answers, name):
    assert set(probabilities(answers[name])) == set(DISEASES)


def test_a_short_strip_before_the_rhythm_does_not_stand_for_the_file(answers):
    assert set(probabilities(answers["muse_short_strip_first.xml"])) == set(DISEASES)
    assert answers["muse_short_strip_first.xml"].report.quality.duration_s == pytest.approx(10.0)


def test_ten_single_seconds_a_minute_apart_are_no_ten_seconds(answers):
    answer = answers["edf_plus_d_ten_single_seconds.edf"]
    assert (answer.status, answer.code) == ("rejected", "too_short")
    assert "data record 2 of 10" in answer.detail
    assert "60 s later" in answer.detail


def test_a_lead_fault_is_a_gap_and_moves_no_verdict(answers):
    faulty, clean = answers["ishne_lead_fault.ecg"], answers["ishne_clean_twin.ecg"]
    assert probabilities(faulty) == pytest.approx(probabilities(clean), abs=0.05)
    assert [risk.flagged for risk in faulty.report.risks] == [risk.flagged for risk in clean.report.risks]
    assert warnings(clean) == set()
    assert warnings(faulty) != set()


def test_a_record_with_one_optional_field_more_is_read_by_its_writers_schema():
    schema = resolve_schema((FAULTS / "kafka" / "optional_field_appended.avsc").read_text())
    value = (FAULTS / "kafka" / "optional_field_appended.avro.bin").read_bytes()
    record = decode_ecg(value, find_schema=lambda _: schema)
    assert record.record_id == "evolved-1"


def test_no_sentence_is_pythons(answers):
    rejected = [answer for answer in answers.values() if not isinstance(answer, Screened)]
    for answer in rejected:
        assert "Error" not in answer.detail
        assert "NoneType" not in answer.detail


def test_parts_of_records_are_counted_and_not_listed(account):
    assert PART not in account.counts().passed_over
