"""`cardiacnets train …`: the steps of learning, one command each, and the recipe that runs them all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .optional_packages import need_modules

if TYPE_CHECKING:
    from training.cohort.layout import Cohort
    from training.stages.settings import Hardware, Learning

train_app = typer.Typer(
    help="Learn from a cohort; needs torch (pip install 'cardiacnets\\[train]').", no_args_is_help=True
)

CohortFolder = Annotated[Path, typer.Option("--cohort", help="Folder of a cohort.")]
Out = Annotated[Path, typer.Option(help="Folder of this stage; one that was interrupted is gone on with.")]
PresetName = Annotated[Literal["reference", "paper"], typer.Option(help="Sizes of the networks.")]
CinePresetName = Annotated[str, typer.Option(help="reference or paper.")]
MAX_SEED = 2**32 - 1
Seed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of weights, crops, masks and order.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="At most.")]
BatchSize = Annotated[int | None, typer.Option(min=2, help="Of each device.")]
LearningRate = Annotated[float | None, typer.Option(min=1e-9, help="At the end of the warm-up.")]
Patience = Annotated[int | None, typer.Option(min=1, help="Epochs without a better development loss.")]


@train_app.callback()
def train(
    context: typer.Context,
    *,
    accelerator: Annotated[str, typer.Option(help="cpu, gpu, … (Lightning).")] = "auto",
    devices: Annotated[str, typer.Option(help="A number, a list as 0,1, or auto (Lightning).")] = "1",
    strategy: Annotated[str, typer.Option(help="How devices share the work: ddp, … (Lightning).")] = "auto",
    precision: Annotated[str, typer.Option(help="32-true, bf16-mixed, … (Lightning).")] = "32-true",
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare batches.")] = 0,
) -> None:
    """Learn from a cohort, on the hardware that these options name."""
    need_modules("learning", "torch", "lightning", "sklearn", "einops")
    from training.stages.settings import Hardware

    context.obj = Hardware(
        accelerator=accelerator, devices=devices, strategy=strategy, precision=precision, workers=workers
    )


@train_app.command("pretrain-ecg")
def pretrain_ecg_command(
    context: typer.Context,
    *,
    cohort: CohortFolder,
    out: Out,
    preset: PresetName = "reference",
    seed: Seed = 0,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    patience: Patience = None,
) -> None:
    """Pretrain the ECG encoder: it fills in what is hidden of ECGs."""
    from training.stages.pretrain_ecg import PretrainEcg, pretrain_ecg

    learning = _learning(PretrainEcg(), epochs, batch_size, learning_rate, patience)
    settings = PretrainEcg(preset=preset, seed=seed, learning=learning)
    pretrain_ecg(_open(cohort), out, settings, _hardware(context))


@train_app.command("pretrain-cmr")
def pretrain_cmr_command(
    context: typer.Context,
    *,
    cohort: CohortFolder,
    out: Out,
    preset: PresetName = "reference",
    seed: Seed = 0,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    patience: Patience = None,
) -> None:
    """Pretrain the CMR encoder: it fills in what is hidden of cines."""
    from training.stages.pretrain_cmr import PretrainCmr, pretrain_cmr

    learning = _learning(PretrainCmr(), epochs, batch_size, learning_rate, patience)
    settings = PretrainCmr(preset=preset, seed=seed, learning=learning)
    pretrain_cmr(_open(cohort), out, settings, _hardware(context))


@train_app.command("align")
def align_command(
    context: typer.Context,
    *,
    cohort: CohortFolder,
    out: Out,
    cmr: Annotated[Path, typer.Option(help="Folder of pretrain-cmr.")],
    encoder: Annotated[Path | None, typer.Option(help="Weights of pretrain-ecg; none begins from scratch.")] = None,
    preset: PresetName = "reference",
    seed: Seed = 0,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    patience: Patience = None,
) -> None:
    """Align the ECG encoder with the CMR encoder: the ECG and the cine of one heart come to lie together."""
    from training.stages.align import Align, align

    learning = _learning(Align(), epochs, batch_size, learning_rate, patience)
    settings = Align(preset=preset, seed=seed, learning=learning)
    align(_open(cohort), out, settings, _hardware(context), cmr=cmr, encoder=encoder)


@train_app.command("finetune")
def finetune_command(
    context: typer.Context,
    *,
    cohort: CohortFolder,
    out: Out,
    encoder: Annotated[Path | None, typer.Option(help="Weights to begin with; none begins from scratch.")] = None,
    aligned: Annotated[
        Path | None, typer.Option(help="Folder of align, instead: begin with it and stay aligned.")
    ] = None,
    label_fraction: Annotated[
        float, typer.Option(min=1e-6, max=1, help="Share of the training patients whose labels are used.")
    ] = 1.0,
    preset: PresetName = "reference",
    seed: Seed = 0,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    patience: Patience = None,
) -> None:
    """Fine-tune encoder and heads on labels: diseases, measurements, subtype."""
    from training.stages.finetune import Finetune, finetune

    learning = _learning(Finetune(), epochs, batch_size, learning_rate, patience)
    settings = Finetune(preset=preset, seed=seed, label_fraction=label_fraction, learning=learning)
    finetune(_open(cohort), out, settings, _hardware(context), encoder=encoder, aligned=aligned)


@train_app.command("calibrate")
def calibrate_command(
    *,
    cohort: CohortFolder,
    out: Out,
    finetuned: Annotated[Path, typer.Option(help="Folder of finetune.")],
    threshold: Annotated[
        str, typer.Option(help="Where the bundle flags: sensitivity_90 or specificity_95.")
    ] = "specificity_95",
    prevalence: Annotated[
        list[str] | None, typer.Option(help="DISEASE=SHARE where the bundle will serve; may be repeated.")
    ] = None,
    crops: Annotated[int, typer.Option(min=1, max=16, help="Crops averaged for each record.")] = 3,
    seed: Seed = 0,
) -> None:
    """Calibrate the risks and fix the thresholds, on the development fold."""
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
    out: Annotated[Path, typer.Option(help="Folder of the bundle; the bundle there is replaced.")],
    finetuned: Annotated[Path, typer.Option(help="Folder of finetune.")],
    calibrated: Annotated[Path, typer.Option(help="Folder of calibrate.")],
) -> None:
    """Write the bundle that serves."""
    from training.stages.package_bundle import describe, package

    learned_from = _open(cohort)
    bundle = package(out, finetuned, calibrated, learned_from, describe(learned_from, finetuned))
    _say(f"wrote {bundle.manifest.name} {bundle.manifest.version} to {bundle.folder}")


@train_app.command("train-vae")
def train_vae_command(
    context: typer.Context,
    *,
    cohort: CohortFolder,
    out: Out,
    preset: CinePresetName = "reference",
    seed: Seed = 0,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    patience: Patience = None,
) -> None:
    """Teach an autoencoder to say a cine in few numbers."""
    from training.stages.cine_autoencoder import TrainVae, train_vae

    learning = _learning(TrainVae(), epochs, batch_size, learning_rate, patience)
    train_vae(_open(cohort), out, TrainVae(preset=preset, seed=seed, learning=learning), _hardware(context))


@train_app.command("train-generator")
def train_generator_command(
    context: typer.Context,
    *,
    cohort: CohortFolder,
    out: Out,
    vae: Annotated[Path, typer.Option(help="Folder of train-vae; its preset is the generator's.")],
    ecg: Annotated[Path, typer.Option(help="A model bundle, or the folder of finetune: it embeds the ECGs.")],
    seed: Seed = 0,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    patience: Patience = None,
) -> None:
    """Teach a transformer to draw a cine from an ECG's embedding."""
    from training.stages.cine_generator import TrainGenerator, train_generator

    settings = TrainGenerator(
        seed=seed, learning=_learning(TrainGenerator(), epochs, batch_size, learning_rate, patience)
    )
    train_generator(_open(cohort), out, settings, _hardware(context), vae=vae, ecg=ecg)


