"""`cardiacnets fhir`: reports and alerts in; FHIR Bundles out, one a line, or posted to a server."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import msgspec
import typer

from schemas.errors import InvalidSettings, MalformedRecord
from stream.plain_text import print_plain

from .backfill_progress import HowFar, show_progress
from .options import Json, settings_with
from .output import print_json, say

if TYPE_CHECKING:
    from inference.fhir_codes import Json as FhirJson
    from schemas.messages import Alert, RiskReport
    from stream.fhir_server import FhirServer

STANDARD_INPUT = "-"
REFUSED_IN_A_ROW = 10
"""So many Bundles that a server refuses one after the other are its fault, or ours, and not the Bundles'."""


class _Line(msgspec.Struct):
    """The fields that tell the kinds of input apart: `screen --json` puts the report into an answer."""

    report: msgspec.Raw = msgspec.Raw()
    status: str | None = None
    priority: str | None = None
    source: str | None = None
    detail: str | None = None


class _Sums(msgspec.Struct):
    """What became of the lines, and of the resources of those that were posted."""

    posted: int = 0
    rejected: int = 0
    refused: int = 0
    created: int = 0
    found: int = 0
    replaced: int = 0
    retries: int = 0
    last_line: int = 0


@dataclass(frozen=True, slots=True)
class _Read:
    """What a line is in FHIR.

    Attributes:
        place: for a sentence.
        line: its number; 0 for what stands in no line.
        resources: what a server takes; None of a rejected ECG.
        as_documents: returns what is written of the resources where no server is.
    """

    place: str
    line: int
    resources: list[FhirJson] | None
    as_documents: Callable[[list[FhirJson]], list[FhirJson]] = list


