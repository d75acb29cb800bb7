"""`cardiacnets bundle import`: released CardioNets checkpoints become a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream.plain_text import print_plain

from .optional_packages import need_modules


def import_bundle_command(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(
            exists=True, dir_okay=False, help="Released checkpoints of one encoder: one checkpoint for each head."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    disease: Annotated[
        list[str] | None,
        typer.Option(help="Disease of a disease head. Repeat it for each disease head, in the order of the heads."),
    ] = None,
    phenotype_scaler: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help='JSON file {phenotype: {"mean": …, "sd": …}}. Without it, phenotypes are z-scores.',
        ),
    ] = None,
) -> None:
    r"""Write a bundle of released CardioNets weights. Needs torch (pip install 'cardiacnets\[train]')."""
    need_modules("importing weights", "torch", "onnxscript")
    from inference.released_weights import import_bundle, read_scales
    from training.simulation.probe import probe_crops

    scales = None if phenotype_scaler is None else read_scales(phenotype_scaler)
    bundle = import_bundle(out, checkpoints, probe_crops=probe_crops(), diseases=disease or (), scales=scales)
    print_plain(f"wrote the bundle to {bundle.folder}: {bundle.reference.weights}", bundle.manifest.notes)
