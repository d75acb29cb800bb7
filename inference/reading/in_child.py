"""Has files read in a bounded child, where a library of others parses what they hold.

The readers of formats that are parsed by code of ours alone (WFDB, SCP-ECG, EDF, ISHNE, MFER, Contec) need none: they
allocate nothing that a file only claims, and bound what they read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta, timezone, tzinfo
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from inference.bounded_child import BoundedChild, ChildFailed, Limits
from schemas.ecg_record import EcgRecord
from schemas.errors import Number, RecordError, UnreadableFile

LIMITS = Limits(memory=2 * 2**30, processor_s=10, wall_s=120.0, written=128 * 2**20)
"""An ECG takes 0.1 GB beside the libraries and a tenth of a second. The largest file that is allowed takes 1 GB."""
ADVICE = "if the file is damaged, copy it again; if it came from somebody else, it may be an attack"


class _Question(msgspec.Struct):
    """What is to be read, and from which folder a relative path begins.

    A zone is its name, or its distance from UTC in seconds.
    """

    folder: bytes
    path: bytes
    zone: str | float | None


class _Refusal(msgspec.Struct):
    code: str
    detail: str
    numbers: dict[str, Number]


class _Answer(msgspec.Struct):
    record: EcgRecord | None = None
    refusal: _Refusal | None = None


@cache
def reading_child() -> BoundedChild:
    """Return the child of this process. It is started when it is first asked."""
    return BoundedChild(LIMITS)


@contextmanager
def interrupted_with_us() -> Iterator[None]:
    """End what the child reads for another thread where the block ends early, as by the interrupt key."""
    try:
        yield
    except BaseException:
        reading_child().interrupt()
        raise


def read_in_child(path: Path, zone: tzinfo | None) -> EcgRecord:
    """Return the ECG of a file, read in the child.

    Raises:
        UnreadableFile: as `read_ecg`, or the child reached a limit.
    """
    question = msgspec.msgpack.encode(_Question(os.fsencode(Path.cwd()), os.fsencode(path), _written(zone)))
    answer = msgspec.msgpack.decode(ask("inference.reading.read_ecg:answer", question, path), type=_Answer)
    if answer.record is not None:
        return answer.record
    refusal = answer.refusal or _Refusal("reader_died", "", {})
    error = UnreadableFile(refusal.detail, code=refusal.code)
    error.numbers = refusal.numbers
    raise error


def answered(question: bytes, read: Callable[[Path, tzinfo | None], EcgRecord]) -> bytes:
    """Return the answer to a question, in the child: what `read` returns, or why it refuses the file."""
    asked = msgspec.msgpack.decode(question, type=_Question)
    os.chdir(asked.folder)
    try:
        answer = _Answer(record=read(Path(os.fsdecode(asked.path)), _zone(asked.zone)))
    except RecordError as refusal:
        answer = _Answer(refusal=_Refusal(refusal.wire_code, refusal.detail, refusal.numbers))
    return msgspec.msgpack.encode(answer)


def ask(function: str, question: bytes, path: Path) -> bytes:
    """Return what a function answers in the child.

    Raises:
        UnreadableFile: the child reached a limit, or ended.
    """
    try:
        return reading_child().ask(function, question)
    except ChildFailed as failure:
        raise _no_answer(failure, path) from failure


def _no_answer(failure: ChildFailed, path: Path) -> UnreadableFile:
    if failure.reason == "memory":
        why = f"cannot be read within {LIMITS.memory >> 30} GiB of memory, of which an ECG takes a tenth"
        return UnreadableFile(f"{path} {why}; {ADVICE}", code="reader_out_of_memory")
    if failure.reason == "time":
        why = f"cannot be read within {LIMITS.processor_s} s, of which an ECG takes a fraction"
        return UnreadableFile(f"{path} {why}; {ADVICE}", code="reader_out_of_time")
    why = "ended the process that read it: the library that reads this format broke"
    return UnreadableFile(f"{path} {why}; {ADVICE}", code="reader_died")


def _written(zone: tzinfo | None) -> str | float | None:
    if zone is None:
        return None
    if isinstance(zone, ZoneInfo):
        return zone.key
    offset = zone.utcoffset(None)
    if offset is None:
        raise TypeError("a zone is a ZoneInfo, or a fixed distance from UTC")
    return offset.total_seconds()


def _zone(written: str | float | None) -> tzinfo | None:
    if isinstance(written, float):
        return timezone(timedelta(seconds=written))
    return ZoneInfo(written) if written else None
