"""`cardiacnets cohort import`: a cohort of real patients, as a publisher delivers them, or of one's own pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from schemas.errors import InvalidSettings
from stream.plain_text import print_plain

from .file_options import NewErrors, print_totals
from .options import Json
from .output import new_table, print_json
from .progress_bar import progress_bar

if TYPE_CHECKING:
    from training.cohort.layout import Description


def import_cohort_command(
    source: Annotated[
        Literal["mimic", "ukb", "pairs"], typer.Argument(help="Layout of the data. pairs: a table of your own.")
    ],
    root: Annotated[
        Path, typer.Argument(help="Folder of MIMIC-IV-ECG, of UK Biobank's bulk files, or of your own files.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write. A cohort that is there is replaced.")],
    table: Annotated[
        Path | None,
        typer.Option(
            "--labels", "--table", help="records_w_diag_icd10.csv, UK Biobank's main table, or the table of your pairs."
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="pairs: a column of the table that is left out. May be given again."),
    ] = None,
    errors: NewErrors = None,
    as_json: Json = False,
) -> None:
    """Make a cohort of MIMIC-IV-ECG with its ICD-10 diagnoses, of UK Biobank's imaging visits, or of pairs of your own.

    Records that cannot be used are counted by code, and the exit code is 0: a large archive has some.
    """
    from inference.file_account import open_account
    from training.cohort.lacks import find_lacks
    from training.cohort.layout import is_cohort
    from training.cohort.mimic import import_mimic
    from training.cohort.pairs import import_pairs
    from training.cohort.staged_folder import check_destination
    from training.cohort.ukb import import_ukb

    if ignore and source != "pairs":
        raise InvalidSettings(f"--ignore is for tables of pairs: the columns of {source} are fixed")
    check_destination(out, is_cohort)
    with open_account(errors) as account, progress_bar() as bar:

        def show(done: int, total: int) -> None:
            bar("importing", done, total)

        if source == "mimic":
            cohort = import_mimic(root, out, labels=table, account=account, progress=show)
        elif source == "ukb":
            cohort = import_ukb(root, out, table=table, account=account, progress=show)
        else:
            cohort = import_pairs(root, out, table=table, ignored=ignore or (), account=account, progress=show)
    print_totals(account)
    if as_json:
        noted = account.counts().taken_with_a_note
        print_json({"out": str(out), "cohort": cohort.description, "taken_with_a_note": noted})
    else:
        _print(cohort.description, out)
    for sentence in find_lacks(cohort):
        print_plain(sentence, to_stderr=True)


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
