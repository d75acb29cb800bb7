"""Reads an ECG file, whatever its format and name, as the record that a device would publish."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from datetime import tzinfo
from pathlib import Path

from schemas.ecg_record import EcgRecord
from schemas.errors import RecordError, UnreadableFile

from .assemble import assemble
from .content import SPECIAL_FILE, head_of, printable, read_content, refuse_huge, why_unreadable
from .formats import format_of
from .in_child import answered, read_in_child
from .other_formats import read_other
from .wfdb_record import header_of, read_wfdb, record_of
from .why_no_ecg import why_no_ecg


def read_ecg(path: Path, zone: tzinfo | None = None) -> EcgRecord:
    """Return the ECG of a file. The record is named after the file. A patient's name or birth date is never read.

    Args:
        path: a WFDB header, signal file or record name without ending, or a file of any other format.
        zone: of the times in the file, where the file names none; None: the zone of this computer.

    Raises:
        UnreadableFile: the file is missing, too large, or holds no ECG that a reader understands. Says what to do.
    """
    if printable(path) != os.fspath(path):
        lacks = "a name that is not UTF-8, or has control characters in it, cannot be a record's id"
        raise UnreadableFile(f"{printable(path)}: {lacks}: rename the file")
    return _refusing(path, _read, zone)


def read_or_refuse(path: Path, zone: tzinfo | None = None) -> EcgRecord | RecordError:
    """Return the ECG of a file, or the refusal, for a caller that continues with the next file."""
    try:
        return read_ecg(path, zone)
    except RecordError as refusal:
        return refusal


def _read(path: Path, zone: tzinfo | None) -> EcgRecord:
    if path.is_dir():
        raise UnreadableFile(f"{printable(path)} is a folder: name its files, or a command that walks folders")
    if header := header_of(path):
        return assemble(read_wfdb(header), record_of(header), zone)
    if not path.exists():
        raise UnreadableFile(f"{printable(path)} is not there: check the path", code="missing_file")
    if not stat.S_ISREG(path.stat().st_mode):
        raise UnreadableFile(f"{printable(path)} is {SPECIAL_FILE}", code="special_file")
    refuse_huge(path)
    head = head_of(path)
    if refusal := why_no_ecg(path, head):
        raise refusal
    known = format_of(head)
    if known is None or known.in_child:
        return read_in_child(path, zone)
    return assemble(known.read(read_content(path), path), path, zone)


def answer(question: bytes) -> bytes:
    """Return the answer of the child in which libraries of others parse files."""
    return answered(question, lambda path, zone: _refusing(path, _read_here, zone))


def _read_here(path: Path, zone: tzinfo | None) -> EcgRecord:
    known = format_of(head_of(path))
    recording = known.read(read_content(path), path) if known else read_other(path)
    return assemble(recording, path, zone)


def _refusing(path: Path, read: Callable[[Path, tzinfo | None], EcgRecord], zone: tzinfo | None) -> EcgRecord:
    """Return what is read. What the system or a reader of ours raises becomes a sentence."""
    try:
        return read(path, zone)
    except (RecordError, MemoryError):
        raise
    except OSError as error:
        raise why_unreadable(path, error) from error
    except Exception as error:
        raise _fault_of_ours(path, error) from error


def _fault_of_ours(path: Path, error: Exception) -> UnreadableFile:
    """Return the refusal of a file on which a reader broke. Python's own words help nobody who has the file."""
    kind, taken_for = type(error).__name__, _taken_for(path)
    sentence = (
        f"{printable(path)} cannot be read as an ECG: it was taken for {taken_for}, and our reader broke on it. If the "
        "file is damaged, copy it again. If not, it is a fault of ours: report the format, the device and the code "
        f"reader_failed ({kind})"
    )
    return UnreadableFile(sentence, code="reader_failed", error=kind, format=taken_for)


def _taken_for(path: Path) -> str:
    if header_of(path):
        return "WFDB"
    try:
        known = format_of(head_of(path))
    except Exception:  # noqa: BLE001 -- what broke was the recognition
        return "none of the formats"
    return known.name if known else "a format that ecgdatakit reads"
