"""`cardiacnets train …`: the stages of learning, one command each, and the recipe that runs all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.stages.settings import (
    Align,
    Finetune,
    Hardware,
    PretrainCmr,
    PretrainEcg,
    TrainGenerator,
    TrainSegmenter,
    TrainVae,
)

from .options import MAX_SEED, PresetName
from .output import say
from .stage_options import CohortFolder, Out, hardware_command, need_learning, stage_command

if TYPE_CHECKING:
    from training.cohort.layout import Cohort

train_app = typer.Typer(
    help="Learn from a cohort; needs torch (pip install 'cardiacnets\\[train]').", no_args_is_help=True
)


@train_app.callback()
@hardware_command
def train(context: typer.Context, hardware: Hardware) -> None:
    """Learn from a cohort, on the hardware that these options name."""
    context.obj = hardware


@train_app.command("pretrain-ecg")
@stage_command(PretrainEcg)
def pretrain_ecg_command(cohort: Path, out: Path, settings: PretrainEcg, hardware: Hardware) -> None:
    """Pretrain the ECG encoder: it learns to fill in hidden parts of ECGs."""
    from training.stages.pretrain_ecg import pretrain_ecg

    pretrain_ecg(_open(cohort), out, settings, hardware)


@train_app.command("pretrain-cmr")
@stage_command(PretrainCmr)
def pretrain_cmr_command(cohort: Path, out: Path, settings: PretrainCmr, hardware: Hardware) -> None:
    """Pretrain the CMR encoder: it learns to fill in hidden parts of cines."""
    from training.stages.pretrain_cmr import pretrain_cmr

    pretrain_cmr(_open(cohort), out, settings, hardware)


@train_app.command("align")
@stage_command(Align)
def align_command(
    cohort: Path,
    out: Path,
    settings: Align,
    hardware: Hardware,
    *,
    cmr: Annotated[Path, typer.Option(help="Folder of pretrain-cmr.")],
    encoder: Annotated[
        Path | None, typer.Option(help="Weights of pretrain-ecg. Without them, the encoder starts from scratch.")
    ] = None,
) -> None:
    """Align the ECG encoder with the CMR encoder: the ECG and the cine of the same heart get similar embeddings."""
    from training.stages.align import align

    align(_open(cohort), out, settings, hardware, cmr=cmr, encoder=encoder)


@train_app.command("finetune")
@stage_command(Finetune)
def finetune_command(
    cohort: Path,
    out: Path,
    settings: Finetune,
    hardware: Hardware,
    *,
    encoder: Annotated[
        Path | None, typer.Option(help="Weights to start with. Without them, the encoder starts from scratch.")
    ] = None,
    aligned: Annotated[
        Path | None, typer.Option(help="Folder of align, instead of --encoder: start with it and stay aligned.")
    ] = None,
) -> None:
    """Fine-tune the encoder and the heads on labels: diseases, measurements, subtype."""
    from training.stages.finetune import finetune

    finetune(_open(cohort), out, settings, hardware, encoder=encoder, aligned=aligned)


@train_app.command("calibrate")
def calibrate_command(
    *,
    cohort: CohortFolder,
    out: Out,
    finetuned: Annotated[Path, typer.Option(help="Folder of finetune.")],
    threshold: Annotated[
        str, typer.Option(help="Operating point at which the bundle flags: sensitivity_90 or specificity_95.")
    ] = "specificity_95",
    prevalence: Annotated[
        list[str] | None,
        typer.Option(help="DISEASE=SHARE, the prevalence where the bundle will serve. May be repeated."),
    ] = None,
    crops: Annotated[int, typer.Option(min=1, max=16, help="Crops of a record whose logits are averaged.")] = 3,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the cross-validation.")] = 0,
) -> None:
    """Calibrate the risks and fix the thresholds, on the development fold."""
    need_learning()
    from training.stages.calibrate import Calibrate, as_threshold_name, calibrate, parse_prevalences

    settings = Calibrate(
        seed=seed,
        threshold=as_threshold_name(threshold),
        prevalence=parse_prevalences(prevalence or []),
        n_crops=crops,
    )
    calibrate(_open(cohort), out, finetuned, settings)


@train_app.command("bundle")
def bundle_command(
    *,
    cohort: CohortFolder,
    out: Annotated[Path, typer.Option(help="Folder of the bundle. A bundle that is there is replaced.")],
    finetuned: Annotated[Path, typer.Option(help="Folder of finetune.")],
    calibrated: Annotated[Path, typer.Option(help="Folder of calibrate.")],
) -> None:
    """Write the bundle that serves."""
    need_learning()
    from training.stages.package_bundle import describe, package

    learned_from = _open(cohort)
    bundle = package(out, finetuned, calibrated, learned_from, describe(learned_from, finetuned))
    say(f"wrote {bundle.manifest.name} {bundle.manifest.version} to {bundle.folder}")


@train_app.command("train-vae")
@stage_command(TrainVae)
def train_vae_command(cohort: Path, out: Path, settings: TrainVae, hardware: Hardware) -> None:
    """Teach an autoencoder to describe a cine in few numbers."""
    from training.stages.cine_autoencoder import train_vae

    train_vae(_open(cohort), out, settings, hardware)


@train_app.command("train-generator")
@stage_command(TrainGenerator)
def train_generator_command(
    cohort: Path,
    out: Path,
    settings: TrainGenerator,
    hardware: Hardware,
    *,
    vae: Annotated[Path, typer.Option(help="Folder of train-vae. The generator takes the preset of train-vae.")],
    ecg: Annotated[Path, typer.Option(help="Model bundle, or folder of finetune, that embeds the ECGs.")],
) -> None:
    """Teach a transformer to draw a cine from an ECG's embedding."""
    from training.stages.cine_generator import train_generator

    train_generator(_open(cohort), out, settings, hardware, vae=vae, ecg=ecg)


