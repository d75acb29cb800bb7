"""Learning on a GPU, as far as a machine without one shows it: what a step must not do, and what is chosen.

Torch's device `meta` stands for the GPU: it holds no numbers, so a step that needs one cannot run there, and the
dispatcher tells what passes between it and the processor.
"""

import re

import msgspec
import numpy as np
import pytest
import torch
from tiny_cohort import write_tiny_cohort
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from typer.testing import CliRunner

from inference.models.cine_presets import find_cine_preset
from schemas.errors import InvalidSettings
from stream.cli import app
from training.recipe import Recipe, of_preset, scale_rate, steps_at_once
from training.stages.align import Align, Aligner
from training.stages.batches import (
    EpochSampler,
    HeldBatches,
    MiddleCrops,
    Scans,
    TrainingCrops,
    hold_rows,
    load_development,
    load_training,
    with_crops,
)
from training.stages.cine_autoencoder import ReducedCines, TrainVae, VaeLearner
from training.stages.cine_generator import GeneratorLearner, LatentsByEcg, Scaling, TrainGenerator
from training.stages.crops import Augmentation, open_resampled
from training.stages.devices import choose_device, choose_workers, has_room
from training.stages.finetune import Finetune, Finetuner
from training.stages.outlined_frames import OutlinedFrames
from training.stages.pretrain_cmr import CmrMasker, PretrainCmr
from training.stages.pretrain_ecg import EcgMasker, PretrainEcg
from training.stages.segmenter import Outliner, TrainSegmenter
from training.stages.settings import Hardware

pytestmark = pytest.mark.learns

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
META = torch.device("meta")
ROWS = 8


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_tiny_cohort(tmp_path_factory.mktemp("devices") / "c", folds={"train": ROWS, "development": 4})


class Watch(TorchDispatchMode):
    """Refuses what would make the processor wait for a GPU, or send it something."""

    def __init__(self):
        super().__init__()
        self._made = []  # a list, so that they live: what is freed gives its place to another one

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = tensors_of((args, kwargs))
        result = function(*args, **(kwargs or {}))
        got = tensors_of(result)
        devices = {tensor.device.type for tensor in given + got}
        waits = function is torch.ops.aten._local_scalar_dense.default and "meta" in devices
        if waits or devices == {"cpu", "meta"}:
            raise AssertionError(f"{function} passes between the processor and the GPU")
        if function is torch.ops.aten.index.Tensor and not all(map(self._was_made, tensors_of(args[1]))):
            raise AssertionError("an index list was sent to the GPU")  # the dispatcher does not show how
        self._made += got
        return result

    def _was_made(self, tensor):
        return any(tensor is made for made in self._made)


def tensors_of(values):
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def learners(cohort):
    """Yield by name each learner of ours with a data set that it learns from."""
    rng, rows = np.random.default_rng(0), np.arange(ROWS)
    signals = open_resampled(cohort)

    def crops(**known):
        tensors = {
            name: torch.from_numpy(rng.standard_normal((12, *shape), np.float32)) for name, shape in known.items()
        }
        return TrainingCrops(signals, rows, tensors, augmentation=Augmentation(), seed=0)

    yield "pretrain-ecg", EcgMasker(PretrainEcg()), crops()
    patches = rng.standard_normal((ROWS, 36, 32), np.float32)
    yield "pretrain-cmr", CmrMasker(PretrainCmr(), 32), Scans("patches", patches, rows)
    yield "align", Aligner(Align(), torch.randn(4, 16)), crops(features=(16,), components=(8,))
    tuned = crops(diseases=(5,), phenotypes=(82,), embeddings=(256,), components=(8,))
    tuned._values["subtypes"] = torch.zeros(12, dtype=torch.int64)
    yield "finetune", Finetuner(Finetune(), np.ones(5, np.float32), aligns=True), tuned
    preset = find_cine_preset("reference")
    yield "train-vae", VaeLearner(TrainVae()), ReducedCines(cohort.cines, rows, preset.reduction)
    latents = rng.standard_normal((12, *preset.latent), np.float32)
    scale = Scaling(preset="reference", means=(0.0,) * preset.latent[0], deviations=(1.0,) * preset.latent[0])
    embeddings = rng.standard_normal((12, 256), np.float32)
    data = LatentsByEcg(latents, embeddings, scale, cohort, rows)
    yield "train-generator", GeneratorLearner(TrainGenerator(), preset, torch.from_numpy(embeddings)), data
    frames = OutlinedFrames(np.zeros((ROWS, 48, 48), np.uint8), np.zeros((ROWS, 2, 48, 48), np.uint8))
    yield "segmenter", Outliner(TrainSegmenter()), frames


STAGES = ("pretrain-ecg", "pretrain-cmr", "align", "finetune", "train-vae", "train-generator", "segmenter")