@train_app.command("segmenter")
def segmenter_command(
    context: typer.Context,
    *,
    cohort: CohortFolder,
    out: Out,
    seed: Seed = 0,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    patience: Patience = None,
) -> None:
    """Teach a small network to outline the left ventricle: `evaluate --generator` measures drawn cines with it."""
    from training.stages.segmenter import TrainSegmenter, train_segmenter

    learning = _learning(TrainSegmenter(), epochs, batch_size, learning_rate, patience)
    train_segmenter(_open(cohort), out, TrainSegmenter(seed=seed, learning=learning), _hardware(context))


@train_app.command("package-generator")
def package_generator_command(
    *,
    cohort: CohortFolder,
    out: Annotated[Path, typer.Option(help="Folder of the generator; the generator there is replaced.")],
    generator: Annotated[Path, typer.Option(help="Folder of train-generator.")],
    ecg: Annotated[Path, typer.Option(help="Model bundle whose embeddings it learned with; it reads no other's.")],
    guidance: Annotated[
        float | None, typer.Option(min=0, max=100, help="1 is the conditional model as it is; none takes the preset's.")
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0, max=2, help="Of the noise; at 0 the expected cine is the answer to all.")
    ] = 1.0,
    steps: Annotated[int | None, typer.Option(min=1, help="Of the tokens; none takes the preset's.")] = None,
    diffusion_steps: Annotated[int | None, typer.Option(min=1, help="Of a token; none takes the preset's.")] = None,
) -> None:
    """Write the cine generator that serves."""
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
    _say(f"wrote {written.manifest.name} {written.manifest.version} to {written.path}")


