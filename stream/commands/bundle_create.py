"""`cardiacnets bundle create`: an untrained bundle, probed with synthetic ECGs."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from inference.export import create_bundle
from training.simulation.probe import probe_crops


def create_command(out: Path, *, preset: str, seed: int, n_crops: int) -> None:
    """Write the bundle and say where."""
    folder = create_bundle(out, preset=preset, seed=seed, probe_crops=probe_crops(), n_crops=n_crops)
    Console().print(f"wrote the untrained {preset} bundle to {folder}")