@pytest.mark.parametrize("stage", STAGES)
def test_a_step_neither_waits_for_the_gpu_nor_sends_it_anything(stage, cohort):
    learner, data = next((learner, data) for name, learner, data in learners(cohort) if name == stage)
    learner.to(META)
    optimizer = torch.optim.AdamW(learner.parameter_groups(), lr=1e-3)
    batches = iter(HeldBatches(data, EpochSampler(len(data), seed=0), 4, META, whole=True))
    with_crops(next(batches))  # the begin of an epoch may send what the epoch draws, and the filters are made once
    with Watch():
        batch = with_crops(next(batches))
        loss = learner.losses(batch, training=True)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        learner.losses(batch, training=False)
    assert loss.device == META


@pytest.mark.parametrize(
    "step",
    [lambda there: float(there.sum()), lambda there: there[torch.tensor([0, 2])], lambda there: there[[0, 2]],
     lambda there: there.cpu(), lambda there: there + torch.ones(3).to(META), lambda there: there[there > 0]],
)  # fmt: skip
def test_a_step_that_waits_or_sends_is_seen(step):
    there = torch.ones(3, device=META)
    with pytest.raises((AssertionError, NotImplementedError, RuntimeError)), Watch():
        step(there)


def test_rows_that_a_device_holds_come_in_the_batches_of_a_loader(cohort):
    signals, known = open_resampled(cohort), {"features": torch.randn(12, 3)}
    rows = np.array([1, 7, 2, 5, 3])
    data = TrainingCrops(signals, rows, known, augmentation=Augmentation(), seed=3)
    loaded, held = (load_training(data, 2, seed=3, workers=0, length=9, hold=hold) for hold in (False, True))
    assert isinstance(held, HeldBatches)
    assert len(held) == len(loaded) == 4
    for epoch in (0, 4):
        for loader in (loaded, held):
            loader.sampler.set_epoch(epoch)
        for one, other in zip(loaded, held, strict=True):
            assert one.keys() == other.keys() == {"signals", "features", "offsets", "gains", "noise_mv"}
            assert all(torch.equal(one[name], other[name]) for name in one)

    fixed = MiddleCrops(signals, rows, known)
    pairs = zip(*(load_development(fixed, 2, workers=0, hold=hold) for hold in (False, True)), strict=True)
    assert [len(one["signals"]) for one, other in pairs if torch.equal(one["signals"], other["signals"])] == [2, 2, 1]


@pytest.mark.parametrize("stage", STAGES)
def test_the_size_of_rows_is_what_a_device_holds_of_them(stage, cohort):
    data = next(data for name, _, data in learners(cohort) if name == stage)
    held = hold_rows(data, torch.device("cpu"))
    assert data.size == sum(values.nbytes for values in held.values())
    read = data.read(np.arange(len(data)))
    assert all(torch.equal(held[name], values) for name, values in read.items())


@NO_GPU
def test_a_gpu_that_is_not_there_is_refused_in_a_sentence_before_anything_is_begun(cohort, tmp_path):
    wanted = ["train", "--device", "cuda"]
    of_stage = ["pretrain-ecg", "--cohort", str(cohort.folder), "--out", str(tmp_path / "out")]
    for arguments in (of_stage, ["reference", "--out", str(tmp_path / "out"), "--patients", "20"]):
        run = CliRunner().invoke(app, [*wanted, *arguments])
        assert run.exit_code == 1
        assert isinstance(run.exception, InvalidSettings)
        assert re.match("--device cuda needs an NVIDIA GPU, .*: take --device cpu, or auto", str(run.exception))
        assert not (tmp_path / "out").exists()
    assert choose_device(Hardware()) == choose_device(Hardware(device="cpu")) == torch.device("cpu")


def test_a_processor_gets_no_loader_processes_and_a_gpu_some_unless_a_number_is_asked_for():
    processor, gpu = torch.device("cpu"), torch.device("cuda", 0)
    assert choose_workers(Hardware(), processor) == 0
    assert 1 <= choose_workers(Hardware(), gpu) <= 8
    assert choose_workers(Hardware(workers=3), processor) == choose_workers(Hardware(workers=3), gpu) == 3
    assert not has_room(Hardware(), processor, 1)
    assert not has_room(Hardware(workers=3), gpu, 1)
    assert not has_room(Hardware(devices="2"), gpu, 1)


@NO_GPU
def test_two_steps_run_at_once_on_two_cores():
    assert [steps_at_once(Hardware(), preset, cores=2) for preset in ("reference", "paper")] == [2, 2]
    assert steps_at_once(Hardware(), "reference", cores=1) == 1


def test_the_recipe_for_a_gpu_has_larger_batches_and_rates_and_the_same_cohort_and_epochs():
    recipe = Recipe(patients=50, seed=4)
    of_gpu = of_preset("gpu", recipe)
    sizes = {"batch_size": 256, "align_batch_size": 256, "cmr_batch_size": 256}
    assert of_gpu == msgspec.structs.replace(recipe, **sizes)
    assert of_preset("reference", recipe) == recipe
    assert of_preset("paper", recipe) == msgspec.structs.replace(recipe, preset="paper")
    assert scale_rate(1e-3, 32, 32) == 1e-3
    assert scale_rate(1e-3, 128, 32) == pytest.approx(2e-3)
