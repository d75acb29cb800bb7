"""Contents that are no ECG, by their first bytes: archives, pictures, tables and the like, each by its name."""

from __future__ import annotations

import re
from dataclasses import dataclass

TAR_MARK, TAR_AT = b"ustar", 257
DICOM_MARK, DICOM_AT = b"DICM", 128
DICOM_STANDARD = "1.2.840.10008."
DICOM_DIRECTORY = "1.2.840.10008.1.3.10"
DICOM_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
DICOM_WAVEFORMS = "1.2.840.10008.5.1.4.1.1.9."
"""How the classes of all waveforms begin."""

_DICOM_CLASS = re.compile(rb"\x02\x00\x02\x00UI..([0-9.]{1,64})", re.DOTALL)
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")

ARCHIVES: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
)
OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"PAR1", "a Parquet table"),
    (b"ARROW1", "an Arrow table"),
    (b"Obj\x01", "an Avro container file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"MATLAB 5.0", "a MATLAB file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"%PDF-", "a PDF"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document"),
    (b"{\\rtf", "an RTF document"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\x00", "a program"),
)
"""How contents begin, and what they are."""
OFFICE_ENTRY = b"[Content_Types].xml"
MATLAB_4_HEADER_BYTES = 20


@dataclass(frozen=True, slots=True)
class OtherContent:
    """What a content is that is no ECG.

    Attributes:
        code: `archive` or `not_an_ecg`.
        name: with its article: "a PDF".
        advice: what to do; empty where there is nothing to do.
    """

    code: str
    name: str
    advice: str = ""

    @property
    def sentence(self) -> str:
        """What a person reads of it."""
        return f"this is {self.name}, not an ECG" + (f": {self.advice}" if self.advice else "")


def name_other(head: bytes) -> OtherContent | None:
    """Return what a content is that is surely no ECG, by its first 4 KiB; None where it may be one."""
    if head.startswith(b"PK\x03\x04") and OFFICE_ENTRY in head[:64]:
        return OtherContent("not_an_ecg", "an Office document")
    archive = next((name for mark, name in ARCHIVES if head.startswith(mark)), None)
    if head[TAR_AT : TAR_AT + len(TAR_MARK)] == TAR_MARK:
        archive = "a tar archive"
    if archive:
        return OtherContent("archive", archive, "unpack it, and name the folder")
    known = next((name for mark, name in OTHERS if head.startswith(mark)), None)
    return OtherContent("not_an_ecg", known) if known else _other_dicom(head)


def name_text(head: bytes) -> OtherContent | None:
    """Return what a text is that no reader of ECGs recognised; None where it is no text."""
    if not head or _BINARY.search(head):
        return None
    text = head.decode("utf-8", errors="replace")
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith("<"):
        tag = re.search(r"<([A-Za-z_][\w.:-]*)", start)
        kind = "an HTML page" if tag and tag[1].lower() == "html" else f"an XML file of <{tag[1]}>" if tag else None
        return OtherContent("not_an_ecg", kind or "an XML file without an element")
    if start.startswith(("{", "[")):
        return OtherContent("not_an_ecg", "a JSON file")
    if _is_table(start):
        return OtherContent("not_an_ecg", "a table of text (CSV)", "give the ECG files themselves")
    return OtherContent("not_an_ecg", "a text")


def _is_table(text: str) -> bool:
    """Return whether the first two lines have equally many separators of one kind."""
    first, second = [*text.splitlines()[:2], "", ""][:2]
    return any(0 < first.count(separator) == second.count(separator) for separator in ",;\t")


def is_matlab_4(head: bytes) -> bool:
    """Return whether a content is a matrix `val` as WFDB writes it: MATLAB, level 4."""
    return len(head) > MATLAB_4_HEADER_BYTES and head[MATLAB_4_HEADER_BYTES:].startswith(b"val\x00")


def _other_dicom(head: bytes) -> OtherContent | None:
    if head[DICOM_AT : DICOM_AT + len(DICOM_MARK)] != DICOM_MARK:
        return None
    found = _DICOM_CLASS.search(head)
    kind = found[1].decode().rstrip(".") if found else ""
    if kind == DICOM_DIRECTORY:
        return OtherContent("not_an_ecg", "a DICOM directory (DICOMDIR)", "the ECGs are the files that it lists")
    if kind == DICOM_PDF:
        return OtherContent("not_an_ecg", "a PDF within a DICOM", "export the waveform itself")
    if kind.startswith(DICOM_STANDARD) and not kind.startswith(DICOM_WAVEFORMS):
        return OtherContent("not_an_ecg", f"a DICOM without a waveform (class {kind})")
    return None
