"""Whatever is wrong with a file, or with a reader of ours, a person reads a sentence and a program reads a code."""

import errno
import gzip
import os
from datetime import datetime, timedelta, timezone

import pytest
from test_inference_reading import write

from inference.reading import formats
from inference.reading.content import printable, why_unreadable
from inference.reading.find_ecgs import walk
from inference.reading.formats import Format
from inference.reading.read_ecg import read_ecg, read_or_refuse
from schemas.ecg_record import EcgRecord
from schemas.errors import MalformedRecord, RecordError


def refused(path):
    """Return the code and the sentence of a refusal."""
    outcome = read_or_refuse(path)
    assert isinstance(outcome, RecordError)
    return outcome.wire_code, outcome.detail


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (errno.ENOENT, "missing_file", "is not there"),
        (errno.ELOOP, "missing_file", "link that leads nowhere"),
        (errno.EACCES, "permission_denied", "change its permissions"),
        (errno.EPERM, "permission_denied", "change its permissions"),
        (errno.EISDIR, "missing_file", "is a folder"),
        (errno.ENAMETOOLONG, "missing_file", "so long a name"),
        (errno.EIO, "read_error", "Input/output error"),
        (errno.ESTALE, "read_error", "network drive"),
    ],
)
def test_what_the_system_refuses_is_said_in_words_with_a_code(tmp_path, number, code, words):
    refusal = why_unreadable(tmp_path / "a.dcm", OSError(number, os.strerror(number), str(tmp_path / "b.dat")))
    assert refusal.wire_code == code
    assert words in refusal.detail
    assert str(tmp_path / "a.dcm") in refusal.detail
    assert "Errno" not in refusal.detail


@pytest.mark.parametrize(
    "error", [IndexError("list index out of range"), AttributeError("'NoneType' object has no attribute 'strip'")]
)
def test_a_reader_that_breaks_is_a_fault_of_ours_in_our_words(tmp_path, monkeypatch, error):
    def read(_content, _path):
        raise error

    monkeypatch.setattr(formats, "FORMATS", (Format("Broken", lambda head: head.startswith(b"BROKEN"), read),))
    (tmp_path / "ecg").write_bytes(b"BROKEN")
    outcome = read_or_refuse(tmp_path / "ecg")
    assert outcome.wire_code == "reader_failed"
    assert str(error) not in outcome.detail
    assert "report the format" in outcome.detail
    assert "Broken" in outcome.detail
    assert outcome.numbers == {"error": type(error).__name__, "format": "Broken"}


def test_a_recognition_that_breaks_costs_one_file_and_ends_no_walk(tmp_path, monkeypatch):
    def recognise(head):
        raise IndexError(head)

    monkeypatch.setattr(formats, "FORMATS", (Format("Broken", recognise, read_ecg),))
    (tmp_path / "a").write_bytes(bytes(range(256)))
    (tmp_path / "b.txt").write_bytes(b"")
    found = list(walk([tmp_path]))
    assert found[0] == tmp_path / "a"
    assert [note.code for note in found[1:]] == ["empty_file"]
    assert refused(tmp_path / "a")[0] == "reader_failed"


def test_a_refusal_of_any_kind_by_a_reader_keeps_its_code(tmp_path, monkeypatch):
    def read(_content, _path):
        raise MalformedRecord("no", code="other_patient")

    monkeypatch.setattr(formats, "FORMATS", (Format("Strict", lambda head: head.startswith(b"STRICT"), read),))
    (tmp_path / "ecg").write_bytes(b"STRICT")
    assert refused(tmp_path / "ecg") == ("other_patient", "no")


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", "empty_file", "is empty"),
        (b"PK\x03\x04", "archive", "unpack it"),
        (b"%PDF-1.4", "not_an_ecg", "a PDF"),
        (b"a,b\n1,2\n", "not_an_ecg", "CSV"),
        (bytes(range(256)), "not_an_ecg", "no format"),
        (gzip.compress(b"hello", mtime=0)[:-4], "not_an_ecg", "a text"),
    ],
)
def test_what_is_no_ecg_is_called_by_its_name(tmp_path, content, code, words):
    (tmp_path / "file.ecg").write_bytes(content)
    found, sentence = refused(tmp_path / "file.ecg")
    assert (found, words in sentence) == (code, True)


def test_a_signal_file_without_a_header_says_which_header_it_lacks(tmp_path):
    write(tmp_path).unlink()
    code, sentence = refused(tmp_path / "100.dat")
    assert code == "missing_header"
    assert "100.hea must lie beside it" in sentence


def test_a_pipe_is_refused_and_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe")[0] == "special_file"


def test_a_name_is_printed_in_one_line(tmp_path):
    (tmp_path / "two\nlines.xml").touch()
    _, sentence = refused(tmp_path / "two\nlines.xml")
    assert "\n" not in sentence
    assert r"two\nlines" in sentence
    assert "rename the file" in sentence
    assert printable(tmp_path / "übung 1.hea") == str(tmp_path / "übung 1.hea")


def test_a_time_without_a_zone_is_understood_in_the_zone_that_is_given(tmp_path):
    header = write(tmp_path)
    first, *others = header.read_text().splitlines()
    header.write_text("\n".join([f"{first} 08:30:00 24/12/2020", *others, ""]))
    east = timezone(timedelta(hours=5))
    record = read_ecg(header, east)
    assert isinstance(record, EcgRecord)
    assert record.recorded_at == datetime(2020, 12, 24, 8, 30, tzinfo=east)
