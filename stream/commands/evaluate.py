"""`cardiacnets evaluate`: how good a model is, as JSON, as a table, and as a report with plots."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from inference.bundle import Bundle, default_bundle, load_bundle
from schemas.errors import InvalidSettings
from schemas.messages import NOTICE
from stream.settings import Settings
from training.cohort.provenance import SIMULATED

from .optional_packages import need_modules

if TYPE_CHECKING:
    from training.cohort.layout import Cohort
    from training.evaluation.bootstrap import Estimate
    from training.evaluation.evaluation import Evaluation
    from training.evaluation.real_ecgs import RealEcgFigures

PATIENTS, SEED = 4000, 1
"""Simulated ones, unless told otherwise."""
SHOWN_PHENOTYPES = ("LVEDV", "LVEF", "LVM", "RVEF", "LA_max_volume")


def evaluate_command(
    settings: Settings,
    *,
    cohort: str,
    patients: int | None,
    seed: int | None,
    baselines: Path | None,
    ecgs: Path | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Evaluate, print the figures, and write the report where one is asked for."""
    need_modules("evaluating", "sklearn", "matplotlib")
    if cohort != SIMULATED and (patients is not None or seed is not None):
        raise InvalidSettings(f"--patients and --seed are of simulated patients; {cohort} has its own test fold")
    if baselines is not None and not baselines.is_dir():
        raise InvalidSettings(f"{baselines} is no folder of baselines: `cardiacnets train reference` makes one")
    check_report(report)
    bundle = load_bundle(settings.model.bundle or default_bundle())
    with Bars() as bars:
        real = _evaluate_real(bundle, ecgs, bars) if ecgs else None
        with _opened(cohort, patients or PATIENTS, SEED if seed is None else seed, baselines, bars) as opened:
            found = _evaluate(opened, bundle, baselines, bars)
    if report is not None:
        from training.evaluation.report import write_report

        write_report(report, found, real)
    if as_json:
        _print_json(found, real)
    else:
        _print_tables(found, real)
        if report is not None:
            Console().print(f"The report lies in {report}.")


def check_report(folder: Path | None) -> None:
    """Refuse a report's folder that is none, before an hour has gone into what would be written there.

    Raises:
        InvalidSettings: a file lies there.
    """
    if folder is not None and folder.exists() and not folder.is_dir():
        raise InvalidSettings(f"{folder} is a file: --report names a folder")


def _evaluate(cohort: Cohort, bundle: Bundle, baselines: Path | None, bars: Bars) -> Evaluation:
    from training.evaluation.baselines import default_baselines
    from training.evaluation.evaluation import evaluate

    return evaluate(cohort, bundle, baselines or default_baselines(), report=bars.show)


def _evaluate_real(bundle: Bundle, ecgs: Path, bars: Bars) -> RealEcgFigures:
    from training.evaluation.real_ecgs import evaluate_real_ecgs

    return evaluate_real_ecgs(bundle, ecgs, lambda done, total: bars.show("real ECGs", done, total))


@contextmanager
def _opened(cohort: str, patients: int, seed: int, baselines: Path | None, bars: Bars) -> Iterator[Cohort]:
    """Yield the cohort of a folder, or one that is simulated now, all of it to be tested on, and gone afterwards."""
    from training.cohort.layout import open_cohort

    if cohort != SIMULATED:
        yield open_cohort(Path(cohort))
        return
    from training.evaluation.baselines import ORACLE, default_baselines
    from training.simulation.simulate_cohort import simulate_cohort

    scanned = ((baselines or default_baselines()) / ORACLE).is_dir()  # nobody else looks at the scans
    with TemporaryDirectory(prefix="cardiacnets-evaluate-") as place:
        yield simulate_cohort(
            Path(place) / "cohort",
            patients,
            seed,
            cines=scanned,
            folds=(0.0, 0.0),
            progress=lambda done: bars.show("simulating", done, patients),
        )


class Bars:
    """A progress bar a step, on the terminal's error output."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description:>18}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._tasks: dict[str, TaskID] = {}

    def show(self, step: str, done: int, total: int) -> None:
        """Show how far a step is."""
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(step.replace("_", " "), total=total)
        self._progress.update(self._tasks[step], completed=done)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _print_json(found: Evaluation, real: RealEcgFigures | None) -> None:
    from training.evaluation.evaluation import as_json

    answer: dict[str, Any] = as_json(found)
    if real is not None:
        answer["real_ecgs"] = real
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")


def _print_tables(found: Evaluation, real: RealEcgFigures | None) -> None:
    console = Console()
    model, cohort = found.model, found.cohort
    console.print(
        f"{model.name} {model.version} ({model.weights}) on {cohort['evaluated']} records, {cohort['source']}"
    )
    if not found.unseen:
        learned_from = found.bundle.manifest.trained_on
        console.print(f"Not known: whether the model learned from some of them ({learned_from}).", markup=False)
    console.print(_diseases_table(found), _phenotypes_table(found), _models_table(found), sep="\n\n")
    if real is not None:
        console.print(_real_table(real))
    console.print(NOTICE)


def _diseases_table(found: Evaluation) -> Table:
    from training.evaluation.wording import figure

    table = new_table("disease", "ill", "AUROC", "sens.", "spec.", "PPV", "slope")
    for name, one in found.measures.diseases.items():
        at, calibration = one.flagging, one.calibration
        rates = [figure(rate) for rate in (at.sensitivity, at.specificity, at.ppv)] if at else ["-"] * 3
        ill, auroc = str(one.discrimination.positives), _estimate(one.discrimination.auroc)
        table.add_row(name.replace("_", " "), ill, auroc, *rates, figure(calibration.calibration_slope))
    return table


def _phenotypes_table(found: Evaluation) -> Table:
    table = new_table("measurement", "R²", "MAE", "r", "limits of agreement")
    for name in SHOWN_PHENOTYPES:
        if one := found.measures.agreements.phenotypes.get(name):
            limits = f"{one.limits[0]:.1f} to {one.limits[1]:.1f} {one.unit}"
            table.add_row(name, f"{one.r2:.3f}", f"{one.mae:.2f}", f"{one.r:.3f}", limits)
    return table


def _models_table(found: Evaluation) -> Table:
    from training.evaluation.baselines import READABLE, MissingBaseline

    table = new_table("model", "macro AUROC", "mean R²")
    table.add_row("this model", _estimate(found.measures.macro_auroc), _estimate(found.measures.agreements.mean_r2))
    for name, baseline in found.baselines.items():
        if isinstance(baseline, MissingBaseline):
            table.add_row(READABLE[name], "absent", baseline.reason)
        else:
            measures = baseline.measures
            table.add_row(READABLE[name], _estimate(measures.macro_auroc), _estimate(measures.agreements.mean_r2))
    return table


def _real_table(real: RealEcgFigures) -> Table:
    table = new_table("real ECGs", "with", "normal", "AUROC")
    for name, contrast in (
        ("MI or scar, by CAD probability", real.mi_or_scar_by_cad_probability),
        ("LVH, by predicted LV mass", real.lvh_by_predicted_lv_mass),
    ):
        table.add_row(name, str(contrast.positives), str(contrast.negatives), _estimate(contrast.auroc))
    return table


def new_table(first: str, *others: str) -> Table:
    """Return a table without lines, all columns but the first to the right."""
    table = Table(box=None, padding=(0, 2))
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def _estimate(one: Estimate) -> str:
    return f"{one.value:.3f} ({one.low:.2f}-{one.high:.2f})"