@train_app.command("segmenter")
@stage_command(TrainSegmenter)
def segmenter_command(cohort: Path, out: Path, settings: TrainSegmenter, hardware: Hardware) -> None:
    """Teach a small network to outline the left ventricle: `evaluate --generator` measures drawn cines with it."""
    from training.stages.segmenter import train_segmenter

    train_segmenter(_open(cohort), out, settings, hardware)


@train_app.command("package-generator")
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
    from training.stages.package_generator import package_cines

    written = package_cines(
        out,
        generator,
        _open(cohort),
        ecg=ecg,
        guidance=guidance,
        temperature=temperature,
        steps=steps,
        diffusion_steps=diffusion_steps,
    )
    say(f"wrote {written.manifest.name} {written.manifest.version} to {written.path}")


@train_app.command("generator-costs")
def generator_costs_command(*, preset: PresetName = "reference") -> None:
    """Print how many floating-point operations each stage of drawing a cine takes, as JSON."""
    need_learning()
    import msgspec

    from inference.models.cine_presets import find_cine_preset
    from training.stages.generator_costs import count_costs

    text = msgspec.json.format(msgspec.json.encode(count_costs(find_cine_preset(preset))), indent=1)
    typer.echo(text.decode())


@train_app.command("reference")
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
    preset: PresetName = "reference",
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Stages at the same time. 2 on a CPU and 1 on a GPU by default.")
    ] = None,
) -> None:
    """Run all stages: simulate, pretrain, align, fine-tune, calibrate, write the bundle and its baselines."""
    need_learning()
    from training.recipe import UNMEASURED_A_PATIENT, Recipe, run_recipe, steps_at_once

    recipe = Recipe(
        preset=preset,
        seed=seed,
        patients=patients,
        unmeasured=UNMEASURED_A_PATIENT * patients if unmeasured is None else unmeasured,
        unscanned=unscanned,
    )
    hardware: Hardware = context.obj
    bundle = run_recipe(out, recipe, hardware, say, at_once=at_once or steps_at_once(hardware))
    say(f"wrote the bundle to {bundle}")


def _open(folder: Path) -> Cohort:
    from training.cohort.layout import open_cohort

    return open_cohort(folder)
