"""`cardiacnets screen`: files in, answers out, as JSON Lines or as a table."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from inference.screen_files import FileAnswer, Screened, screen_files
from inference.screener import Screener
from schemas.messages import DISEASES, NOTICE, SYNTHETIC_NOTICE
from stream.risk_table import HEADINGS, LEGEND, risk_cells, weights_note
from stream.screening.model import load_screener
from stream.settings import Settings

from .cine import check_cine_request, screen_cine


def screen_command(settings: Settings, files: Sequence[Path], *, as_json: bool, cine: Path | None) -> None:
    """Screen the files and print an answer for each; `cine` is the file to draw the one ECG's cine into."""
    if cine is not None:
        check_cine_request(files, cine)
    screener = load_screener(settings.model, max_batch=settings.screening.max_batch)
    answers = screen_files(screener, files)
    if as_json:
        _print_json(answers)
    else:
        Console().print(_table(answers), _footnote(screener), sep="\n")
    if cine is not None:
        screen_cine(settings, screener, files[0], cine)
        Console(stderr=as_json).print(Text(f"{cine}: {SYNTHETIC_NOTICE}"), soft_wrap=True)


def _print_json(answers: Iterable[FileAnswer]) -> None:
    encoder = msgspec.json.Encoder()
    for answer in answers:
        sys.stdout.buffer.write(encoder.encode(answer) + b"\n")
        sys.stdout.buffer.flush()


def _table(answers: Iterable[FileAnswer]) -> Table:
    table = Table(box=None, padding=(0, 2))
    table.add_column("file", overflow="fold", min_width=16)
    for disease in DISEASES:
        table.add_column(HEADINGS[disease], justify="right", no_wrap=True)
    table.add_column("remarks", min_width=16)
    for answer in answers:
        if isinstance(answer, Screened):
            warnings = ", ".join(warning.code for warning in answer.report.quality.warnings)
            table.add_row(escape(answer.source), *risk_cells(answer.report), warnings)
        else:
            table.add_row(
                escape(answer.source), *[""] * len(DISEASES), f"[yellow]{answer.code}[/]: {escape(answer.detail)}"
            )
    return table


def _footnote(screener: Screener) -> str:
    model = screener.bundle.reference
    return f"{LEGEND}. {weights_note(model)}{NOTICE} Model {model.name} {model.version}, engine {screener.engine.name}."
