"""Reads an ECG file, whatever its format and name, as the record that a device would publish."""

from __future__ import annotations

import warnings
from datetime import tzinfo
from pathlib import Path

from schemas.ecg_record import EcgRecord
from schemas.errors import UnreadableFile

from .assemble import assemble
from .content import head_of, printable, read_content, refuse_huge
from .formats import format_of
from .other_formats import read_other
from .wfdb_record import header_of, read_wfdb


def read_ecg(path: Path, zone: tzinfo | None = None) -> EcgRecord:
    """Return the ECG of a file. The record is named after the file. A patient's name or birth date is never read.

    Args:
        path: a WFDB header, signal file or record name without ending, or a file of any other format.
        zone: of the times in the file, where the file names none; None: the zone of this computer.

    Raises:
        UnreadableFile: the file is missing, too large, or holds no ECG that a reader understands. Says what to do.
    """
    if not _is_text(path):
        raise UnreadableFile(f"{printable(path)}: a name that is not UTF-8 cannot be a record's id: rename the file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the readers warn of odd files; we raise errors or add quality warnings
        try:
            return _read(path, zone)
        except UnreadableFile:
            raise
        except Exception as error:
            raise UnreadableFile(f"{path} cannot be read as an ECG: {_first_line(error)}") from error


def read_or_refuse(path: Path) -> EcgRecord | UnreadableFile:
    """Return the ECG of a file, or the refusal, for a caller that continues with the next file."""
    try:
        return read_ecg(path)
    except UnreadableFile as refusal:
        return refusal


def _is_text(path: Path) -> bool:
    return printable(path) == str(path)


def _read(path: Path, zone: tzinfo | None) -> EcgRecord:
    if path.is_dir():
        raise UnreadableFile(f"{path} is a folder: name its files, or use `cardiacnets publish` to walk it")
    if header := header_of(path):
        return read_wfdb(header)
    if not path.exists():
        raise UnreadableFile(f"{path} is not there")
    refuse_huge(path)
    known = format_of(head_of(path))
    return assemble(known.read(read_content(path), path) if known else read_other(path), path, zone)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
