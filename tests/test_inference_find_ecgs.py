"""In folders ECGs are found by their content, and of every other file it is said why it is none."""

import gzip
import io
import os
import socket
import tarfile
import unicodedata
import zipfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from test_inference_reading import write

from inference.reading.file_note import PART, FileNote
from inference.reading.find_ecgs import find_ecgs, walk
from inference.reading.read_ecg import read_or_refuse

MUSE = b'<?xml version="1.0"?>\n<!DOCTYPE RestingECG SYSTEM "restecg.dtd">\n<RestingECG><PatientDemographics/>'
NOBODY = 65_534
STANDARD = "1.2.840.10008."


def dicom(kind):
    """Return the beginning of a DICOM of a class."""
    kind = kind.encode()
    return bytes(128) + b"DICM\x02\x00\x02\x00UI" + len(kind).to_bytes(2, "little") + kind


def tar():
    """Return a tar archive of nothing much."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("ecg.hea"))
    return written.getvalue()


def zipped(name="ecg.hea"):
    """Return a zip archive of one file."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr(name, "hello")
    return written.getvalue()


def judged(folder):
    """Return what a walk says: the ECGs, and the code of every other file, by the path below the folder."""
    ecgs, codes = [], {}
    for found in walk([folder]):
        if isinstance(found, FileNote):
            codes[os.path.relpath(found.path, folder)] = found.code
        else:
            ecgs.append(found.relative_to(folder).as_posix())
    return ecgs, codes


def said(folder, name):
    """Return the sentence of a file."""
    (sentence,) = [
        found.detail for found in walk([folder]) if isinstance(found, FileNote) and found.path.endswith(name)
    ]
    return sentence


