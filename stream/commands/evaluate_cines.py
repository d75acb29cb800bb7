"""`cardiacnets evaluate --generator`: how good drawn cines are, as JSON, as tables, and as a contact sheet."""

from __future__ import annotations

import math
from pathlib import Path

from rich.table import Table

from engines.whole_json import write_json
from inference.bundle import default_bundle, load_bundle
from schemas.messages import NOTICE
from stream.cines.open_generator import open_generator
from stream.plain_console import PlainConsole
from stream.settings import Settings
from training.evaluation.bootstrap import Estimate
from training.evaluation.cines.baselines import READABLE
from training.evaluation.cines.evaluation import CineEvaluation, evaluate_generator
from training.evaluation.cines.evaluation import as_json as answer_of
from training.evaluation.cines.scorer import CineFigures
from training.evaluation.cines.sheet import write_sheet

from .output import new_table, print_json
from .progress_bar import progress_bar

PATIENTS_WITH_CINES = 300
JSON, SHEET = "cines.json", "cines.png"


def evaluate_cines(settings: Settings, *, patients: int, seed: int, report: Path | None, as_json: bool) -> None:
    """Evaluate the generator, print the figures, and write them with a contact sheet where a folder is named."""
    bundle = load_bundle(settings.model.bundle or default_bundle())
    generator = open_generator(settings)
    try:
        with progress_bar() as show:
            found = evaluate_generator(generator, bundle, seed=seed, patients=patients, report=show)
    finally:
        generator.close()
    answer = answer_of(found)
    if report is not None:
        _write_report(report, found, answer)
    if as_json:
        print_json(answer)
    else:
        _print_tables(found)


def _write_report(folder: Path, found: CineEvaluation, answer: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_sheet(folder / SHEET, found.true_cines, found.drawn_cines, found.systole)
    write_json(folder / JSON, answer)


def _print_tables(found: CineEvaluation) -> None:
    console = PlainConsole()
    model, evaluated = found.generator, found.patients["evaluated"]
    console.print(f"{model.name} {model.version} ({model.weights}) on {evaluated} simulated patients")
    console.print(_pictures_table(found), _consistency_table(found), sep="\n\n")
    console.print(NOTICE)


def _sources(found: CineEvaluation) -> dict[str, CineFigures]:
    baselines = {READABLE[name]: figures for name, (figures, _) in found.baselines.items()}
    return {"The generator": found.drawn, **baselines, "Its autoencoder (ceiling)": found.ceiling}


def _pictures_table(found: CineEvaluation) -> Table:
    table = new_table("cines", "SSIM", "PSNR, dB", "Fréchet", "Fréchet with ECG")
    for name, figures in _sources(found).items():
        shown = (figures.ssim, figures.psnr, figures.frechet, figures.frechet_joint)
        table.add_row(name, *map(_estimate, shown))
    return table


def _consistency_table(found: CineEvaluation) -> Table:
    table = new_table("measured on", "LVEF: r truth", "MAE, %", "r report", "LVEDV: r truth", "wall: r truth")
    sources = {name: figures.consistency for name, figures in _sources(found).items()}
    for source, measured in {**sources, "The true cine": found.true, "The report": found.reported}.items():
        lvef = measured["lvef"]
        others = [measured[name].r_truth for name in ("lvedv", "wall_thickness")]
        table.add_row(source, *map(_estimate, (lvef.r_truth, lvef.mae_truth, lvef.r_report, *others)))
    return table


def _estimate(one: Estimate) -> str:
    return "-" if math.isnan(one.value) else f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})"
