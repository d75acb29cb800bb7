"""Which ECG each record id of a run stands for, in a database that takes to the disk what memory does not hold."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

from inference.reading.content import printable
from inference.reading.file_note import FileNote
from schemas.ecg_record import EcgRecord

CACHE_KIB = 32 * 2**10


class KnownRecords:
    """The records of a run so far.

    The database has no name: the system removes it with the process, and it leaves memory only where it must.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.executescript(
            f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-{CACHE_KIB};"
            "CREATE TABLE records (id INTEGER PRIMARY KEY, value INTEGER, ecg INTEGER, path TEXT);"
            "CREATE INDEX by_ecg ON records (ecg); BEGIN"
        )

    def note(self, record: EcgRecord, value: bytes, path: Path) -> FileNote | None:
        """Return what is to be said of a record before it is sent, and remember it.

        A second ECG under one id is refused: whoever reads the reports would take both for one record. The same ECG
        under two ids is sent, and so is the same record again.
        """
        record_id, content, ecg = map(_digest, (record.record_id.encode(), value, record.samples))
        shown = printable(path)
        same_id = self._database.execute("SELECT value, path FROM records WHERE id = ?", (record_id,)).fetchone()
        if same_id is not None:
            known, other = same_id
            return _same_record(shown, other) if known == content else _doubled_id(shown, other, record.record_id)
        same_ecg = self._database.execute("SELECT path FROM records WHERE ecg = ?", (ecg,)).fetchone()
        self._database.execute("INSERT INTO records VALUES (?, ?, ?, ?)", (record_id, content, ecg, shown))
        return _same_ecg(shown, same_ecg[0]) if same_ecg else None

    def close(self) -> None:
        """Remove the database."""
        self._database.close()


def _doubled_id(path: str, other: str, record_id: str) -> FileNote:
    detail = (
        f"{other} has the same record id {record_id} and another ECG, so both would be taken for one record: rename "
        "one of the files, or take the ids from the paths with --ids path"
    )
    numbers = {"record_id": record_id, "other": other}
    return FileNote(path=path, status="refused", code="doubled_id", detail=detail, numbers=dict(numbers))


def _same_record(path: str, other: str) -> FileNote:
    detail = f"the same record was sent already, from {other}: both have one report"
    return FileNote(path=path, status="taken", code="doubled_record", detail=detail, numbers={"other": other})


def _same_ecg(path: str, other: str) -> FileNote:
    detail = f"the same samples were sent already, from {other}, under another id: the ECG has two reports"
    return FileNote(path=path, status="taken", code="doubled_ecg", detail=detail, numbers={"other": other})


def _digest(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big", signed=True)