def fhir_command(
    reports: Annotated[
        str | None,
        typer.Argument(
            help="File of reports or alerts, one a line, as on ecg.risk.v1 and ecg.alerts.v1 or as `screen --json` "
            "prints them; or -."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write. Standard output by default.")] = None,
    server: Annotated[
        str | None,
        typer.Option(
            help="Base of a FHIR R4 server to post to. A token is given by CARDIACNETS_FHIR_TOKEN, or by a file that "
            "CARDIACNETS_FHIR_TOKEN_FILE names."
        ),
    ] = None,
    transactions: Annotated[
        bool, typer.Option("--transactions", help="Write Bundles that a server takes, rather than collections.")
    ] = False,
    skip: Annotated[int, typer.Option(min=0, help="Number of lines to pass over, as an earlier run posted them.")] = 0,
    aiast: Annotated[
        bool,
        typer.Option("--aiast", help="Label by HL7's AIAST. A server that checks labels by R4's own list refuses it."),
    ] = False,
    codes: Annotated[
        bool, typer.Option("--codes", help="Our CodeSystem and its ValueSets, in place of reports.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write reports and alerts as FHIR R4, one Bundle a line, or post them to a server.

    A report is a DiagnosticReport with its RiskAssessment, Observations and Provenance; an alert is a Flag. On a
    server, each stands once, however often it is posted. The exit code is 1 when an ECG among them was rejected and
    therefore has no report, and when the server did not take a Bundle.
    """
    _refuse_misuse(reports, out, server, transactions=transactions, codes=codes)
    lines: Iterator[_Read] = _codes() if codes else _messages(reports or STANDARD_INPUT, skip, aiast=aiast)
    if server is None:
        _write(lines, out, transactions=transactions)
        return
    from stream.fhir_server import FhirServer

    to = FhirServer(server, settings_with().fhir)
    sums = _Sums()
    try:
        with show_progress(time.monotonic(), as_json=as_json, of="Bundles") as show:
            _post(lines, to, sums, show)
    finally:
        sums.retries = to.retries
        _tell(sums, to.url, as_json=as_json)
    if sums.rejected or sums.refused:
        raise SystemExit(1)


def _refuse_misuse(
    reports: str | None, out: Path | None, server: str | None, *, transactions: bool, codes: bool
) -> None:
    if (reports is None) != codes:
        raise InvalidSettings("give a file of reports or alerts, or '-'; or --codes without a file")
    if server is not None and (out is not None or transactions):
        raise InvalidSettings("--server posts, and writes nothing: leave --out and --transactions out")


def _write(lines: Iterator[_Read], out: Path | None, *, transactions: bool) -> None:
    from inference.fhir_transaction import transaction

    rejected = 0
    with _target(out) as target:
        for read in lines:
            if read.resources is None:
                rejected += 1
                continue
            documents = [transaction(read.resources)] if transactions else read.as_documents(read.resources)
            for each in documents:
                target.write(msgspec.json.encode(each) + b"\n")
    if rejected:
        raise SystemExit(1)


def _post(lines: Iterator[_Read], to: FhirServer, sums: _Sums, show: Callable[[HowFar], object]) -> None:
    from stream.fhir_server import BundleRefused, FhirServerUnusable

    refused_in_a_row = 0
    for read in lines:
        try:
            if read.resources is None:
                sums.rejected += 1
            else:
                _count(sums, to.post(read.resources))
                refused_in_a_row = 0
        except BundleRefused as error:
            print_plain(f"{read.place}: {error}", to_stderr=True)
            sums.refused += 1
            refused_in_a_row += 1
            if refused_in_a_row == REFUSED_IN_A_ROW:
                raise FhirServerUnusable(f"{to.url} refused {REFUSED_IN_A_ROW} Bundles in a row") from error
        sums.last_line = read.line
        show(HowFar(sums.posted, None, 0))


def _count(sums: _Sums, taken: tuple[int, int, int]) -> None:
    created, found, replaced = taken
    sums.posted += 1
    sums.created += created
    sums.found += found
    sums.replaced += replaced


def _tell(sums: _Sums, url: str, *, as_json: bool) -> None:
    """Say what the server has, also where the run ends early."""
    if as_json:
        print_json(sums)
        return
    reached = f" Done as far as line {sums.last_line}." if sums.last_line else ""
    say(
        f"{url} has taken {sums.posted} Bundles: {sums.created} resources are new there, {sums.found} were there and "
        f"stay as they are, {sums.replaced} were replaced. It refused {sums.refused} Bundles.{reached} To run the same "
        "command again does no harm."
    )


def _codes() -> Iterator[_Read]:
    """Yield the codes, which stand in no line, and in no Bundle where they are written."""
    from inference.fhir_code_system import code_resources

    yield _Read("the codes", 0, code_resources())


def _messages(reports: str, skip: int, *, aiast: bool) -> Iterator[_Read]:
    """Yield what each line is in FHIR. Where an ECG was rejected, it says so."""
    from inference.fhir_parts import with_hl7_label

    line = 0
    with _source(reports) as source:
        for line, text in _documents(source):
            if line > skip:
                place = f"{reports}, line {line}"
                message = _message(place, text)
                read = _Read(place, line, None) if message is None else _in_fhir(place, line, message)
                yield replace(read, resources=with_hl7_label(read.resources)) if aiast else read
    if not line:
        raise MalformedRecord(f"{reports} holds no report: give a file of reports")


def _in_fhir(place: str, line: int, message: RiskReport | Alert) -> _Read:
    from inference.fhir import bundle_of, compose_resources
    from inference.fhir_flag import compose_flag_resources, flag_bundle_of
    from schemas.messages import RiskReport

    if isinstance(message, RiskReport):
        return _Read(place, line, compose_resources(message), lambda resources: [bundle_of(message, resources)])
    return _Read(place, line, compose_flag_resources(message), lambda resources: [flag_bundle_of(message, resources)])


def _message(place: str, line: bytes) -> RiskReport | Alert | None:
    from schemas.messages import Alert, RiskReport, decode_message
    from schemas.shown_text import shown_id

    try:
        answer = msgspec.json.decode(line, type=_Line)
        if answer.status == "rejected":
            source, detail = shown_id(answer.source or "an ECG"), shown_id(answer.detail or "no reason is given")
            print_plain(f"{place}: {source} was rejected and has no report: {detail}", to_stderr=True)
            return None
        if answer.priority is not None:
            return decode_message(Alert, line)
        return decode_message(RiskReport, bytes(answer.report) or line)
    except (msgspec.DecodeError, UnicodeError, MalformedRecord) as error:
        raise MalformedRecord(
            f"{place}: neither a report as on ecg.risk.v1, nor an alert as on ecg.alerts.v1, nor an answer of "
            f"`cardiacnets screen --json`: {error}"
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
