"""ECG files as records for the broker: found, read, named, and held against the records that went before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import tzinfo
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from inference.file_account import FileAccount
from inference.reading.content import printable
from inference.reading.file_note import FileNote, refusal_note
from inference.reading.find_ecgs import walk
from inference.reading.read_ecg import read_ecg
from schemas.codec import encode_ecg
from schemas.ecg_record import EcgRecord
from schemas.errors import InvalidSettings, RecordError
from schemas.topics import record_key

from .known_records import KnownRecords

Ids: TypeAlias = Literal["name", "path"]
"""Where the ids of records come from: the file's name without its ending, or its path below the folder that is named,
with the ending."""


class Reached(NamedTuple):
    """How far a run of publishing came: the number of an ECG file, from 1, and its path, as it is shown."""

    number: int
    path: str


class EncodedFile(NamedTuple):
    """A record as it goes to the broker, and the file that it was read from."""

    path: Path
    record_id: str
    key: bytes
    value: bytes


def encoded_files(
    paths: Iterable[Path],
    account: FileAccount,
    *,
    skip: int = 0,
    ids: Ids = "name",
    zone: tzinfo | None = None,
    roots: tuple[Path, ...] | None = None,
    last: Reached | None = None,
) -> Iterator[tuple[int, EncodedFile | None]]:
    """Yield the number of each ECG file under `paths`, from 1, and its record, or None where it was refused.

    The account is told of what is refused, passed over or doubted. Of the first `skip` ECG files, and of what lies
    between them, nothing is said: an earlier run has.

    Args:
        paths: of ECG files, and of folders that hold some.
        account: of what becomes of the files.
        skip: how many ECG files at the beginning an earlier run has done.
        ids: where the ids come from.
        zone: of times in files that name none.
        roots: the folders that ids are below which come from the path; None: those among the paths.
        last: one of the skipped files, as the earlier run knew it.

    Raises:
        InvalidSettings: another file is at the place of the last one.
    """
    if ids == "name":
        roots = ()
    elif roots is None:
        paths = roots = tuple(paths)
    number = 0
    with closing(KnownRecords()) as known:
        for found in walk(paths):
            if isinstance(found, Path):
                number += 1
                _refuse_other(found, number, last)
            if number < skip or (number == skip and isinstance(found, Path)):
                continue
            if isinstance(found, FileNote):
                account.tell(found)
                continue
            try:
                yield number, _encoded(_named(read_ecg(found, zone), found, roots), found, known, account)
            except RecordError as refusal:
                account.tell(refusal_note(found, refusal))
                yield number, None


def _encoded(record: EcgRecord, path: Path, known: KnownRecords, account: FileAccount) -> EncodedFile | None:
    value = encode_ecg(record)
    note = known.note(record, value, path)
    if note:
        account.tell(note)
        if note.status == "refused":
            return None
    return EncodedFile(path, record.record_id, record_key(record), value)


def reached(number: int, path: Path) -> Reached:
    """Return how far a run came that has done this file."""
    return Reached(number, printable(path.absolute()))


def _refuse_other(found: Path, number: int, last: Reached | None) -> None:
    if last and number == last.number and reached(number, found) != last:
        sentence = f"the ECG file {number} is {printable(found)}, and it was {last.path} when the run began"
        advice = "files came or went, so nobody knows what was published: publish all again, with --no-journal"
        raise InvalidSettings(f"{sentence}: {advice}")


def _named(record: EcgRecord, path: Path, roots: tuple[Path, ...]) -> EcgRecord:
    """Return the record under the id that its path gives, where there are roots."""
    root = next((root for root in roots if path.is_relative_to(root)), None)
    if root is None:
        return record
    below = path.relative_to(root).as_posix() if path != root else path.name
    return msgspec.structs.replace(record, record_id=below)
