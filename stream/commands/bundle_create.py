"""`cardiacnets bundle create`: an untrained bundle, probed with synthetic ECGs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream.plain_text import print_plain

from .optional_packages import need_modules
from .options import MAX_SEED, PresetName


def create_bundle_command(
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    preset: PresetName = "reference",
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the initial weights.")] = 0,
    crops: Annotated[int, typer.Option(min=1, max=16, help="Crops of a record whose answers are averaged.")] = 3,
) -> None:
    r"""Write an untrained bundle of a preset. Needs torch (pip install 'cardiacnets\[train]')."""
    need_modules("creating a bundle", "torch", "onnxscript")
    from inference.export import create_bundle
    from training.simulation.probe import probe_crops

    folder = create_bundle(out, preset=preset, seed=seed, probe_crops=probe_crops(), n_crops=crops)
    print_plain(f"wrote the untrained {preset} bundle to {folder}")
