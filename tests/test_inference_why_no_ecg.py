"""Whatever the first bytes of a file are, there is one answer to them, and it is no exception."""

from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from inference.reading.content import HEAD_BYTES
from inference.reading.why_no_ecg import why_no_ecg

BEGINNINGS = (
    b"", b"<", b"<?xml version='1.0'?><RestingECG>", b"\xff\xfe<\x00", b"{", b"PK\x03\x04", b"ISHNE1.0", b"0       ",
    b"\xffBIOSEMI", bytes(128) + b"DICM", bytes(128) + b"DICM\x02\x00\x02\x00UI", b"@  MFR Standard 12 leads ECG",
    b"\x1f\x8b", b"0000001\x00", b"a,b\n1,2\n", b"\x00" * 257 + b"ustar",
)  # fmt: skip
CODES = {"not_an_ecg", "archive", "empty_file", "missing_header"}
heads = st.builds(lambda start, rest: (start + rest)[:HEAD_BYTES], st.sampled_from(BEGINNINGS), st.binary(max_size=600))
names = st.sampled_from(["file", "file.dat", "file.mat", "file.xml", "file.xle", "patient.hea", "file.gz"])


@settings(max_examples=2000)
@given(head=heads, name=names)
@example(head=b"<\xff", name="file")
def test_every_beginning_of_a_file_has_one_answer(head, name):
    refusal = why_no_ecg(Path(name), head)
    assert refusal is None or refusal.wire_code in CODES
    assert refusal is None or "\n" not in refusal.detail
