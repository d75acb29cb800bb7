"""Counts what became of files, and writes a line for each that was not taken. Its memory is bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Self

import msgspec

from schemas.errors import DeploymentError, InvalidSettings

from .reading.file_note import PART, FileNote
from .reading.find_ecgs import walk

FIRST_NOTES = 20
"""As many notes are kept to be shown. All of them are in the errors file."""


class FileCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many files were not simply taken, by code.

    Attributes:
        refused: they may be ECGs, and were not taken.
        passed_over: they are no ECGs.
        taken_with_a_note: they were taken, and somebody should look at them.
        parts: signal and annotation files that belong to the headers of WFDB records.
    """

    refused: dict[str, int] = {}
    passed_over: dict[str, int] = {}
    taken_with_a_note: dict[str, int] = {}
    parts: int = 0

    def in_words(self) -> list[str]:
        """Return a line for a person on each kind of file that there is."""
        kinds = (
            ("refused", self.refused),
            ("passed over", self.passed_over),
            ("taken with a note", self.taken_with_a_note),
        )
        return [
            f"{kind}: {', '.join(f'{code} {count}' for code, count in by_code.items())}"
            for kind, by_code in kinds
            if by_code
        ]


class FileAccount:
    """What became of files. Any thread may tell it.

    Attributes:
        first_notes: the first `FIRST_NOTES` notes of files that were refused, or taken with a doubt.
    """

    def __init__(self, errors: BinaryIO | None = None) -> None:
        self._errors = errors
        self._lock = Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self.first_notes: list[FileNote] = []

    def tell(self, note: FileNote) -> Self:
        """Count a note, and write it.

        Raises:
            DeploymentError: the errors file cannot be written.
        """
        with self._lock:
            self._counts[note.status, note.code] += 1
            if note.code != PART:
                self._write(note)
            if note.status != "passed_over" and len(self.first_notes) < FIRST_NOTES:
                self.first_notes.append(note)
        return self

    def counts(self) -> FileCounts:
        """Return the counts so far."""
        by_status: dict[str, dict[str, int]] = {"refused": {}, "passed_over": {}, "taken": {}}
        for (status, code), count in sorted(self._counts.items()):
            by_status[status][code] = count
        parts = by_status["passed_over"].pop(PART, 0)
        return FileCounts(
            refused=by_status["refused"],
            passed_over=by_status["passed_over"],
            taken_with_a_note=by_status["taken"],
            parts=parts,
        )

    def _write(self, note: FileNote) -> None:
        if self._errors is None:
            return
        try:
            self._errors.write(msgspec.json.encode(note) + b"\n")
        except OSError as error:
            raise DeploymentError(f"{self._errors.name} cannot be written: {error.strerror}") from error


@contextmanager
def open_account(errors: Path | None, *, continues: bool = False) -> Iterator[FileAccount]:
    """Yield an account that writes its notes to a file, a line at once, so that a run that is killed leaves them.

    Args:
        errors: the file; None: none is written.
        continues: whether this run continues an earlier one, and its lines are added to the file.

    Raises:
        InvalidSettings: the file exists, and the run does not continue another.
    """
    if errors is None:
        yield FileAccount()
        return
    try:
        file = errors.open("ab" if continues else "xb", buffering=0)
    except FileExistsError as error:
        raise InvalidSettings(f"{errors} exists: name another file for the errors of this run, or remove it") from error
    with file:
        yield FileAccount(file)


def ecgs_of(paths: Iterable[Path], account: FileAccount) -> Iterator[Path]:
    """Yield the files as they are named, and the ECGs of folders. The account is told of every other file."""
    for found in walk(paths):
        if isinstance(found, FileNote):
            account.tell(found)
        else:
            yield found
