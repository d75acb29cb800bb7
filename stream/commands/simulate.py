"""`cardiacnets simulate`: a simulated cohort, or its ECGs as WFDB files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import msgspec
import typer

from schemas.errors import InvalidSettings

from .options import MAX_SEED, Json
from .output import new_table, print_json
from .progress_bar import progress_bar

if TYPE_CHECKING:
    from training.cohort.layout import Cohort

EVERYBODY_TESTED = (0.0, 0.0)
Format: TypeAlias = Literal["cohort", "wfdb"]


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """What was written: the answer of `--json`."""

    out: str
    format: Format
    patients: int
    seed: int
    fold_patients: dict[str, int] | None = None
    prevalence: dict[str, float] | None = None


def simulate_command(
    out: Annotated[Path, typer.Option(help="Folder to write. A cohort that is there is replaced.")],
    patients: Annotated[int, typer.Option(min=1, help="Patients who are scanned and measured.")] = 1000,
    unmeasured: Annotated[int, typer.Option(min=0, help="Further patients whose scan nobody measured.")] = 0,
    unscanned: Annotated[int, typer.Option(min=0, help="Further patients with an ECG and diagnoses only.")] = 0,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the population.")] = 0,
    layout: Annotated[
        Format, typer.Option("--format", help="cohort writes a cohort, wfdb writes the ECGs alone as files.")
    ] = "cohort",
    cines: Annotated[bool, typer.Option(help="Draw the four-chamber cines.")] = True,
    short_axis: Annotated[bool, typer.Option("--short-axis", help="Also draw short-axis cines.")] = False,
    scans: Annotated[
        bool, typer.Option("--scans", help="With --format wfdb: also write the four-chamber cines, as .npz files.")
    ] = False,
    test_only: Annotated[bool, typer.Option("--test-only", help="Put every patient into the test fold.")] = False,
    processes: Annotated[int | None, typer.Option(min=1, help="Processes. One for each core by default.")] = None,
    as_json: Json = False,
) -> None:
    """Simulate a paired cohort: ECGs, cines, phenotypes and diseases of patients who do not exist."""
    from training.cohort.layout import SHARES, is_cohort
    from training.cohort.staged_folder import check_destination
    from training.simulation.simulate_cohort import simulate_cohort, write_wfdb

    if layout == "wfdb" and unmeasured + unscanned:
        raise InvalidSettings("--format wfdb writes no unmeasured and no unscanned patients: set --patients instead")
    if unmeasured and not (cines or short_axis):
        raise InvalidSettings("--unmeasured patients have a scan: drop --no-cines, or make them --unscanned")
    if layout != "wfdb" and scans:
        raise InvalidSettings("--scans writes cines as files: it goes with --format wfdb. A cohort has them anyway")
    check_destination(out, is_cohort if layout == "cohort" else lambda _: False)
    everybody = patients + unmeasured + unscanned
    with progress_bar() as show:
        options: dict[str, Any] = {
            "processes": processes,
            "progress": lambda done: show("simulating", done, everybody),
        }
        if layout == "wfdb":
            write_wfdb(out, patients, seed, scans=scans, **options)
            answer = Simulated(out=str(out), format="wfdb", patients=patients, seed=seed)
        else:
            folds = EVERYBODY_TESTED if test_only else SHARES
            options |= {"unmeasured": unmeasured, "unscanned": unscanned, "folds": folds}
            cohort = simulate_cohort(out, patients, seed, cines=cines, short_axis=short_axis, **options)
            answer = _describe(cohort, out, seed)
    if as_json:
        print_json(answer)
    else:
        _print(answer)


def _describe(cohort: Cohort, out: Path, seed: int) -> Simulated:
    import numpy as np

    from schemas.messages import DISEASES

    shares = np.mean(cohort.diseases, axis=0)
    return Simulated(
        out=str(out),
        format="cohort",
        patients=cohort.description.patients,
        seed=seed,
        fold_patients={str(fold): count for fold, count in cohort.description.fold_patients.items()},
        prevalence={disease: round(float(share), 4) for disease, share in zip(DISEASES, shares, strict=True)},
    )


def _print(answer: Simulated) -> None:
    from stream.plain_console import PlainConsole

    console = PlainConsole()
    console.print(f"wrote {answer.patients} simulated patients of seed {answer.seed} to {answer.out}")
    if answer.prevalence is None or answer.fold_patients is None:
        return
    console.print(", ".join(f"{fold} {count}" for fold, count in answer.fold_patients.items()))
    table = new_table("disease", "share")
    for disease, share in answer.prevalence.items():
        table.add_row(disease.replace("_", " "), f"{100 * share:.1f} %")
    console.print(table)
