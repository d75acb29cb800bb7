"""Whatever lies in a header or a signal file, the answer is an ECG or a refusal in words, within bounds."""

import os
import tempfile
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wfdb_records import STEPS, write_record

from inference.reading.read_ecg import read_or_refuse
from schemas.codec import encode_ecg
from schemas.errors import UnreadableFile

SIGNALS = STEPS.T.tobytes()
WORDS = """
100 r r/2 r/0 ~ - 0 1 12 2 500 250.5 0.0001 1e9 1e400 nan inf 5000 99999999999999999999 -1
08:00:00 01/01/2180 31/02/2020 05-May-2020 100.dat s.dat ../x /dev/zero
16 16x2 16:5 16+24 16x9999:999999999+99999999999 8 212 310 311 24 32 61 80 160 508 516 524
200 200(0)/mV 200/NU -200(1e300)/V 1e-300 0 I II III aVR aVL aVF V1 V2 V3 V4 V5 V6
# #Age: <age>: <sex>: F pacing no not ü
"""
TOKENS = (*WORDS.split(), "\x00", "\t", "")
lines = st.lists(st.sampled_from(TOKENS), max_size=10).map(" ".join)
headers = st.lists(lines, max_size=16).map(lambda text: "\n".join(text).encode())


def is_answered(header, signals=SIGNALS):
    """Read the header, beside a sound signal file and under a sound name, and look at the answer."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("100.dat", "s.dat"):
            (folder / file).write_bytes(signals)
        write_record(folder, "s")
        (folder / "100.hea").write_bytes(header)
        began = time.process_time()
        answer = read_or_refuse(folder / "100.hea")
        assert time.process_time() - began < 60
    if isinstance(answer, UnreadableFile):
        assert answer.wire_code != "reader_failed", answer.detail
        assert len(answer.detail) < 3000
    else:
        encode_ecg(answer)


def sound_header():
    with tempfile.TemporaryDirectory() as name:
        return write_record(Path(name), comments=["Age: 50", "Sex: F", "not paced"]).read_bytes()


SOUND = sound_header()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_answered(header):
    is_answered(header)


@settings(max_examples=400, deadline=None)
@given(headers)
@example(b"100 1 1e-4 5000\n100.dat 16:4999 200 0 0 0 0 0 I")
@example("100 1 500 5000\nä\x00/ü.dat 16 200 0 0 0 0 0 I".encode())
@example(b"100/2 1 500 5000\ns 5000\n~ 99999999999999999")
def test_any_words_of_a_header_are_answered(header):
    is_answered(header)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 3), st.binary(max_size=6)), min_size=1, max_size=6))
def test_a_sound_header_that_was_changed_is_answered(changes):
    header = bytearray(SOUND)
    for place, cut, inserted in changes:
        at = place % (len(header) + 1)
        header[at : at + cut] = inserted
    is_answered(bytes(header))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["8", "16", "24", "32", "61", "80", "160", "212", "310", "311", "508", "516", "524"]),
    st.binary(max_size=4000),
    st.sampled_from([b"", b"fLaC\x00\x00\x00\x22"]),
)
def test_any_signal_file_is_answered(number, content, start):
    header = SOUND.replace(b" 16 ", f" {number} ".encode(), 12).replace(b" 5000", b" ")
    is_answered(header, start + content)


def test_a_header_of_many_lines_takes_little_time_and_memory():
    line = b"100.dat 16 200(0)/mV 16 0 0 0 0 I\n"
    tracemalloc.start()
    is_answered(b"100 30000 500 5000\n" + line * 30_000)
    is_answered(b"100/40000 30000 500 5000\n" + b"s 5000\n" * 40_000)
    is_answered(b"# " + b"no pacing of " * 80_000)
    is_answered(b"100 12 500 5000\n" + b"100.dat 16 " + b"9" * 1_000_000)
    assert tracemalloc.get_traced_memory()[1] < 300 * 2**20
    tracemalloc.stop()


def test_what_is_no_flac_file_is_never_tried_as_another_kind_of_audio(tmp_path, capfd):
    """The library of FLAC reads MP3 too, whose decoder writes to the terminal of whoever publishes an archive."""
    write_record(tmp_path, "r")
    header = tmp_path / "r.hea"
    header.write_text(header.read_text().replace("r.dat 16", "r.dat 516"))
    frame = b"\xff\xfb\x90\x64" + bytes(413)
    (tmp_path / "r.dat").write_bytes(frame * 4 + b"\xff\xff\x03\x00" * 300)
    answer = read_or_refuse(header)
    assert isinstance(answer, UnreadableFile)
    assert "is no FLAC file" in str(answer)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_header_that_names_what_is_no_file_is_refused_in_words(tmp_path, kind):
    header = write_record(tmp_path)
    (tmp_path / "100.dat").unlink()
    if kind == "pipe":
        os.mkfifo(tmp_path / "100.dat")
    else:
        (tmp_path / "100.dat").symlink_to("/dev/zero")

    answer = read_or_refuse(header)

    assert answer.wire_code == "special_file"
    assert "'100.dat', which is not there as a file: it is a pipe, a socket or a device" in answer.detail
