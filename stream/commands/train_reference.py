"""`cardiacnets train reference`: all stages, from a simulated cohort to a bundle and its baselines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .options import MAX_SEED
from .output import say
from .stage_options import need_learning

if TYPE_CHECKING:
    from training.stages.settings import Hardware


def reference_command(
    context: typer.Context,
    *,
    out: Annotated[Path, typer.Option(help="Folder of all stages. A finished stage in it is not repeated.")],
    patients: Annotated[int, typer.Option(min=20, help="Simulated patients who are scanned and measured.")] = 9000,
    unmeasured: Annotated[
        int | None,
        typer.Option(min=0, help="Further patients whose scan nobody measured. 3 times --patients by default."),
    ] = None,
    unscanned: Annotated[int, typer.Option(min=0, help="Further patients with an ECG and diagnoses only.")] = 0,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the cohort and of all learning.")] = 0,
    preset: Annotated[
        Literal["reference", "paper", "gpu"],
        typer.Option(help="Sizes of the networks. gpu: those of reference, in batches of 256, with larger rates."),
    ] = "reference",
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Stages at the same time. 2 on a CPU and up to 3 on a GPU by default.")
    ] = None,
) -> None:
    """Run all stages: simulate, pretrain, align, fine-tune, calibrate, write the bundle and its baselines."""
    need_learning()
    from training.recipe import UNMEASURED_A_PATIENT, Recipe, of_preset, run_recipe, steps_at_once

    recipe = Recipe(
        seed=seed,
        patients=patients,
        unmeasured=UNMEASURED_A_PATIENT * patients if unmeasured is None else unmeasured,
        unscanned=unscanned,
    )
    recipe = of_preset(preset, recipe)
    hardware: Hardware = context.obj
    beside = steps_at_once(hardware, recipe.preset)  # which refuses a device that is not there
    bundle = run_recipe(out, recipe, hardware, say, at_once=at_once or beside)
    say(f"wrote the bundle to {bundle}")
