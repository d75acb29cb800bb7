"""`cardiacnets train reference`: simulates a cohort, trains on it, and leaves a bundle with its baselines.

Finished steps are not run again: after an interruption the same command resumes, within a step at its last epoch.

Steps that do not need each other run at the same time, each in a process of its own and on its share of the cores: one
step with a network this small does not keep two cores busy.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from engines.whole_json import write_json
from inference.verified_folder import MANIFEST
from schemas.errors import InvalidSettings

from .cohort.layout import Cohort, is_cohort, open_cohort
from .cohort.process_pool import open_pool
from .stages.settings import (
    Align,
    Count,
    Finetune,
    Hardware,
    Learning,
    PresetName,
    PretrainCmr,
    PretrainEcg,
    SavedStruct,
    Seed,
)
from .stages.stage_folder import StageFolder, make_folder

RECIPE = "recipe.json"
SIMULATE = "simulate"
UNMEASURED_A_PATIENT = 3
SECONDS_A_MINUTE = 60
STEPS_ON_A_PROCESSOR, STEPS_ON_A_GPU, CORES_A_STEP = 2, 3, 4
SMALL_BATCH, ALIGN_BATCH, CMR_BATCH = 32, 128, 64
"""The rates were chosen for these."""
GPU_BATCH = 256
RecipePreset: TypeAlias = Literal["reference", "paper", "gpu"]


class Recipe(SavedStruct, frozen=True, kw_only=True):
    """What decides the result, together with the code.

    Attributes:
        patients: simulated, scanned and measured. Eight of ten are in the training fold.
        unmeasured: further patients, with a scan that nobody has measured.
        unscanned: further patients, with an ECG and diagnoses alone, as in a hospital's archive.
        seed: of the cohort and of all learning.
    """

    preset: PresetName = "reference"
    patients: Annotated[int, Meta(ge=20)] = 9000
    unmeasured: Annotated[int, Meta(ge=0)] = UNMEASURED_A_PATIENT * 9000
    unscanned: Annotated[int, Meta(ge=0)] = 0
    seed: Seed = 0
    pretrain_ecg_epochs: Count = 6
    pretrain_cmr_epochs: Count = 6
    align_epochs: Count = 12
    finetune_epochs: Count = 6
    batch_size: Count = SMALL_BATCH
    align_batch_size: Count = ALIGN_BATCH
    cmr_batch_size: Count = CMR_BATCH


def of_preset(name: RecipePreset, recipe: Recipe) -> Recipe:
    """Return a recipe in the sizes of a preset: `reference` and `paper` are networks.

    `gpu` is the networks of `reference` in batches that a GPU is fed with, the same patients and epochs.
    """
    if name != "gpu":
        return msgspec.structs.replace(recipe, preset=name)
    return msgspec.structs.replace(
        recipe, preset="reference", batch_size=GPU_BATCH, align_batch_size=GPU_BATCH, cmr_batch_size=GPU_BATCH
    )


def scale_rate(rate: float, batch: int, chosen_for: int) -> float:
    """Return the learning rate for a batch, given the rate that was chosen for another one.

    It grows by the square root of the batch, as the noise of a gradient falls by it (Malladi et al., "On the SDEs and
    scaling rules for adaptive gradient algorithms", NeurIPS 2022: so for Adam; plain descent takes the ratio).
    """
    return float(rate * (batch / chosen_for) ** 0.5)


@dataclass(frozen=True, slots=True)
class RecipeFolders:
    """The folders inside the recipe's folder."""

    out: Path

    @property
    def cohort(self) -> Path:
        """The simulated cohort."""
        return self.out / "cohort"

    @property
    def bundle(self) -> Path:
        """The bundle that serves."""
        return self.out / "bundle"

    @property
    def baselines(self) -> Path:
        """The baselines that the evaluation compares with."""
        return self.out / "baselines"

    def stage(self, name: str) -> Path:
        """Return the folder of a stage."""
        return self.out / name


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the recipe.

    Attributes:
        name: of the step.
        minutes: estimated, on one core while another step uses the other core. The simulation uses both cores.
        run: runs the step.
        needs: the names of the steps that must be finished before this step.
    """

    name: str
    minutes: float
    run: Callable[[], object]
    needs: tuple[str, ...]


def run_recipe(
    out: Path, recipe: Recipe, hardware: Hardware, say: Callable[[str], object], *, at_once: int = 1
) -> Path:
    """Run all steps that are not finished, and return the bundle's folder.

    Args:
        out: gets the cohort, a folder a stage, the bundle and the baselines.
        recipe: what decides the result.
        hardware: where to learn.
        say: called with the plan, and with a line for each finished step.
        at_once: how many steps run at the same time. The program must guard its entry with
            `if __name__ == "__main__"`.

    Raises:
        InvalidSettings: `out` holds the work of another recipe.
    """
    begin_recipe(out, recipe)
    steps = list(plan_steps(RecipeFolders(out), recipe, hardware))
    say(f"about {sum(step.minutes for step in steps):.0f} minutes of work; steps at the same time: {at_once}")
    for step in steps:
        say(f"  {step.minutes:5.1f}  {step.name}")
    run = partial(_run_step, out, recipe, hardware)
    finished = {SIMULATE}
    say(run(SIMULATE))  # by itself, on all cores: every other step needs it
    waiting = [step for step in steps if step.name not in finished]
    running: dict[Future[str], str] = {}
    with open_pool(at_once, partial(_share_cores, at_once)) as pool:
        while waiting or running:
            ready = [step for step in waiting if finished.issuperset(step.needs)][: at_once - len(running)]
            waiting = [step for step in waiting if step not in ready]
            running |= {pool.submit(run, step.name): step.name for step in ready}
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                say(done.result())
                finished.add(running.pop(done))
    return RecipeFolders(out).bundle


def steps_at_once(hardware: Hardware, preset: PresetName, cores: int | None = None) -> int:
    """Return how many steps to run at the same time.

    On a processor two, where each of them gets a core. On a GPU three, where each gets four cores: a step of the
    reference networks waits for its launches, and leaves nine tenths of the GPU idle. One with the published networks,
    which keep a GPU busy and fill its memory.
    """
    from .stages.devices import choose_device

    cores = cores or len(os.sched_getaffinity(0))
    if choose_device(hardware).type == "cpu":
        return min(STEPS_ON_A_PROCESSOR, cores)
    return max(1, min(STEPS_ON_A_GPU, cores // CORES_A_STEP)) if preset == "reference" else 1


def _run_step(out: Path, recipe: Recipe, hardware: Hardware, name: str) -> str:
    """Run a step, and return how long it took."""
    (step,) = (step for step in plan_steps(RecipeFolders(out), recipe, hardware) if step.name == name)
    started = time.monotonic()
    step.run()
    return f"{name}: {(time.monotonic() - started) / SECONDS_A_MINUTE:.1f} min"


def _share_cores(at_once: int) -> None:
    import torch

    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // at_once))


def begin_recipe(out: Path, recipe: Recipe) -> None:
    """Record the recipe in the folder.

    Raises:
        InvalidSettings: the folder records another recipe.
    """
    file = out / RECIPE
    if not file.exists():
        make_folder(out)
        write_json(file, recipe)
    elif _read_recipe(file) != recipe:
        raise InvalidSettings(f"{out} holds the work of another recipe (see {RECIPE}): choose another folder")


def _read_recipe(file: Path) -> Recipe:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Recipe)
    except msgspec.DecodeError as error:
        raise InvalidSettings(f"{file} is not a recipe of this version ({error}): choose another folder") from error


def plan_steps(folders: RecipeFolders, recipe: Recipe, hardware: Hardware) -> Iterator[Step]:
    """Yield the steps, first those on the longest path to the bundle. Times were measured on two slow cores."""
    main, baselines = folders.stage, folders.baselines
    scans = recipe.patients + recipe.unmeasured
    rows, scanned_rows = 0.8 * (scans + recipe.unscanned), 0.8 * scans
    learn = _Learner(folders, recipe, hardware)
    finetuning = rows * recipe.finetune_epochs / 120
    components = scans / 150
    drawing = scanned_rows * recipe.pretrain_cmr_epochs / 450

    def step(name: str, seconds: float, run: Callable[[], object], *needs: str) -> Step:
        return Step(name, seconds / SECONDS_A_MINUTE, run, needs)

    yield step(SIMULATE, scans / 30 + recipe.unscanned / 300, learn.simulate)
    yield step("pretrain-ecg", rows * recipe.pretrain_ecg_epochs / 108, learn.pretrain_ecg, SIMULATE)
    yield step("pretrain-cmr", components + drawing, learn.pretrain_cmr, SIMULATE)
    yield step("align", scanned_rows * recipe.align_epochs / 135, learn.align, "pretrain-ecg", "pretrain-cmr")
    yield step("finetune", finetuning, lambda: learn.finetune(main("finetune"), aligned=main("align")), "align")
    yield step(
        "bundle", 100, lambda: learn.package(main("finetune"), main("calibrate"), folders.bundle, None), "finetune"
    )
    yield step("cmr_oracle", 110, learn.fit_oracle, "align")
    for name, encoder, note, needed in (
        ("from_scratch", None, "without any pretraining", SIMULATE),
        (
            "without_alignment",
            StageFolder(main("pretrain-ecg")).weights,
            "pretrained on ECGs alone, without alignment",
            "pretrain-ecg",
        ),
    ):
        baseline = _Baseline(learn, baselines / name, main(f"baseline-{name}"), encoder, note)
        yield step(name, finetuning, baseline, needed)
    yield step("classic", rows / 47, learn.fit_classic, SIMULATE)


@dataclass(frozen=True, slots=True)
class _Baseline:
    """A baseline network: it begins with other weights, and has the same labels and the same time."""

    learn: _Learner
    bundle: Path
    work: Path
    encoder: Path | None
    note: str

    def __call__(self) -> None:
        """Fine-tune, calibrate, package."""
        finetuned, calibrated = self.work / "finetune", self.work / "calibrate"
        self.learn.finetune(finetuned, encoder=self.encoder)
        self.learn.package(finetuned, calibrated, self.bundle, self.note)


@dataclass(frozen=True, slots=True)
class _Learner:
    """The stages with the settings of the recipe. Torch is imported when a stage runs."""

    folders: RecipeFolders
    recipe: Recipe
    hardware: Hardware

    def simulate(self) -> Cohort:
        """Return the cohort, simulated if it is not there."""
        from .simulation.simulate_cohort import simulate_cohort

        recipe, folder = self.recipe, self.folders.cohort
        if is_cohort(folder):
            return open_cohort(folder)
        return simulate_cohort(
            folder, recipe.patients, recipe.seed, unmeasured=recipe.unmeasured, unscanned=recipe.unscanned
        )

    def pretrain_ecg(self) -> None:
        """See `stages.pretrain_ecg`."""
        from .stages.pretrain_ecg import pretrain_ecg

        recipe = self.recipe
        rate = scale_rate(1e-3, recipe.batch_size, SMALL_BATCH)
        learning = Learning(epochs=recipe.pretrain_ecg_epochs, batch_size=recipe.batch_size, learning_rate=rate)
        settings = PretrainEcg(preset=recipe.preset, seed=recipe.seed, learning=learning)
        pretrain_ecg(self._cohort, self.folders.stage("pretrain-ecg"), settings, self.hardware)

    def pretrain_cmr(self) -> None:
        """See `stages.pretrain_cmr`."""
        from .stages.pretrain_cmr import pretrain_cmr

        recipe = self.recipe
        rate = scale_rate(1e-3, recipe.cmr_batch_size, CMR_BATCH)
        learning = Learning(epochs=recipe.pretrain_cmr_epochs, batch_size=recipe.cmr_batch_size, learning_rate=rate)
        settings = PretrainCmr(preset=recipe.preset, seed=recipe.seed, learning=learning)
        pretrain_cmr(self._cohort, self.folders.stage("pretrain-cmr"), settings, self.hardware)

    def align(self) -> None:
        """See `stages.align`."""
        from .stages.align import align

        recipe, stage = self.recipe, self.folders.stage
        rate = scale_rate(1e-3, recipe.align_batch_size, ALIGN_BATCH)
        learning = Learning(epochs=recipe.align_epochs, batch_size=recipe.align_batch_size, learning_rate=rate)
        settings = Align(preset=recipe.preset, seed=recipe.seed, learning=learning)
        encoder = StageFolder(stage("pretrain-ecg")).weights
        align(self._cohort, stage("align"), settings, self.hardware, cmr=stage("pretrain-cmr"), encoder=encoder)

    def finetune(self, out: Path, *, encoder: Path | None = None, aligned: Path | None = None) -> None:
        """See `stages.finetune`; from scratch, the encoder moves as fast as the heads."""
        from .stages.finetune import finetune

        recipe = self.recipe
        rate = scale_rate(2e-3, recipe.batch_size, SMALL_BATCH)
        learning = Learning(epochs=recipe.finetune_epochs, batch_size=recipe.batch_size, learning_rate=rate)
        share = 0.5 if encoder or aligned else 1.0
        settings = Finetune(preset=recipe.preset, seed=recipe.seed, learning=learning, encoder_rate=share)
        finetune(self._cohort, out, settings, self.hardware, encoder=encoder, aligned=aligned)

    def package(self, finetuned: Path, calibrated: Path, bundle: Path, note: str | None) -> None:
        """Calibrate and write a bundle, unless it is there. The `note` says how a baseline differs."""
        from .stages.calibrate import Calibrate, calibrate
        from .stages.package_bundle import describe, package

        if (bundle / MANIFEST).is_file():  # written last: with it, the bundle is whole
            return
        cohort = self._cohort
        calibrate(cohort, calibrated, finetuned, Calibrate(seed=self.recipe.seed), self.hardware)
        label = describe(cohort, finetuned)
        if note:
            label = msgspec.structs.replace(
                label, name=f"{label.name}-{bundle.name.replace('_', '-')}", notes=f"A baseline: {note}. {label.notes}"
            )
        package(bundle, finetuned, calibrated, cohort, label)

    def fit_oracle(self) -> None:
        """See `evaluation.cmr_oracle`."""
        from .evaluation.cmr_oracle import fit_oracle

        stage = self.folders.stage
        fit_oracle(self._cohort, self.folders.baselines / "cmr_oracle", stage("pretrain-cmr"), stage("align"))

    def fit_classic(self) -> None:
        """See `evaluation.classic`."""
        from .evaluation.classic import fit_classic

        fit_classic(self._cohort, self.folders.baselines / "classic")

    @property
    def _cohort(self) -> Cohort:
        return open_cohort(self.folders.cohort)
