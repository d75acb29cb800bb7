"""How quickly a device gets its crops and learns from them: `python tests/learning_speed.py --device cpu`.

`make gpu-check` runs it on a GPU. On a processor, one core is used.
"""

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
import torch
from tiny_cohort import write_tiny_cohort

from training.stages.batches import TrainingCrops, load_training, with_crops
from training.stages.crops import Augmentation
from training.stages.devices import choose_device
from training.stages.pretrain_ecg import EcgMasker, pretrain_ecg
from training.stages.settings import Hardware, Learning, PretrainEcg

FEW, MANY = 2, 8
"""Epochs of two runs of a stage: their difference is without the start."""


class LearningSpeed(msgspec.Struct, kw_only=True):
    """Of a stage's batches, in ECGs or steps a second; memory of a GPU in MiB."""

    loaded_per_s: float
    held_per_s: float
    steps_per_s: float
    whole_steps_per_s: float
    memory_mib: float | None = None


def main():
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--ecgs", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, help="256 on a GPU, 32 on a processor")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    options = parser.parse_args()
    device = choose_device(Hardware(device=options.device))
    size = options.batch_size or (32 if device.type == "cpu" else 256)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        speed = measure_learning(device, Path(folder), ecgs=options.ecgs, batch_size=size, seconds=options.seconds)
    print("\n".join(lines(speed, device, size)))


def lines(speed, device, size):
    """Yield what was found."""
    yield f"learning on {device}, batches of {size}:"
    yield f"  crops of ECGs that come from the processor  {speed.loaded_per_s:10.0f} ECGs/s"
    yield f"  crops of ECGs that the device holds         {speed.held_per_s:10.0f} ECGs/s"
    yield f"  steps of pretrain-ecg, by themselves        {speed.steps_per_s:10.1f} a second"
    yield f"  steps of pretrain-ecg, as a whole stage     {speed.whole_steps_per_s:10.1f} a second"
    if speed.memory_mib is not None:
        yield f"  memory of the device                        {speed.memory_mib:10.0f} MiB"


def measure_learning(device, folder, *, ecgs, batch_size, seconds):
    """Return how quickly batches come from a loader and from the device itself, how quick a step is, and a whole stage.

    Args:
        device: that learns.
        folder: for the stage.
        ecgs: that are learned from.
        batch_size: of them.
        seconds: of each measurement.
    """
    data = made_rows(ecgs, Augmentation())
    forget_peak(device)
    loaded, held = (
        load_training(data, batch_size, seed=0, workers=0, device=device, hold=hold) for hold in (False, True)
    )
    batch = next(iter(held))
    return LearningSpeed(
        loaded_per_s=batch_size * rate(device, endless(loaded, device), seconds),
        held_per_s=batch_size * rate(device, endless(held, device), seconds),
        steps_per_s=rate(device, steps(batch, device), seconds),
        whole_steps_per_s=stage_steps(device, folder, ecgs, batch_size),
        memory_mib=peak_memory(device),
    )


def made_rows(ecgs, augmentation=None):
    """Return random crops of so many made signals."""
    walks = np.random.default_rng(0).standard_normal((ecgs, 12, 2500), np.float32).cumsum(axis=2) * 0.02
    return TrainingCrops(walks.astype(np.float16), np.arange(ecgs), {}, augmentation=augmentation, seed=0)


def endless(loader, device):
    """Yield the crops of epoch after epoch, on the device."""
    for epoch in itertools.count():
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            yield with_crops({name: values.to(device, non_blocking=True) for name, values in batch.items()})


def steps(batch, device):
    """Yield after each step of `pretrain-ecg` from a batch on the device."""
    learner = EcgMasker(PretrainEcg()).to(device)
    optimizer = torch.optim.AdamW(learner.parameter_groups(), lr=1e-3)
    while True:
        loss = learner.losses(with_crops(batch), training=True)["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        yield loss


def rate(device, turns, seconds):
    """Return how many turns a second are done."""
    next(turns)
    wait_for(device)
    begun, count = time.perf_counter(), 0
    while not count or time.perf_counter() - begun < seconds:
        next(turns)
        count += 1
    wait_for(device)
    return count / (time.perf_counter() - begun)


def stage_steps(device, folder, ecgs, batch_size):
    """Return the steps a second of the stage `pretrain-ecg`, logs and checkpoints included, without its start."""
    cohort = write_tiny_cohort(folder / "cohort", folds={"train": ecgs, "development": 4}, cines=False)
    spent = []
    for epochs in (FEW, MANY):
        learning = Learning(epochs=epochs, batch_size=batch_size, learning_rate=1e-3)
        begun = time.perf_counter()
        pretrain_ecg(cohort, folder / str(epochs), PretrainEcg(learning=learning), Hardware(device=device.type))
        spent.append(time.perf_counter() - begun)
    return (MANY - FEW) * (ecgs // batch_size) / max(spent[1] - spent[0], 1e-3)


def wait_for(device):
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_peak(device):
    """Begin to look at the memory of a GPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device):
    """Return the most memory of a GPU that torch has used, in MiB."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None


if __name__ == "__main__":
    main()
