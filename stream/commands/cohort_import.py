"""`cardiacnets cohort import`: a real cohort, from the layout that its publisher delivers."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from schemas.errors import InvalidSettings
from training.cohort.layout import Description, is_cohort
from training.cohort.mimic import import_mimic
from training.cohort.staged_folder import check_destination
from training.cohort.ukb import import_ukb

from .progress_bar import counted

SOURCES = ("mimic", "ukb")


def import_command(source: str, root: Path, *, out: Path, table: Path | None, as_json: bool) -> None:
    """Import, with a progress bar, and say what was taken and what was not."""
    if source not in SOURCES:
        raise InvalidSettings(f"no source is called {source!r}: choose {' or '.join(SOURCES)}")
    check_destination(out, is_cohort)
    with counted("importing") as show:
        if source == "mimic":
            cohort = import_mimic(root, out, labels=table, progress=show)
        else:
            cohort = import_ukb(root, out, table=table, progress=show)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode({"out": str(out), "cohort": cohort.description}) + b"\n")
    else:
        _print(cohort.description, out)


def _print(description: Description, out: Path) -> None:
    console = Console()
    console.print(f"wrote {description.rows} ECGs of {description.patients} patients to {out}")
    console.print(", ".join(f"{fold} {count}" for fold, count in description.fold_patients.items()))
    if description.skipped:
        table = Table("not taken", "records", box=None, padding=(0, 2))
        for code, count in description.skipped.items():
            table.add_row(code, str(count))
        console.print(table)
