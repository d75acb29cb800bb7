"""`cardiacnets evaluate --generator`: what drawn cines are worth, as JSON, as tables, and as a contact sheet."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.table import Table

from inference.bundle import default_bundle, load_bundle
from inference.generator import CineGenerator
from schemas.messages import NOTICE
from stream.settings import Settings

from .evaluate import SEED, Bars, check_report, new_table
from .optional_packages import need_modules

if TYPE_CHECKING:
    from training.evaluation.bootstrap import Estimate
    from training.evaluation.cines.evaluation import CineEvaluation
    from training.evaluation.cines.scorer import CineFigures

PATIENTS = 300
JSON, SHEET = "cines.json", "cines.png"


def evaluate_cines_command(
    settings: Settings, *, patients: int | None, seed: int | None, report: Path | None, as_json: bool
) -> None:
    """Evaluate the generator, print the figures, and write them with a contact sheet where a folder is named."""
    need_modules("evaluating cines", "torch", "sklearn", "skimage", "matplotlib")
    check_report(report)
    from training.evaluation.cines.evaluation import as_json as entries
    from training.evaluation.cines.evaluation import evaluate_generator

    bundle = load_bundle(settings.model.bundle or default_bundle())
    generator = CineGenerator.load(settings.cines.generator, threads=settings.model.threads)
    try:
        with Bars() as bars:
            found = evaluate_generator(
                generator,
                bundle,
                seed=SEED if seed is None else seed,
                patients=patients or PATIENTS,
                report=bars.show,
            )
    finally:
        generator.close()
    encoded = msgspec.json.encode(entries(found))
    if report is not None:
        _write_report(report, found, encoded)
    if as_json:
        sys.stdout.buffer.write(encoded + b"\n")
    else:
        _print_tables(found)


def _write_report(folder: Path, found: CineEvaluation, encoded: bytes) -> None:
    from training.evaluation.cines.sheet import write_sheet

    folder.mkdir(parents=True, exist_ok=True)
    write_sheet(folder / SHEET, found.true_cines, found.drawn_cines, found.systole)
    (folder / JSON).write_bytes(msgspec.json.format(encoded, indent=1) + b"\n")


def _print_tables(found: CineEvaluation) -> None:
    console = Console()
    model, evaluated = found.generator, found.patients["evaluated"]
    console.print(f"{model.name} {model.version} ({model.weights}) on {evaluated} simulated patients")
    console.print(_pictures_table(found), _consistency_table(found), sep="\n\n")
    console.print(NOTICE)


def _sources(found: CineEvaluation) -> dict[str, CineFigures]:
    from training.evaluation.cines.baselines import READABLE

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
