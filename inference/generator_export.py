"""From torch to a generator's folder: graphs and their manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from schemas.messages import EMBEDDING_SIZE

from .export import MAX_ROWS, export_graph, needing_torch
from .generator_manifest import (
    DECODER,
    DENOISER,
    ENCODER,
    EXPECTED,
    GENERATORS,
    TRANSFORMER,
    Frames,
    GeneratorFolder,
    GeneratorManifest,
    Latents,
    Sampling,
    write_folder,
)
from .generator_probe import write_probe
from .geometry import COHORT_PIXEL_MM
from .manifest import MODEL_RELEASE

if TYPE_CHECKING:
    from .models.cine_mar import CineMar
    from .models.cine_presets import CinePreset
    from .models.cine_vae import CineVae
    from .models.expected_cine import ExpectedCine

UNTRAINED_NOTES = "The weights are random and every cine is noise: a stand-in, to build and to test with."


def package_generator(
    folder: Path, vae: CineVae, mar: CineMar, expected: ExpectedCine, manifest: GeneratorManifest
) -> GeneratorFolder:
    """Write the folder of a generator: its graphs, their probe and the completed manifest.

    Raises:
        CorruptBundle: the folder holds other things than a generator.
        EngineUnavailable: torch or the exporter is not installed.
    """
    with GENERATORS.replacing(folder) as stage:
        export_generator(stage, vae, mar, expected, manifest)
        write_probe(stage, manifest)
    return write_folder(folder, manifest)


def export_generator(
    folder: Path, vae: CineVae, mar: CineMar, expected: ExpectedCine, manifest: GeneratorManifest
) -> None:
    """Write the graphs. `CineGenerator`, which runs them, documents their inputs and outputs."""
    with needing_torch():
        import torch
        from torch.export import Dim

        from .models.cine_vae import LatentMeans

    rows, known = Dim("rows", min=1, max=MAX_ROWS), Dim("known", min=0)
    latents, geometry = manifest.latents, manifest.geometry
    n_tokens = latents.grid[0] * latents.grid[1] * latents.grid[2]
    width = mar.transformer.hidden.shape[0]
    by_row = {0: rows}
    export_graph(
        folder / TRANSFORMER,
        mar.transformer,
        inputs={
            "known": torch.zeros(3, n_tokens // 2, latents.token_size),
            "order": torch.arange(n_tokens).repeat(3, 1),
            "embeddings": torch.zeros(3, EMBEDDING_SIZE),
            "guided": torch.ones(3),
        },
        outputs=["told"],
        free={"known": {0: rows, 1: known}, "order": by_row, "embeddings": by_row, "guided": by_row},
    )
    export_graph(
        folder / DENOISER,
        mar.denoiser,
        inputs={"noisy": torch.zeros(3, latents.token_size), "time": torch.ones(3), "known": torch.zeros(3, width)},
        outputs=["velocity"],
        free={"noisy": by_row, "time": by_row, "known": by_row},
    )
    latent, cine = torch.zeros(3, *latents.shape), torch.zeros(3, 1, *geometry.shape)
    export_graph(folder / DECODER, vae.decoder, inputs={"latents": latent}, outputs=["cines"], free={"latents": by_row})
    export_graph(
        folder / ENCODER, LatentMeans(vae), inputs={"cines": cine}, outputs=["latents"], free={"cines": by_row}
    )
    embeddings = {"embeddings": torch.zeros(3, EMBEDDING_SIZE)}
    export_graph(folder / EXPECTED, expected, inputs=embeddings, outputs=["cines"], free={"embeddings": by_row})


def describe_untrained(
    preset: CinePreset, means: tuple[float, ...], deviations: tuple[float, ...]
) -> GeneratorManifest:
    """Return the manifest of a generator that has learned nothing. It says so, and its files are not listed yet."""
    frames, rows, columns = preset.cine
    return GeneratorManifest(
        name=f"cardiacnets-cine-{preset.name}",
        version=MODEL_RELEASE,
        trained=False,
        weights="untrained",
        trained_on="nothing",
        licence="Apache-2.0",
        notes=UNTRAINED_NOTES,
        preset=preset.name,
        cine=Frames(
            frames=frames,
            rows=rows,
            columns=columns,
            pixel_mm=COHORT_PIXEL_MM * preset.reduction[1],
            reduction=preset.reduction,
        ),
        latents=Latents(shape=preset.latent, patch=preset.mar.patch, means=means, deviations=deviations),
        sampling=Sampling(steps=preset.steps, diffusion_steps=preset.diffusion_steps, guidance=preset.guidance),
        files={},
    )
