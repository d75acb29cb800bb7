"""`cardiacnets train …`: the stages of learning, one command each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.private_files import keep_private
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

from .options import MAX_SEED
from .stage_options import CohortFolder, Out, hardware_command, need_learning, open_cohort, stage_command
from .train_package import bundle_command, generator_costs_command, package_generator_command
from .train_reference import reference_command
from .train_swaps import swap_detector_command

if TYPE_CHECKING:
    from training.cohort.layout import Cohort

WRITE_MODELS = frozenset({"bundle", "package-generator", "reference", "swap-detector"})
"""These learn from simulated patients, or write what was learned."""

train_app = typer.Typer(
    help="Learn from a cohort; needs torch (pip install 'cardiacnets\\[train]').", no_args_is_help=True
)


@train_app.callback()
@hardware_command
def train(context: typer.Context, hardware: Hardware) -> None:
    """Learn from a cohort, on the hardware that these options name."""
    keep_private(context, but=WRITE_MODELS)
    context.obj = hardware


@train_app.command("pretrain-ecg")
@stage_command(PretrainEcg)
def pretrain_ecg_command(cohort: Cohort, out: Path, settings: PretrainEcg, hardware: Hardware) -> None:
    """Pretrain the ECG encoder: it learns to fill in hidden parts of ECGs."""
    from training.stages.pretrain_ecg import pretrain_ecg

    pretrain_ecg(cohort, out, settings, hardware)


@train_app.command("pretrain-cmr")
@stage_command(PretrainCmr)
def pretrain_cmr_command(cohort: Cohort, out: Path, settings: PretrainCmr, hardware: Hardware) -> None:
    """Pretrain the CMR encoder: it learns to fill in hidden parts of cines."""
    from training.stages.pretrain_cmr import pretrain_cmr

    pretrain_cmr(cohort, out, settings, hardware)


@train_app.command("align")
@stage_command(Align)
def align_command(
    cohort: Cohort,
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

    align(cohort, out, settings, hardware, cmr=cmr, encoder=encoder)


@train_app.command("finetune")
@stage_command(Finetune)
def finetune_command(
    cohort: Cohort,
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

    finetune(cohort, out, settings, hardware, encoder=encoder, aligned=aligned)


@train_app.command("calibrate")
def calibrate_command(
    context: typer.Context,
    *,
    cohort: CohortFolder,
    out: Out,
    finetuned: Annotated[Path, typer.Option(help="Folder of finetune.")],
    threshold: Annotated[
        str,
        typer.Option(help="Operating point at which the bundle flags: family_wise, sensitivity_90 or specificity_95."),
    ] = "family_wise",
    family_wise_rate: Annotated[
        float,
        typer.Option(min=0.001, max=0.5, help="Share of the people with none of the diseases who may have an alert."),
    ] = 0.10,
    prevalence: Annotated[
        list[str] | None,
        typer.Option(help="DISEASE=SHARE, the prevalence where the bundle will serve. May be repeated."),
    ] = None,
    crops: Annotated[int, typer.Option(min=1, max=16, help="Crops of a record whose logits are averaged.")] = 3,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the cross-validation.")] = 0,
) -> None:
    """Calibrate the risks and fix the thresholds, on the development fold."""
    need_learning()
    learned_from = open_cohort(cohort)
    from training.stages.calibrate import Calibrate, as_threshold_name, calibrate, parse_prevalences

    settings = Calibrate(
        seed=seed,
        threshold=as_threshold_name(threshold),
        family_wise_rate=family_wise_rate,
        prevalence=parse_prevalences(prevalence or []),
        n_crops=crops,
    )
    calibrate(learned_from, out, finetuned, settings, context.obj)


@train_app.command("train-vae")
@stage_command(TrainVae)
def train_vae_command(cohort: Cohort, out: Path, settings: TrainVae, hardware: Hardware) -> None:
    """Teach an autoencoder to describe a cine in few numbers."""
    from training.stages.cine_autoencoder import train_vae

    train_vae(cohort, out, settings, hardware)


@train_app.command("train-generator")
@stage_command(TrainGenerator)
def train_generator_command(
    cohort: Cohort,
    out: Path,
    settings: TrainGenerator,
    hardware: Hardware,
    *,
    vae: Annotated[Path, typer.Option(help="Folder of train-vae. The generator takes the preset of train-vae.")],
    ecg: Annotated[Path, typer.Option(help="Model bundle, or folder of finetune, that embeds the ECGs.")],
) -> None:
    """Teach a transformer to draw a cine from an ECG's embedding."""
    from training.stages.cine_generator import train_generator

    train_generator(cohort, out, settings, hardware, vae=vae, ecg=ecg)


@train_app.command("segmenter")
@stage_command(TrainSegmenter)
def segmenter_command(cohort: Cohort, out: Path, settings: TrainSegmenter, hardware: Hardware) -> None:
    """Teach a small network to outline the left ventricle: `evaluate --generator` measures drawn cines with it."""
    from training.stages.segmenter import train_segmenter

    train_segmenter(cohort, out, settings, hardware)


train_app.command("bundle")(bundle_command)
train_app.command("package-generator")(package_generator_command)
train_app.command("generator-costs")(generator_costs_command)
train_app.command("reference")(reference_command)
train_app.command("swap-detector")(swap_detector_command)
