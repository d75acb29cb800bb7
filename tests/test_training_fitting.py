"""How every stage learns: batches, epochs, checkpoints, and what is kept of them when the power fails."""

import json
import zipfile
from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny_cohort import write_tiny_cohort
from torch.utils._python_dispatch import TorchDispatchMode

from engines.whole_file import whole_file
from schemas.errors import InvalidSettings
from training.networks.weights_files import load_weights, save_weights
from training.stages.batches import (
    EpochSampler,
    MiddleCrops,
    TrainingCrops,
    load_development,
    load_training,
    with_crops,
)
from training.stages.crops import Augmentation, open_resampled
from training.stages.fit import fit, warm_cosine
from training.stages.pretrain_ecg import EcgMasker, PretrainEcg, pretrain_ecg
from training.stages.run_stage import run_stage
from training.stages.seeds import seed_stage
from training.stages.settings import Hardware, Learning
from training.stages.stage_folder import StageFolder

pytestmark = pytest.mark.learns

CPU = Hardware(device="cpu")
NAN = float("nan")


class PowerCut(Exception):  # noqa: N818 - it is no error of the program
    """What no stage foresees."""


class CutMasker(EcgMasker):
    """Its power fails in the middle of an epoch."""

    def training_step(self, batch, place):
        if self.current_epoch == 2 and place == 1:
            raise PowerCut
        return super().training_step(batch, place)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_tiny_cohort(tmp_path_factory.mktemp("small") / "c", folds={"train": 12, "development": 6}, cines=False)


def masked_fit(cohort, folder, kind, batch_size=4):
    options = PretrainEcg(learning=Learning(epochs=4, batch_size=batch_size, learning_rate=1e-3))
    signals = open_resampled(cohort)
    drawn = TrainingCrops(signals, cohort.select("train"), {}, augmentation=None, seed=0)
    fixed = MiddleCrops(signals, cohort.select("development"), {})
    seed_stage(0)
    learner = kind(options)
    loaders = load_training(drawn, batch_size, seed=0, workers=0), load_development(fixed, 4, workers=0)
    return fit(learner, *loaders, StageFolder(folder), CPU)


def test_an_interrupted_stage_goes_on_from_its_epoch_to_the_same_weights(small, tmp_path, capsys):
    whole = masked_fit(small, tmp_path / "whole", EcgMasker)
    with pytest.raises(PowerCut):
        masked_fit(small, tmp_path / "cut", CutMasker)
    capsys.readouterr()
    resumed = masked_fit(small, tmp_path / "cut", EcgMasker)

    said = capsys.readouterr().err
    assert "epoch 3/4" in said
    assert "epoch 2/4" not in said
    assert resumed.best_loss == whole.best_loss
    assert all(torch.equal(tensor, resumed.weights[name]) for name, tensor in whole.weights.items())


