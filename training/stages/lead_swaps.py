"""`cardiacnets train swap-detector`: learns to find exchanged electrodes, from simulated ECGs alone.

By the exactness of an exchange, a sound beat teaches everything: its score must be higher than that of the same beat
with any exchange applied. The thresholds are chosen on simulated ECGs that nothing was learned from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch  # noqa: TID253 - batches are tensors
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor  # noqa: TID253
from torch.nn.functional import cross_entropy  # noqa: TID253

from inference.electrode_exchanges import CHEST_EXCHANGES, LIMB_EXCHANGES
from inference.lead_swaps import GAINS, Scorer, shapes_of
from inference.manifest import MODEL_RELEASE, WEIGHTS
from inference.swap_detector import CHEST, LIMB, SWAP_DETECTORS, SwapManifest, make_scorer
from inference.typical_beat import CHEST_LEADS, LIMB_LEADS, Signals
from training.networks.swap_scorer import SwapScorer
from training.simulation.beat_sets import simulate_beats

from .disturbed_beats import Disturber, qrs_size

RECORDS, STEPS = 60_000, 10_000
HIDDEN, MORE = {LIMB: 64, CHEST: 32}, {LIMB: 24, CHEST: 16}
"""Widths of the layers."""
FALSE_ALARMS = {LIMB: 0.002, CHEST: 0.001}
"""Share of sound simulated ECGs that are doubted. Real hearts and electrodes vary more: there it is about ten times as
many (docs/benchmarks.md)."""
HELD_OUT = 0.15
BATCH = 256
CHEST_SHARE, OTHER_SHARE = 0.7, 0.15
"""So many beats have chest leads exchanged when the chest is learned, and leads of the other kind in both."""
SMOOTHING = 0.01
RATE, WEIGHT_DECAY = 3e-3, 1e-4


@dataclass(frozen=True, slots=True)
class LearnSwaps:
    """Settings of the detector's learning.

    Attributes:
        records: simulated ECGs, a part of which only sets the thresholds.
        steps: batches, for each kind of electrodes.
        seed: of the patients, the devices and the learning.
    """

    records: int = RECORDS
    steps: int = STEPS
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """One kind of electrodes to be judged."""

    name: str
    network: SwapScorer
    share: float
    """Of beats whose exchange is to be found."""


def train_swap_detector(
    out: Path, settings: LearnSwaps, processes: int | None = None, say: Callable[[str], object] = lambda _: None
) -> SwapManifest:
    """Learn, write the detector into a folder, and return its manifest. A detector that is there is replaced."""
    beats = simulate_beats(settings.seed, settings.records, processes)
    beats = beats[beats.any(axis=(1, 2))]
    say(f"simulated {len(beats)} beats")
    learned, held_out = np.split(beats, [round(len(beats) * (1 - HELD_OUT))])
    torch.manual_seed(settings.seed)
    tasks = (
        Task(LIMB, SwapScorer(LIMB_EXCHANGES, LIMB_LEADS, HIDDEN[LIMB], MORE[LIMB]), 0.0),
        Task(CHEST, SwapScorer(CHEST_EXCHANGES, CHEST_LEADS, HIDDEN[CHEST], MORE[CHEST]), CHEST_SHARE),
    )
    tensors: dict[str, NDArray[np.float16]] = {}
    thresholds: dict[str, float] = {}
    for task in tasks:
        loss = learn(task, torch.from_numpy(learned), settings)
        parts = {f"{task.name}.{name}": tensor.numpy() for name, tensor in task.network.tensors().items()}
        tensors |= {name: values.astype(np.float16) for name, values in parts.items()}
        thresholds[task.name] = choose_threshold(
            make_scorer(task.name, tensors, 0.0, out), held_out, FALSE_ALARMS[task.name]
        )
        say(f"learned {task.name}: loss {loss:.3f}, threshold {thresholds[task.name]:.2f}")
    with SWAP_DETECTORS.replacing(out) as folder:
        (folder / WEIGHTS).write_bytes(save(tensors))
    return SWAP_DETECTORS.write(out, _manifest(settings, thresholds))


def learn(task: Task, beats: Tensor, settings: LearnSwaps) -> float:
    """Teach the task's network, and return the mean loss of the last tenth of the steps."""
    disturber, network = Disturber(settings.seed), task.network
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=settings.steps)
    losses = []
    network.train()
    for _ in range(settings.steps):
        batch, wanted = _draw(disturber, beats, task)
        loss = cross_entropy(network(_shapes(batch)), wanted, label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    network.eval()
    return float(np.mean(losses[-max(1, settings.steps // 10) :]))


def _draw(disturber: Disturber, beats: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Return a batch, and for each beat the number of the exchange that is to be found."""
    batch = disturber.disturb(beats[disturber.rows(BATCH, len(beats))])
    limbs, chest = (torch.from_numpy(np.stack(list(each.values()))) for each in (LIMB_EXCHANGES, CHEST_EXCHANGES))
    if task.name == LIMB:
        mirrored, _ = disturber.exchange(disturber.mirror(batch), chest, CHEST_LEADS, OTHER_SHARE)
        return disturber.exchange(mirrored, limbs, LIMB_LEADS, task.share)
    turned, _ = disturber.exchange(batch, limbs, LIMB_LEADS, OTHER_SHARE)
    return disturber.exchange(turned, chest, CHEST_LEADS, task.share)


def _shapes(beats: Tensor) -> Tensor:
    """Return what a scorer sees of beats; `inference.lead_swaps.shapes_of` for tensors."""
    limbs, chest = beats[:, LIMB_LEADS], beats[:, CHEST_LEADS]
    relative = torch.cat([limbs / qrs_size(limbs), chest / qrs_size(chest)], dim=1)
    return torch.asinh(relative * torch.from_numpy(GAINS))


def choose_threshold(scorer: Scorer, sound: Signals, share: float) -> float:
    """Return the threshold at which this share of sound beats is doubted."""
    ahead = [found.ahead for found in scorer.suspicions(shapes_of(sound))]
    return float(np.quantile(ahead, 1 - share))


def _manifest(settings: LearnSwaps, thresholds: dict[str, float]) -> SwapManifest:
    return SwapManifest(
        name="cardiacnets-swap-detector",
        version=MODEL_RELEASE,
        trained=True,
        weights="learned from simulated ECGs alone",
        trained_on=f"{settings.records} simulated ECGs, seed {settings.seed}; no real ECG",
        licence="Apache-2.0",
        notes=(
            f"Made by: cardiacnets train swap-detector --records {settings.records} --steps {settings.steps} --seed "
            f"{settings.seed}. The thresholds let {FALSE_ALARMS[LIMB]:.1%} of sound simulated ECGs be doubted for "
            f"their limb electrodes, and {FALSE_ALARMS[CHEST]:.1%} for those of the chest."
        ),
        preset="reference",
        limb_threshold=round(thresholds[LIMB], 3),
        chest_threshold=round(thresholds[CHEST], 3),
        files={},
    )
