"""`cardiacnets cohort import`: a cohort of real patients, from the layout that its publisher delivers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .file_options import NewErrors, print_totals
from .options import Json
from .output import new_table, print_json
from .progress_bar import progress_bar

if TYPE_CHECKING:
    from training.cohort.layout import Description


def import_cohort_command(
    source: Annotated[Literal["mimic", "ukb"], typer.Argument(help="Layout of the data.")],
    root: Annotated[Path, typer.Argument(help="Folder of MIMIC-IV-ECG, or of UK Biobank's bulk files.")],
    out: Annotated[Path, typer.Option(help="Folder to write. A cohort that is there is replaced.")],
    table: Annotated[
        Path | None,
        typer.Option("--labels", "--table", help="records_w_diag_icd10.csv, or UK Biobank's main table."),
    ] = None,
    errors: NewErrors = None,
    as_json: Json = False,
) -> None:
    """Make a cohort of MIMIC-IV-ECG with its ICD-10 diagnoses, or of UK Biobank's imaging visits.

    Records that cannot be used are counted by code, and the exit code is 0: a large archive has some.
    """
    from inference.file_account import open_account
    from training.cohort.layout import is_cohort
    from training.cohort.mimic import import_mimic
    from training.cohort.staged_folder import check_destination
    from training.cohort.ukb import import_ukb

    check_destination(out, is_cohort)
    with open_account(errors) as account, progress_bar() as bar:

        def show(done: int, total: int) -> None:
            bar("importing", done, total)

        if source == "mimic":
            cohort = import_mimic(root, out, labels=table, account=account, progress=show)
        else:
            cohort = import_ukb(root, out, table=table, account=account, progress=show)
    print_totals(account)
    if as_json:
        print_json({"out": str(out), "cohort": cohort.description})
    else:
        _print(cohort.description, out)


def _print(description: Description, out: Path) -> None:
    from stream.plain_console import PlainConsole

    console = PlainConsole()
    console.print(f"wrote {description.rows} ECGs of {description.patients} patients to {out}")
    console.print(", ".join(f"{fold} {count}" for fold, count in description.fold_patients.items()))
    if description.skipped:
        table = new_table("skipped because of", "records")
        for code, count in description.skipped.items():
            table.add_row(code, str(count))
        console.print(table)
