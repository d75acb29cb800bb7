"""`cardiacnets bundle import`: released CardioNets checkpoints become a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from inference.released_weights import import_bundle, read_scales
from training.simulation.probe import probe_crops


def import_command(
    checkpoints: Sequence[Path], out: Path, *, diseases: Sequence[str], phenotype_scaler: Path | None
) -> None:
    """Write the bundle, and say where and what it can answer."""
    scales = None if phenotype_scaler is None else read_scales(phenotype_scaler)
    bundle = import_bundle(out, checkpoints, probe_crops=probe_crops(), diseases=diseases, scales=scales)
    Console().print(f"wrote the bundle to {bundle.folder}: {bundle.reference.weights}", bundle.manifest.notes, sep="\n")
