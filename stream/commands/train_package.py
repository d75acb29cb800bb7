"""`cardiacnets train bundle`, `train package-generator`: what was learned becomes a folder that serves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import PresetName
from .output import say
from .stage_options import CohortFolder, need_learning, open_cohort


def bundle_command(
    *,
    cohort: CohortFolder,
    out: Annotated[Path, typer.Option(help="Folder of the bundle. A bundle that is there is replaced.")],
    finetuned: Annotated[Path, typer.Option(help="Folder of finetune.")],
    calibrated: Annotated[Path, typer.Option(help="Folder of calibrate.")],
) -> None:
    """Write the bundle that serves."""
    need_learning()
    learned_from = open_cohort(cohort)
    from training.stages.package_bundle import describe, package

    bundle = package(out, finetuned, calibrated, learned_from, describe(learned_from, finetuned))
    say(f"wrote {bundle.manifest.name} {bundle.manifest.version} to {bundle.folder}")


def package_generator_command(
    *,
    cohort: CohortFolder,
    out: Annotated[Path, typer.Option(help="Folder of the generator. A generator that is there is replaced.")],
    generator: Annotated[Path, typer.Option(help="Folder of train-generator.")],
    ecg: Annotated[
        Path, typer.Option(help="Model bundle that the generator learned with. It reads no other model's embeddings.")
    ],
    guidance: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="1 is the conditional model as it is. The preset's value by default."),
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0, max=2, help="Temperature of the noise. At 0, every draw is the expected cine.")
    ] = 1.0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps in which the tokens are drawn. The preset's value by default.")
    ] = None,
    diffusion_steps: Annotated[
        int | None, typer.Option(min=1, help="Diffusion steps of a token. The preset's value by default.")
    ] = None,
) -> None:
    """Write the cine generator that serves."""
    need_learning()
    learned_from = open_cohort(cohort)
    from training.stages.package_generator import package_cines

    written = package_cines(
        out,
        generator,
        learned_from,
        ecg=ecg,
        guidance=guidance,
        temperature=temperature,
        steps=steps,
        diffusion_steps=diffusion_steps,
    )
    say(f"wrote {written.manifest.name} {written.manifest.version} to {written.path}")


def generator_costs_command(*, preset: PresetName = "reference") -> None:
    """Print how many floating-point operations each stage of drawing a cine takes, as JSON."""
    need_learning()
    import msgspec

    from inference.models.cine_presets import find_cine_preset
    from training.stages.generator_costs import count_costs

    text = msgspec.json.format(msgspec.json.encode(count_costs(find_cine_preset(preset))), indent=1)
    typer.echo(text.decode())
