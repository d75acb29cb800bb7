"""Every file that is not simply taken is counted by code and listed in the errors file, within a bounded memory."""

import msgspec
import pytest

from inference.file_account import FIRST_NOTES, FileAccount, FileCounts, ecgs_of, open_account
from inference.reading.file_note import PART, FileNote
from schemas.errors import InvalidSettings


def note(number, status="refused", code="not_an_ecg"):
    return FileNote(path=f"file {number}", status=status, code=code, detail="why")


def lines(path):
    return [msgspec.json.decode(line, type=FileNote) for line in path.read_bytes().splitlines()]


def test_files_are_counted_by_what_became_of_them_and_by_code():
    account = FileAccount()
    for told in (
        note(1),
        note(2, code="archive"),
        note(3, "passed_over"),
        note(4, "taken"),
        note(5, "passed_over", PART),
    ):
        account.tell(told)
    assert account.counts() == FileCounts(
        refused={"archive": 1, "not_an_ecg": 1},
        passed_over={"not_an_ecg": 1},
        taken_with_a_note={"not_an_ecg": 1},
        parts=1,
    )


def test_the_first_notes_are_kept_and_all_are_written_but_parts(tmp_path):
    path = tmp_path / "errors.jsonl"
    told = [note(number) for number in range(FIRST_NOTES + 5)]
    with open_account(path) as account:
        for one in told:
            account.tell(one)
        account.tell(note(99, "passed_over", PART))
        assert lines(path) == told  # while the run goes on
    assert account.first_notes == told[:FIRST_NOTES]
    assert account.counts().refused == {"not_an_ecg": FIRST_NOTES + 5}


def test_what_is_passed_over_takes_no_place_among_the_notes_that_are_shown():
    account = FileAccount()
    for number in range(FIRST_NOTES + 5):
        account.tell(note(number, "passed_over"))
    account.tell(note(1000))
    assert [shown.path for shown in account.first_notes] == ["file 1000"]


def test_the_errors_of_an_earlier_run_are_kept(tmp_path):
    path = tmp_path / "errors.jsonl"
    with open_account(path) as account:
        account.tell(note(1))
    with pytest.raises(InvalidSettings, match="name another file"), open_account(path):
        pass
    with open_account(path, continues=True) as account:
        account.tell(note(2))
    assert lines(path) == [note(1), note(2)]


def test_a_run_that_continues_another_may_be_the_first_with_a_file_for_errors(tmp_path):
    with open_account(tmp_path / "errors.jsonl", continues=True) as account:
        account.tell(note(1))
    assert lines(tmp_path / "errors.jsonl") == [note(1)]


def test_the_account_is_told_of_every_file_of_a_folder_that_is_no_ecg(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "b.xml").write_text("<cut")
    account = FileAccount()
    assert list(ecgs_of([tmp_path, tmp_path / "named"], account)) == [tmp_path / "b.xml", tmp_path / "named"]
    assert account.counts().passed_over == {"not_an_ecg": 1}
