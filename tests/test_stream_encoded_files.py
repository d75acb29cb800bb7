"""Files become records for the broker: numbered, named, and held against the records that went before."""

import shutil

import pytest
from test_inference_reading import STEPS, write

from inference.file_account import FileAccount
from inference.reading.file_note import PART
from schemas.codec import decode_ecg
from stream.broker.encoded_files import encoded_files


@pytest.fixture
def export(tmp_path):
    """An export in which the files of all patients have the same name."""
    for folder, digital in (("p1", STEPS), ("p2", STEPS[:, ::-1].copy())):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, name="IM000001", digital=digital)
    return tmp_path


def published(paths, **options):
    """Return the ids by number, None for what was refused, and the account."""
    account = FileAccount()
    found = dict(encoded_files(paths, account, **options))
    return {number: one and one.record_id for number, one in found.items()}, account


def test_a_second_ecg_under_one_id_is_refused_and_named_with_the_first(export):
    ids, account = published([export])
    assert ids == {1: "IM000001", 2: None}
    (note,) = account.first_notes
    assert (note.status, note.code) == ("refused", "doubled_id")
    assert note.path == str(export / "p2" / "IM000001.hea")
    assert str(export / "p1" / "IM000001.hea") in note.detail
    assert "--ids path" in note.detail


def test_ids_from_paths_keep_apart_what_has_the_same_name(export):
    ids, account = published([export], ids="path")
    assert ids == {1: "p1/IM000001.hea", 2: "p2/IM000001.hea"}
    assert account.counts().refused == {}
    found = dict(encoded_files([export / "p1" / "IM000001.hea"], account, ids="path"))
    assert decode_ecg(found[1].value).record_id == "IM000001.hea"


def test_a_file_that_is_named_below_a_folder_that_is_named_has_one_id(export):
    ids, account = published([export, export / "p1"], ids="path")
    assert ids == {1: "p1/IM000001.hea", 2: "p2/IM000001.hea", 3: "p1/IM000001.hea"}
    assert account.counts().taken_with_a_note == {"doubled_record": 1}


def test_the_same_ecg_under_two_ids_is_sent_and_told(export):
    header = write(export, name="other")
    ids, account = published([export])
    assert ids == {1: "other", 2: "IM000001", 3: None}
    doubled = [note for note in account.first_notes if note.code == "doubled_ecg"]
    assert [(note.status, note.numbers["other"]) for note in doubled] == [("taken", str(header))]


def test_an_id_that_is_too_long_is_refused_and_the_next_file_is_sent(export):
    deep = export / ("x" * 200) / ("y" * 100)
    deep.mkdir(parents=True)
    write(deep)
    ids, account = published([export], ids="path")
    assert ids[3] is None
    assert account.counts().refused == {"oversized_record": 1}


@pytest.mark.parametrize("skip", range(4))
def test_skipping_goes_on_with_the_same_numbers_and_says_nothing_of_what_lies_before(tmp_path, skip):
    for number in range(3):
        (tmp_path / f"{number}").mkdir()
        write(tmp_path / f"{number}", name=f"r{number}")
        (tmp_path / f"{number}" / "a.txt").write_text("no ECG")
        (tmp_path / f"{number}" / "z.txt").write_text("no ECG")
    ids, account = published([tmp_path], skip=skip)
    assert ids == {number: f"r{number - 1}" for number in range(skip + 1, 4)}
    counts = account.counts()
    after = 3 - skip
    assert counts.passed_over.get("not_an_ecg", 0) == 2 * after + bool(skip)  # and what lies behind the last one
    assert counts.parts == after
    assert PART not in counts.passed_over


def test_what_cannot_be_read_has_a_number_and_a_code(tmp_path):
    write(tmp_path, name="b")
    (tmp_path / "a.xml").touch()
    shutil.copy(tmp_path / "b.hea", tmp_path / "c.hea")
    (tmp_path / "c.hea").write_text((tmp_path / "c.hea").read_text().replace("b.dat", "gone.dat"))
    ids, account = published([tmp_path])
    assert ids == {1: None, 2: "b", 3: None}
    assert account.counts().refused == {"empty_file": 1, "missing_file": 1}
