"""`cardiacnets bundle create`: an untrained bundle, probed with synthetic ECGs."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from inference.export import create_bundle
from inference.intake import take_in
from training.cohort.ecg import generate_ecgs

PROBE_ECGS = 6
PROBE_SEED = 2024


def create_command(out: Path, *, preset: str, seed: int, n_crops: int) -> None:
    """Write the bundle and say where."""
    records = list(generate_ecgs(PROBE_ECGS, PROBE_SEED))
    probe_crops = take_in(records, n_crops=1).inputs[:, 0]
    folder = create_bundle(out, preset=preset, seed=seed, probe_crops=probe_crops, n_crops=n_crops)
    Console().print(f"wrote the untrained {preset} bundle to {folder}")
