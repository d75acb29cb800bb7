"""What is to be said of a file: that it was refused, passed over, or taken with a doubt. A line of the errors file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from schemas.errors import Number, RecordError

from .content import printable

Status: TypeAlias = Literal["refused", "passed_over", "taken"]
PART = "part_of_a_record"
"""The code of a signal or annotation file that belongs to a WFDB header: it is counted, and not listed."""


class FileNote(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the errors file.

    Attributes:
        path: of the file.
        status: `refused`: it may be an ECG, and it was not taken. `passed_over`: it is no ECG. `taken`: it was taken,
            and somebody should know what is said here.
        code: for a program.
        detail: one sentence for a person.
        numbers: the evidence.
    """

    path: str
    status: Status
    code: str
    detail: str
    numbers: dict[str, Number] = {}


def refusal_note(path: Path, refusal: RecordError) -> FileNote:
    """Return the note of a file that a reader refused."""
    return FileNote(
        path=printable(path),
        status="refused",
        code=refusal.wire_code,
        detail=refusal.detail,
        numbers=refusal.numbers,
    )


def passed_over(path: Path, *, code: str, detail: str) -> FileNote:
    """Return the note of a file that is no ECG."""
    return FileNote(path=printable(path), status="passed_over", code=code, detail=detail)
