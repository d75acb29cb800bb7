"""`cardiacnets screen`: files in, answers out, as JSON Lines or as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .file_options import NewErrors, TimeZone, print_first_notes, print_totals, zone_named
from .options import BundleFolder, EngineName, GeneratorFolder, Json, settings_with
from .output import print_json, say

if TYPE_CHECKING:
    from rich.table import Table

    from inference.file_account import FileAccount
    from inference.screen_files import FileAnswer
    from inference.screener import Screener


def screen_command(
    files: Annotated[
        list[Path],
        typer.Argument(help="ECG files: WFDB, DICOM, MUSE, SCP, HL7 aECG, Sierra, …; folders in which ECGs are found."),
    ],
    as_json: Json = False,
    time_zone: TimeZone = None,
    errors: NewErrors = None,
    bundle: BundleFolder = None,
    engine: EngineName = None,
    cine: Annotated[
        Path | None,
        typer.Option(help="Also draw the CMR cine that the ECG suggests into this file: .gif, .mp4, .nii.gz or .png."),
    ] = None,
    generator: GeneratorFolder = None,
) -> None:
    """Screen ECG files without Kafka: one answer for each ECG, in order.

    The exit code is 1 if an ECG was not screened, or if there was none.
    """
    from inference.file_account import ecgs_of, open_account
    from inference.screen_files import screen_files
    from stream.screening.model import load_screener

    from .screen_cine import check_cine_request, screen_cine

    settings, zone = settings_with(bundle=bundle, engine=engine, generator=generator), zone_named(time_zone)
    if cine is not None:
        check_cine_request(files, cine)
    with open_account(errors) as account:
        screener = load_screener(settings.model, max_batch=settings.screening.max_batch)
        answers = Answers(screen_files(screener, ecgs_of(files, account), zone=zone), account)
        if as_json:
            for answer in answers:
                print_json(answer)
        else:
            _print_tables(screener, answers)
    print_totals(account)
    if not as_json:
        print_first_notes(account, errors)
    if cine is not None:
        screen_cine(settings, screener, files[0], cine, zone)
        _print_notice(cine, to_stderr=as_json)
    if not answers.count:
        say("there is no ECG among these files: --errors FILE lists what each of them is")
    if not answers.count or account.counts().refused:
        raise SystemExit(1)


class Answers:
    """The answers, as they go by: counted, and the account told of those that are rejections."""

    def __init__(self, answers: Iterable[FileAnswer], account: FileAccount) -> None:
        self._answers, self._account = answers, account
        self.count = 0

    def __iter__(self) -> Iterator[FileAnswer]:
        """Yield the answers."""
        from inference.screen_files import Rejected, rejection_note

        for answer in self._answers:
            self.count += 1
            if isinstance(answer, Rejected):
                self._account.tell(rejection_note(answer))
            yield answer


def _print_tables(screener: Screener, answers: Iterable[FileAnswer]) -> None:
    from stream.plain_console import PlainConsole

    risks, readings = _tables(answers)
    PlainConsole().print(risks, *([readings] if readings.row_count else []), _footnote(screener), sep="\n")


def _print_notice(cine: Path, *, to_stderr: bool) -> None:
    from rich.text import Text

    from schemas.messages import SYNTHETIC_NOTICE
    from stream.plain_console import PlainConsole

    PlainConsole(stderr=to_stderr).print(Text(f"{cine}: {SYNTHETIC_NOTICE}"), soft_wrap=True)


def _tables(answers: Iterable[FileAnswer]) -> tuple[Table, Table]:
    """Return the table of the risks, and that of rate, intervals and axes."""
    from rich.markup import escape

    from inference.screen_files import Screened
    from schemas.messages import DISEASES, reasons_of
    from stream.readings_table import READINGS, reading_cells
    from stream.risk_table import HEADINGS, risk_cells

    risks, readings = _headed([HEADINGS[disease] for disease in DISEASES]), _headed(READINGS.values())
    risks.add_column("remarks", min_width=16)
    for answer in answers:
        if isinstance(answer, Screened):
            warnings = [warning.code for warning in answer.report.quality.warnings]
            remarks = dict.fromkeys((*warnings, *reasons_of(answer.report.risks)))
            risks.add_row(escape(answer.source), *risk_cells(answer.report), ", ".join(remarks))
            readings.add_row(escape(answer.source), *reading_cells(answer.report))
        else:
            risks.add_row(escape(answer.source), *[""] * len(DISEASES), f"[yellow]{answer.code}[/]")
    return risks, readings


def _headed(headings: Iterable[str]) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2))
    table.add_column("file", overflow="fold", min_width=16)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _footnote(screener: Screener) -> str:
    from schemas.messages import NOTICE
    from stream.readings_table import READINGS_LEGEND
    from stream.risk_table import LEGEND, weights_note

    model = screener.bundle.reference
    signed = f"Model {model.name} {model.version}, engine {screener.engine.name}."
    return f"{LEGEND}. {READINGS_LEGEND}. {weights_note(model)}{NOTICE} {signed}"
