"""`cardiacnets fhir`: reports in, one FHIR Bundle a line out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import msgspec
import typer

from schemas.errors import InvalidSettings, MalformedRecord
from stream.plain_text import print_plain

if TYPE_CHECKING:
    from schemas.messages import RiskReport

STANDARD_INPUT = "-"


class _Line(msgspec.Struct):
    """The fields that tell the two kinds of input apart: `screen --json` puts the report into an answer."""

    report: msgspec.Raw = msgspec.Raw()
    status: str | None = None
    source: str | None = None
    detail: str | None = None


def fhir_command(
    reports: Annotated[
        str,
        typer.Argument(help="File of reports, one a line, as on ecg.risk.v1 or as `screen --json` prints them; or -."),
    ],
    out: Annotated[Path | None, typer.Option(help="File to write. Standard output by default.")] = None,
) -> None:
    """Write reports as FHIR R4: one Bundle a line, with a DiagnosticReport and its Observations.

    The exit code is 1 when an ECG among them was rejected and therefore has no report.
    """
    from inference.fhir import encode_bundle

    place = rejected = 0
    with _source(reports) as source, _target(out) as target:
        for place, line in _documents(source):
            report = _report(f"{reports}, line {place}", line)
            if report is None:
                rejected += 1
            else:
                target.write(encode_bundle(report) + b"\n")
        if not place:
            raise MalformedRecord(f"{reports} holds no report: give a file of reports")
    if rejected:
        raise SystemExit(1)


def _report(place: str, line: bytes) -> RiskReport | None:
    """Return the report of a line. Where the ECG was rejected, say so and return None."""
    from schemas.messages import RiskReport, decode_message
    from schemas.shown_text import shown_id

    try:
        answer = msgspec.json.decode(line, type=_Line)
        if answer.status == "rejected":
            source, detail = shown_id(answer.source or "an ECG"), shown_id(answer.detail or "no reason is given")
            print_plain(f"{place}: {source} was rejected and has no report: {detail}", to_stderr=True)
            return None
        return decode_message(RiskReport, bytes(answer.report) or line)
    except (msgspec.DecodeError, UnicodeError, MalformedRecord) as error:
        raise MalformedRecord(
            f"{place}: neither a report as on ecg.risk.v1 nor an answer of `cardiacnets screen --json`: {error}"
        ) from error


def _documents(source: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers. One document over several lines is yielded whole."""
    first = source.readline()
    if first.strip() and not _is_json(first):
        yield 1, first + source.read()
        return
    lines: Iterable[bytes] = (line for part in ([first], source) for line in part)
    yield from ((place, line) for place, line in enumerate(lines, start=1) if line.strip())


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeError):
        return False
    return True


@contextmanager
def _source(reports: str) -> Iterator[BinaryIO]:
    if reports == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    try:
        file = Path(reports).open("rb")  # noqa: SIM115 -- closed below; the reader's errors are not the path's
    except OSError as error:
        raise InvalidSettings(f"{reports} cannot be read: {error.strerror}; give a file of reports, or '-'") from error
    with file:
        yield file


@contextmanager
def _target(out: Path | None) -> Iterator[BinaryIO]:
    """Yield the file to write to. `out` is written whole or not at all."""
    from engines.whole_file import whole_file

    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with whole_file(out) as unfinished, _opened(unfinished, out) as file:
        yield file


def _opened(unfinished: Path, out: Path) -> BinaryIO:
    try:
        return unfinished.open("wb")
    except OSError as error:
        raise InvalidSettings(f"{out} cannot be written: {error.strerror}") from error
