"""`cardiacnets simulate`: a simulated cohort, or its ECGs as WFDB files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from schemas.errors import InvalidSettings
from schemas.messages import DISEASES
from training.cohort.layout import SHARES, Cohort, is_cohort
from training.cohort.staged_folder import check_destination
from training.simulation.simulate_cohort import simulate_cohort, write_wfdb

from .progress_bar import counted

FORMATS = ("cohort", "wfdb")
EVERYBODY_TESTED = (0.0, 0.0)


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """What was written: the answer of `--json`."""

    out: str
    format: Literal["cohort", "wfdb"]
    patients: int
    seed: int
    fold_patients: dict[str, int] | None = None
    prevalence: dict[str, float] | None = None


def simulate_command(
    out: Path,
    *,
    patients: int,
    unmeasured: int,
    unscanned: int,
    seed: int,
    layout: str,
    cines: bool,
    short_axis: bool,
    test_only: bool,
    processes: int | None,
    as_json: bool,
) -> None:
    """Simulate, with a progress bar, and say what was written."""
    if layout not in FORMATS:
        raise InvalidSettings(f"no format is called {layout!r}: choose {' or '.join(FORMATS)}")
    if layout == "wfdb" and unmeasured + unscanned:
        raise InvalidSettings("WFDB files are ECGs with the truth beside them: ask for more --patients instead")
    if unmeasured and not (cines or short_axis):
        raise InvalidSettings("--unmeasured patients have a scan: let one be drawn, or make them --unscanned")
    check_destination(out, is_cohort if layout == "cohort" else lambda _: False)
    everybody = patients + unmeasured + unscanned
    with counted("simulating") as show:
        options: dict[str, Any] = {
            "processes": processes,
            "progress": lambda done: show(done, everybody),
        }
        if layout == "wfdb":
            write_wfdb(out, patients, seed, **options)
            answer = Simulated(out=str(out), format="wfdb", patients=patients, seed=seed)
        else:
            folds = EVERYBODY_TESTED if test_only else SHARES
            options |= {"unmeasured": unmeasured, "unscanned": unscanned, "folds": folds}
            cohort = simulate_cohort(out, patients, seed, cines=cines, short_axis=short_axis, **options)
            answer = _describe(cohort, out, seed)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    else:
        _print(answer)


def _describe(cohort: Cohort, out: Path, seed: int) -> Simulated:
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
    console = Console()
    console.print(f"wrote {answer.patients} simulated patients of seed {answer.seed} to {answer.out}")
    if answer.prevalence is None or answer.fold_patients is None:
        return
    console.print(", ".join(f"{fold} {count}" for fold, count in answer.fold_patients.items()))
    table = Table(box=None, padding=(0, 2))
    table.add_column("disease")
    table.add_column("share", justify="right")
    for disease, share in answer.prevalence.items():
        table.add_row(disease.replace("_", " "), f"{100 * share:.1f} %")
    console.print(table)