class SparedMasker(EcgMasker):
    """Its optimiser asks for no number; AdamW asks for its own, which lie on the processor."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


class CountNumbers(TorchDispatchMode):
    """Counts how often the processor asks for a number."""

    asked = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.asked += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def test_nothing_that_surrounds_a_step_asks_for_a_number(small, tmp_path):
    counts = []
    for batch_size in (6, 2):  # 2 and 6 steps an epoch
        with CountNumbers() as counting:
            masked_fit(small, tmp_path / str(batch_size), SparedMasker, batch_size)
        counts.append(counting.asked)
    assert counts[0] == counts[1] > 0


def claim_gpu(path):
    """Rewrite a checkpoint as one whose tensors were saved from a GPU."""
    with zipfile.ZipFile(path) as file:
        members = [(name, file.read(name)) for name in file.namelist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, content in members:
            place = b"X\x03\x00\x00\x00cpu"
            file.writestr(name, content.replace(place, b"X\x06\x00\x00\x00cuda:0") if "data.pkl" in name else content)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_stage_that_a_gpu_began_goes_on_without_one(small, tmp_path):
    whole = masked_fit(small, tmp_path / "whole", EcgMasker)
    with pytest.raises(PowerCut):
        masked_fit(small, tmp_path / "cut", CutMasker)
    for name in ("last", "best"):
        path = tmp_path / "cut" / "checkpoints" / f"{name}.ckpt"
        claim_gpu(path)
        with pytest.raises(RuntimeError, match="CUDA device"):
            torch.load(path, weights_only=True)
    resumed = masked_fit(small, tmp_path / "cut", EcgMasker)
    assert all(torch.equal(tensor, resumed.weights[name]) for name, tensor in whole.weights.items())


@pytest.mark.parametrize("drawn_before", [0, 5])
def test_what_a_stage_draws_before_it_learns_does_not_change_what_it_learns(small, tmp_path, drawn_before):
    settings = PretrainEcg(learning=Learning(epochs=1, batch_size=4, learning_rate=1e-3))

    def learn(stage):
        torch.rand(drawn_before)
        signals = open_resampled(small)
        drawn = TrainingCrops(signals, small.select("train"), {}, augmentation=None, seed=0)
        fixed = MiddleCrops(signals, small.select("development"), {})
        fitted = stage.fit(lambda: EcgMasker(settings), drawn, fixed)
        assert all(torch.equal(fitted.weights[name], tensor) for name, tensor in fitted.learner.state_dict().items())
        save_weights(stage.folder.weights, fitted.weights)
        return fitted.result | {"drawn_before": drawn_before}

    folder = run_stage(tmp_path / "mine", "mine", settings, small, CPU, learn=learn)
    pretrain_ecg(small, tmp_path / "its", settings, CPU)

    mine, its = load_weights(folder.weights), load_weights(tmp_path / "its" / "weights.safetensors")
    assert all(torch.equal(mine[f"network.{name}"], tensor) for name, tensor in its.items())
    result, its_result = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("mine", "its"))
    assert result == its_result | {"drawn_before": drawn_before}


class WorseMasker(EcgMasker):
    """Learns nothing more that is of use."""

    def losses(self, batch, *, training):
        return {name: value * 10 for name, value in super().losses(batch, training=training).items()}


def test_a_folder_that_was_moved_keeps_its_best_epoch(small, tmp_path):
    with pytest.raises(PowerCut):
        masked_fit(small, tmp_path / "cut", CutMasker)
    moved = (tmp_path / "cut").rename(tmp_path / "moved")
    best = torch.load(moved / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    resumed = masked_fit(small, moved, WorseMasker)
    assert all(torch.equal(tensor, best[name]) for name, tensor in resumed.weights.items())


class BrokenMasker(EcgMasker):
    """Has left the numbers."""

    def losses(self, batch, *, training):
        return {name: value * NAN for name, value in super().losses(batch, training=training).items()}


def test_what_has_diverged_is_not_taken_for_finished(small, tmp_path):
    for _ in range(2):  # nor when it is started again
        with pytest.raises(InvalidSettings, match="no longer a number: remove"):
            masked_fit(small, tmp_path, BrokenMasker)


def test_checkpoints_hold_nothing_that_must_be_unpickled(small, tmp_path):
    masked_fit(small, tmp_path, EcgMasker)
    for name in ("last", "best"):
        assert torch.load(tmp_path / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def test_an_epoch_draws_each_row_once_in_an_order_of_its_own():
    sampler = EpochSampler(10, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)

    assert sorted(draw.place for draw in first) == list(range(10))
    assert [draw.place for draw in first] != [draw.place for draw in second]
    assert {draw.epoch for draw in second} == {1}


def test_a_long_epoch_draws_every_row_about_equally_often():
    places = [draw.place for draw in EpochSampler(10, seed=1, length=25)]
    assert len(places) == 25
    assert set(np.bincount(places)) == {2, 3}


def test_workers_change_nothing(small):
    signals = open_resampled(small)
    data = TrainingCrops(signals, small.select("train"), {}, augmentation=Augmentation(), seed=4)
    alone, helped = (list(load_training(data, 5, seed=4, workers=workers)) for workers in (0, 1))

    assert len(alone) == len(helped) == 2
    for one, other in zip(alone, helped, strict=True):
        crops = []
        for batch in (one, other):
            torch.manual_seed(1)  # of the noise, as a step sets it
            crops.append(with_crops(batch)["crops"])
        assert torch.equal(*crops)


def test_the_rate_rises_in_a_line_and_falls_in_half_a_cosine():
    rates = [warm_cosine(step, 4, 20) for step in range(20)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4] == 1
    assert all(after < before for before, after in pairwise(rates[4:]))
    assert rates[-1] < 0.02


def test_a_file_is_whole_or_not_there(tmp_path):
    def cut_short():
        with whole_file(tmp_path / "f") as partial:
            partial.write_bytes(b"half")
            raise PowerCut

    with pytest.raises(PowerCut):
        cut_short()
    assert not (tmp_path / "f").exists()
    with whole_file(tmp_path / "f") as partial:
        partial.write_bytes(b"whole")
    assert (tmp_path / "f").read_bytes() == b"whole"