@pytest.mark.parametrize("name", ["IM000001", "00000002.ima", "SCAN.DCM", "report.bak", "one.dcm.gz"])
@pytest.mark.parametrize("content", [dicom(f"{STANDARD}5.1.4.1.1.9.1.1"), MUSE], ids=["DICOM", "MUSE"])
def test_the_content_decides_whatever_the_name_is(tmp_path, name, content):
    (tmp_path / name).write_bytes(gzip.compress(content * 40) if name.endswith(".gz") else content)
    assert judged(tmp_path) == ([name], {})


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [
        (zipped(), "archive", "zip"),
        (zipped("[Content_Types].xml"), "not_an_ecg", "Office"),
        (tar(), "archive", "tar"),
        (gzip.compress(tar(), mtime=0), "archive", "tar"),
        (b"7z\xbc\xaf\x27\x1c", "archive", "7z"),
        (b"\xfd7zXZ\x00", "archive", "xz"),
        (b"\x89HDF\r\n\x1a\n", "not_an_ecg", "HDF5"),
        (b"PAR1 and more", "not_an_ecg", "Parquet"),
        (b"%PDF-1.7", "not_an_ecg", "PDF"),
        (b"\x89PNG\r\n\x1a\n", "not_an_ecg", "PNG"),
        (b"a,b,c\n1,2,3\n", "not_an_ecg", "CSV"),
        (b"\xef\xbb\xbfa;b;c\n1;2;3\n", "not_an_ecg", "CSV"),
        (b"<html><body>", "not_an_ecg", "HTML"),
        (b"<?xml version='1.0'?><settings/>", "not_an_ecg", "<settings>"),
        (b'{"a": 1}', "not_an_ecg", "JSON"),
        (b"Dear colleague", "not_an_ecg", "a text"),
        (dicom(f"{STANDARD}1.3.10"), "not_an_ecg", "DICOMDIR"),
        (dicom(f"{STANDARD}5.1.4.1.1.2"), "not_an_ecg", "without a waveform"),
        (dicom(f"{STANDARD}5.1.4.1.1.104.1"), "not_an_ecg", "PDF within a DICOM"),
        (bytes(range(256)) * 20, "not_an_ecg", "no format"),
        (b"", "empty_file", "empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_ecg_is_passed_over_by_its_name(tmp_path, content, code, word):
    (tmp_path / "file").write_bytes(content)
    assert judged(tmp_path) == ([], {"file": code})
    assert word in said(tmp_path, "file")
    assert {found.status for found in walk([tmp_path])} == {"passed_over"}


def test_a_file_that_is_meant_for_an_ecg_is_refused_by_its_reader_and_not_passed_over(tmp_path):
    (tmp_path / "cut.xml").write_bytes(b"<?xml version='1.0'?><Rest")
    (tmp_path / "empty.dcm").touch()
    assert judged(tmp_path) == (["cut.xml", "empty.dcm"], {})


def test_the_files_of_a_wfdb_record_are_its_parts(tmp_path):
    write(tmp_path)
    (tmp_path / "100.atr").write_bytes(bytes(range(256)))
    assert judged(tmp_path) == (["100.hea"], {"100.dat": PART, "100.atr": PART})


def test_a_signal_file_may_have_a_name_of_its_own(tmp_path):
    header = write(tmp_path)
    header.with_suffix(".dat").rename(tmp_path / "signals.bin")
    header.write_text(header.read_text().replace("100.dat", "signals.bin"))
    assert judged(tmp_path) == (["100.hea"], {"signals.bin": PART})


@pytest.mark.parametrize("name", ["100.dat.gz", "u\u0308bung.dat"])
def test_a_signal_file_may_be_compressed_or_spelled_in_another_form_of_unicode(tmp_path, name):
    header = write(tmp_path)
    header.with_suffix(".dat").rename(tmp_path / name)
    named = unicodedata.normalize("NFC", name.removesuffix(".gz"))
    header.write_text(header.read_text().replace("100.dat", named), encoding="utf-8")
    assert judged(tmp_path) == (["100.hea"], {name: PART})


def test_a_compressed_header_and_files_in_capitals_are_one_record(tmp_path):
    header = write(tmp_path)
    (tmp_path / "100.hea.gz").write_bytes(gzip.compress(header.read_bytes()))
    header.unlink()
    header.with_suffix(".dat").rename(tmp_path / "100.DAT")
    (tmp_path / "100.ATR").write_bytes(bytes(range(256)))
    assert judged(tmp_path) == (["100.hea.gz"], {"100.DAT": PART, "100.ATR": PART})


@pytest.mark.parametrize("name", ["./100.dat", "signals/100.dat", "signals/raw/100.dat"])
def test_a_signal_file_may_be_named_with_its_folder(tmp_path, name):
    header = write(tmp_path)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    header.with_suffix(".dat").rename(tmp_path / name)
    header.write_text(header.read_text().replace("100.dat", name))
    write(tmp_path / "signals" / "raw" if "raw" in name else tmp_path, name="200")
    ecgs, codes = judged(tmp_path)
    assert codes[os.path.normpath(name)] == PART
    assert len(ecgs) == 2
    assert set(codes.values()) == {PART}


def test_a_signal_file_without_its_header_is_refused(tmp_path):
    write(tmp_path).unlink()
    assert judged(tmp_path) == ([], {"100.dat": "missing_header"})
    assert [found.status for found in walk([tmp_path])] == ["refused"]
    assert "100.hea must lie beside it" in said(tmp_path, "100.dat")


def test_the_segments_of_a_record_are_no_records_of_their_own(tmp_path):
    write(tmp_path, name="day_1")
    write(tmp_path, name="day_2")
    (tmp_path / "day.hea").write_text("# a comment\nday/3 12 500 12000\nday_1 5000\n~ 2000\nday_2 5000\n")
    ecgs, codes = judged(tmp_path)
    assert ecgs == ["day.hea"]
    assert Counter(codes.values()) == {PART: 4}


def test_another_format_beside_a_header_is_an_ecg_of_its_own(tmp_path):
    write(tmp_path)
    (tmp_path / "100.xml").write_bytes(MUSE)
    assert judged(tmp_path)[0] == ["100.hea", "100.xml"]


def test_hidden_files_and_what_systems_leave_behind_are_passed_over(tmp_path):
    for name in (".git", "__MACOSX", "a"):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    for name in (".DS_Store", "Thumbs.db", "._100.hea"):
        (tmp_path / name).write_bytes(b"x")
    ecgs, codes = judged(tmp_path)
    assert ecgs == ["a/100.hea"]
    hidden = {name for name, code in codes.items() if code == "hidden"}
    assert hidden == {".git", "__MACOSX", ".DS_Store", "Thumbs.db", "._100.hea"}


def test_linked_folders_are_walked_once_and_links_in_a_ring_end(tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    for folder in (outside / "deep", root / "a"):
        folder.mkdir(parents=True)
        write(folder)
    (root / "a" / "up").symlink_to(root)
    (root / "b").symlink_to(outside)
    (root / "c").symlink_to(outside)
    (root / "d").symlink_to(root / "a")
    (root / "e").symlink_to(outside / "deep")
    (outside / "deep" / "back").symlink_to(outside)
    ecgs, codes = judged(root)
    assert ecgs == ["a/100.hea", "b/deep/100.hea"]
    again = {name for name, code in codes.items() if code == "walked_already"}
    assert again == {"a/up", "b/deep/back", "c", "d", "e"}


def test_a_link_into_a_hidden_folder_is_followed(tmp_path):
    store = tmp_path / ".store" / "ecgs"
    store.mkdir(parents=True)
    write(store)
    (tmp_path / "ecgs").symlink_to(store)
    assert judged(tmp_path)[0] == ["ecgs/100.hea"]


def test_a_link_to_a_folder_above_does_not_walk_the_first_folder_again(tmp_path):
    root = tmp_path / "x" / "root"
    root.mkdir(parents=True)
    write(root)
    (root / "up").symlink_to(tmp_path)
    ecgs, codes = judged(root)
    assert ecgs == ["100.hea"]
    assert codes["up/x/root"] == "walked_already"


def test_a_linked_file_is_a_file_and_a_broken_link_is_told(tmp_path):
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    elsewhere.mkdir()
    root.mkdir()
    (elsewhere / "ecg").write_bytes(MUSE)
    (root / "linked").symlink_to(elsewhere / "ecg")
    (root / "broken").symlink_to(elsewhere / "gone")
    (root / "self").symlink_to("self")
    assert judged(root) == (["linked"], {"broken": "missing_file", "self": "missing_file"})


def test_pipes_sockets_and_devices_are_never_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        assert judged(tmp_path) == ([], dict.fromkeys(("pipe", "device", "socket"), "special_file"))


@pytest.fixture
def open_folder():
    """A folder that every user may look into."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def bound_by_permissions():
    """Be a user whom permissions bind."""
    user = os.geteuid()
    os.seteuid(user or NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


def test_what_may_not_be_read_is_refused_and_the_walk_goes_on(open_folder):
    write(open_folder)
    (open_folder / "noise").write_bytes(bytes(range(256)))
    judged(open_folder)  # imports what it needs, as long as that may be read
    (open_folder / "closed").mkdir(mode=0)
    (open_folder / "secret").write_bytes(MUSE)
    (open_folder / "secret").chmod(0)
    with bound_by_permissions():
        ecgs, codes = judged(open_folder)
        refusal = read_or_refuse(open_folder / "secret")
    assert ecgs == ["100.hea"]
    assert (codes["closed"], codes["secret"]) == ("permission_denied", "permission_denied")
    assert refusal.wire_code == "permission_denied"
    assert "change its permissions" in refusal.detail


def test_every_file_is_either_an_ecg_or_told_once(tmp_path):
    generator = np.random.default_rng(0)
    for number in range(40):
        folder = tmp_path / str(generator.integers(4)) / str(generator.integers(4))
        folder.mkdir(parents=True, exist_ok=True)
        content = [MUSE, b"", b"text", zipped(), bytes(range(256))][generator.integers(5)]
        (folder / f"{number}{['', '.xml', '.dat', '.txt'][generator.integers(4)]}").write_bytes(content)
    ecgs, codes = judged(tmp_path)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert sorted([*ecgs, *codes]) == sorted(files)
    assert list(find_ecgs([tmp_path])) == [tmp_path / ecg for ecg in ecgs]
