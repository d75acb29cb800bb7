"""`cardiacnets train swap-detector`: learns to find exchanged electrodes, from simulated ECGs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import MAX_SEED
from .output import say
from .stage_options import need_learning


def swap_detector_command(
    *,
    out: Annotated[Path, typer.Option(help="Folder of the detector. A detector that is there is replaced.")],
    records: Annotated[int, typer.Option(min=100, help="ECGs that are simulated.")] = 60_000,
    steps: Annotated[int, typer.Option(min=1, help="Steps of learning, for limb and for chest electrodes.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the ECGs and of the learning.")] = 0,
    processes: Annotated[int | None, typer.Option(min=1, help="Processes. One a core by default.")] = None,
) -> None:
    """Teach the gate to find exchanged electrodes, from ECGs that are simulated for it."""
    need_learning()
    from training.stages.lead_swaps import LearnSwaps, train_swap_detector

    settings = LearnSwaps(records=records, steps=steps, seed=seed)
    manifest = train_swap_detector(out, settings, processes, say)
    say(f"wrote {manifest.name} {manifest.version} to {out}")
