"""`cardiacnets evaluate`: how good a model or a cine generator is, as JSON, as a table, and as a report with plots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import InvalidSettings
from stream.plain_text import print_plain

from .optional_packages import need_modules
from .options import MAX_SEED, BundleFolder, Json, settings_with
from .output import print_json
from .progress_bar import ShowProgress, progress_bar

if TYPE_CHECKING:
    from inference.bundle import Bundle
    from stream.settings import Settings
    from training.cohort.layout import Cohort
    from training.evaluation.evaluation import Evaluation
    from training.evaluation.real_ecgs import RealEcgFigures

SIMULATED = "simulated"
PATIENTS, SEED = 4000, 1
"""Of the simulated cohort, where no option says otherwise."""


def evaluate_command(
    cohort: Annotated[
        str, typer.Option(help="'simulated', or the folder of a cohort, whose test fold is used.")
    ] = SIMULATED,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=MAX_SEED, help="Seed of the simulated patients. No model may have learned from it. 1 by default."
        ),
    ] = None,
    patients: Annotated[
        int | None,
        typer.Option(min=20, help="Number of simulated patients. 4000 by default, 300 with --generator."),
    ] = None,
    as_json: Json = False,
    report: Annotated[Path | None, typer.Option(help="Folder for a report with plots and a model card.")] = None,
    bundle: BundleFolder = None,
    baselines: Annotated[
        Path | None, typer.Option(help="Folder of baselines. The shipped baselines by default.")
    ] = None,
    ecgs: Annotated[
        Path | None, typer.Option(help="Also rank real ECGs: a folder of ECG files with a labels.csv.")
    ] = None,
    generator: Annotated[bool, typer.Option("--generator", help="Measure the cine generator instead.")] = False,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(help="Judge what `backfill` answered to an archive: the folder that it wrote. Needs --labels."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="records_w_diag_icd10.csv of MIMIC-IV-ECG-Ext-ICD, or ptbxl_database.csv of PTB-XL."),
    ] = None,
    folds: Annotated[
        str | None, typer.Option(help="Folds of --labels, such as 19 or 0-17,19. The published test fold by default.")
    ] = None,
    fold_column: Annotated[
        str | None,
        typer.Option(help="Column of --labels with the folds. strat_fold by default, by which a cohort is split."),
    ] = None,
) -> None:
    """Measure how good a model is on patients it has not seen, beside its baselines."""
    _check_folders(report, baselines)
    if predictions or labels or folds or fold_column:
        others = {
            "--cohort": cohort != SIMULATED,
            "--seed": seed is not None,
            "--patients": patients is not None,
            "--baselines": baselines is not None,
            "--ecgs": ecgs is not None,
            "--generator": generator,
        }
        _judge_predictions(predictions or [], labels, (folds, fold_column), others, bundle, report, as_json=as_json)
        return
    if generator and (cohort != SIMULATED or baselines or ecgs):
        raise InvalidSettings("--generator is measured on simulated patients: drop --cohort, --baselines and --ecgs")
    if cohort != SIMULATED and (patients is not None or seed is not None):
        raise InvalidSettings(
            f"--patients and --seed only apply to simulated cohorts; {cohort} is evaluated on its own test fold"
        )
    settings, seed = settings_with(bundle=bundle), SEED if seed is None else seed
    if generator:
        need_modules("evaluating cines", "torch", "sklearn", "skimage", "matplotlib")
        from .evaluate_cines import PATIENTS_WITH_CINES, evaluate_cines

        patients = patients or PATIENTS_WITH_CINES
        evaluate_cines(settings, patients=patients, seed=seed, report=report, as_json=as_json)
    else:
        need_modules("evaluating", "sklearn", "matplotlib")
        found, real = _measure(settings, cohort, patients or PATIENTS, seed, baselines, ecgs)
        _write(found, real, report, as_json=as_json)


def _judge_predictions(
    predictions: list[Path],
    labels: Path | None,
    folds: tuple[str | None, str | None],
    others: dict[str, bool],
    bundle: Path | None,
    report: Path | None,
    *,
    as_json: bool,
) -> None:
    """Judge answers to an archive, unless options say something else as well."""
    if not predictions or labels is None:
        raise InvalidSettings(
            "--predictions names the folder that `cardiacnets backfill` wrote, and --labels the archive's table of "
            "labels: name both. --folds and --fold-column choose among the folds of --labels"
        )
    if len(predictions) > 1:
        raise InvalidSettings(f"--predictions is given {len(predictions)} times: judge one folder at a time")
    if given := [name for name, is_given in others.items() if is_given]:
        raise InvalidSettings(f"--predictions judges answers that are there: drop {', '.join(given)}")
    need_modules("evaluating", "sklearn", "matplotlib")
    from .evaluate_predictions import evaluate_predictions

    evaluate_predictions(settings_with(bundle=bundle), predictions[0], labels, folds, report, as_json=as_json)


def _check_folders(report: Path | None, baselines: Path | None) -> None:
    """Refuse, before an hour of work, folders that are not folders."""
    if report is not None and report.exists() and not report.is_dir():
        raise InvalidSettings(f"--report {report} is a file: name a folder")
    if baselines is not None and not baselines.is_dir():
        raise InvalidSettings(f"--baselines {baselines} is not a folder: `cardiacnets train reference` makes baselines")


def _measure(
    settings: Settings, cohort: str, patients: int, seed: int, baselines: Path | None, ecgs: Path | None
) -> tuple[Evaluation, RealEcgFigures | None]:
    from inference.bundle import default_bundle, load_bundle

    bundle = load_bundle(settings.model.bundle or default_bundle())
    with progress_bar() as show:
        real = _evaluate_real(bundle, ecgs, show) if ecgs else None
        with _opened(cohort, patients, seed, baselines, show) as opened:
            return _evaluate(opened, bundle, baselines, show), real


def _evaluate(cohort: Cohort, bundle: Bundle, baselines: Path | None, show: ShowProgress) -> Evaluation:
    from training.evaluation.baselines import default_baselines
    from training.evaluation.evaluation import evaluate

    return evaluate(cohort, bundle, baselines or default_baselines(), report=show)


def _evaluate_real(bundle: Bundle, ecgs: Path, show: ShowProgress) -> RealEcgFigures:
    from training.evaluation.real_ecgs import evaluate_real_ecgs

    return evaluate_real_ecgs(bundle, ecgs, lambda done, total: show("real ECGs", done, total))


@contextmanager
def _opened(cohort: str, patients: int, seed: int, baselines: Path | None, show: ShowProgress) -> Iterator[Cohort]:
    """Yield the cohort of a folder, or a simulated cohort, which is all tested on and removed afterwards."""
    from tempfile import TemporaryDirectory

    from training.cohort.layout import open_cohort

    if cohort != SIMULATED:
        yield open_cohort(Path(cohort))
        return
    from training.evaluation.baselines import ORACLE, default_baselines
    from training.simulation.simulate_cohort import simulate_cohort

    scanned = ((baselines or default_baselines()) / ORACLE).is_dir()  # only the oracle looks at the scans
    with TemporaryDirectory(prefix="cardiacnets-evaluate-") as place:
        yield simulate_cohort(
            Path(place) / "cohort",
            patients,
            seed,
            cines=scanned,
            folds=(0.0, 0.0),
            progress=lambda done: show("simulating", done, patients),
        )


def _write(found: Evaluation, real: RealEcgFigures | None, report: Path | None, *, as_json: bool) -> None:
    from training.evaluation.evaluation import as_json as answer_of
    from training.evaluation.report import write_report

    from .evaluation_tables import print_tables

    if report is not None:
        write_report(report, found, real)
    if as_json:
        answer: dict[str, Any] = answer_of(found)
        print_json(answer | ({"real_ecgs": real} if real is not None else {}))
        return
    print_tables(found, real)
    if report is not None:
        print_plain(f"wrote the report to {report}")