@train_app.command("generator-costs")
def generator_costs_command(*, preset: PresetName = "reference") -> None:
    """Print what a cine costs in floating-point operations, by stage, as JSON."""
    import msgspec

    from inference.models.cine_presets import find_cine_preset
    from training.stages.generator_costs import count_costs

    text = msgspec.json.format(msgspec.json.encode(count_costs(find_cine_preset(preset))), indent=1)
    typer.echo(text.decode())


@train_app.command("reference")
def reference_command(
    context: typer.Context,
    *,
    out: Annotated[Path, typer.Option(help="Folder of the whole; what is finished in it is not done again.")],
    patients: Annotated[int, typer.Option(min=20, help="Of the simulated cohort, scanned and measured.")] = 9000,
    unmeasured: Annotated[
        int | None, typer.Option(min=0, help="More, with a scan that nobody measured; three times as many by default.")
    ] = None,
    unscanned: Annotated[int, typer.Option(min=0, help="More, with an ECG and diagnoses alone.")] = 0,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of the cohort and of all learning.")] = 0,
    preset: PresetName = "reference",
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Steps at the same time; two on a processor, one on a GPU.")
    ] = None,
) -> None:
    """Do everything: simulate, pretrain, align, fine-tune, calibrate, bundle, and the baselines beside it."""
    from training.recipe import UNMEASURED_A_PATIENT, Recipe, run_recipe, steps_at_once

    recipe = Recipe(
        preset=preset,
        seed=seed,
        patients=patients,
        unmeasured=UNMEASURED_A_PATIENT * patients if unmeasured is None else unmeasured,
        unscanned=unscanned,
    )
    hardware = _hardware(context)
    bundle = run_recipe(out, recipe, hardware, _say, at_once=at_once or steps_at_once(hardware))
    _say(f"the bundle lies in {bundle}")


def _open(folder: Path) -> Cohort:
    from training.cohort.layout import open_cohort

    return open_cohort(folder)


def _hardware(context: typer.Context) -> Hardware:
    hardware: Hardware = context.obj
    return hardware


def _learning(
    stage: Any, epochs: int | None, batch_size: int | None, learning_rate: float | None, patience: int | None
) -> Learning:
    """Return the stage's own way of learning, with what the options change."""
    from msgspec.structs import replace

    options = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "patience": patience}
    learning: Learning = replace(stage.learning, **{name: value for name, value in options.items() if value})
    return learning


def _say(text: str) -> None:
    from rich.console import Console

    Console(stderr=True, highlight=False, soft_wrap=True).print(text)
