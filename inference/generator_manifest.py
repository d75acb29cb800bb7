"""A cine generator's folder: its graphs and a manifest, verified before anything is read from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Annotated, TypeAlias

from msgspec import Meta

from schemas.errors import ForeignEmbedding
from schemas.messages import Identifier, ModelReference

from .cine import CineGeometry, View
from .manifest import EMBEDDING_SIZE, Described, FileName, Finite, Part, Positive, Sha256
from .verified_folder import FolderKind

TRANSFORMER, DENOISER, DECODER, ENCODER = "transformer.onnx", "denoiser.onnx", "decoder.onnx", "encoder.onnx"
EXPECTED = "expected.onnx"
GRAPHS = (TRANSFORMER, DENOISER, DECODER, ENCODER, EXPECTED)

Extent: TypeAlias = Annotated[int, Meta(ge=1, le=4096)]
Box: TypeAlias = tuple[Extent, Extent, Extent]


class Frames(Part, frozen=True, kw_only=True):
    """The cine that is drawn, and how much of a cohort's cine a frame and a pixel of it are the mean of."""

    frames: Extent
    rows: Extent
    columns: Extent
    pixel_mm: Positive
    view: View = "four_chamber"
    reduction: Box


class Latents(Part, frozen=True, kw_only=True):
    """The latent: latent = mean + deviation × what is drawn, a channel; the training fold's."""

    shape: tuple[Extent, Extent, Extent, Extent]
    """Channels, times, rows, columns."""
    patch: Box
    """That makes a token."""
    means: tuple[Finite, ...]
    deviations: tuple[Positive, ...]

    @property
    def grid(self) -> Box:
        """How many patches there are along each axis."""
        time, down, across = (extent // step for extent, step in zip(self.shape[1:], self.patch, strict=True))
        return time, down, across

    @property
    def token_size(self) -> int:
        """Numbers a token."""
        return self.shape[0] * prod(self.patch)


class Sampling(Part, frozen=True, kw_only=True):
    """How a cine is drawn.

    Attributes:
        steps: of the autoregression.
        diffusion_steps: of the denoising of a token.
        guidance: how far beyond the unconditional model; 1 is the conditional model as it is.
        temperature: of the noise; 1 is the distribution that was learned, less is nearer to its middle, and at 0
            nothing is drawn at all: the answer is the expected cine.
    """

    steps: Annotated[int, Meta(ge=1, le=1000)]
    diffusion_steps: Annotated[int, Meta(ge=1, le=1000)]
    guidance: Annotated[float, Meta(ge=0, le=100)]
    temperature: Annotated[float, Meta(ge=0, le=2)] = 1.0


class EcgModel(Part, frozen=True, kw_only=True):
    """The model bundle whose embeddings a generator reads: in those of another the same numbers mean other hearts."""

    name: Identifier
    version: Identifier


class GeneratorManifest(Described, frozen=True, kw_only=True):
    """The whole of a generator's `manifest.json`."""

    embedding_size: int = EMBEDDING_SIZE
    ecg_model: EcgModel | None = None
    """None if it was never said; then any model's embedding is read."""
    cine: Frames
    latents: Latents
    sampling: Sampling
    files: dict[FileName, Sha256]

    @property
    def geometry(self) -> CineGeometry:
        """What the axes of the frames mean."""
        cine = self.cine
        return CineGeometry(cine.frames, cine.rows, cine.columns, cine.pixel_mm, cine.view)


@dataclass(frozen=True, slots=True)
class GeneratorFolder:
    """A generator whose files were verified."""

    path: Path
    manifest: GeneratorManifest


def check_embedding(ecg_model: EcgModel | None, model: ModelReference) -> None:
    """Refuse to read a model's embeddings where those of another were learned.

    Raises:
        ForeignEmbedding: says which.
    """
    if ecg_model and (ecg_model.name, ecg_model.version) != (model.name, model.version):
        raise ForeignEmbedding(
            f"the cine generator reads the embeddings of {ecg_model.name} {ecg_model.version}, and not those of "
            f"{model.name} {model.version}: name the generator of this model (CARDIACNETS_GENERATOR, or --generator of "
            "cmr-worker and screen), or the bundle of this generator"
        )


def default_generator() -> Path:
    """Return the folder of the generator that is shipped with the package."""
    return Path(str(files("inference") / "generators" / "reference"))


def contradictions(manifest: GeneratorManifest) -> Iterator[str]:
    """Yield a sentence for each thing in the manifest that this program cannot do or that contradicts another."""
    latents = manifest.latents
    if manifest.embedding_size != EMBEDDING_SIZE:
        yield f"its condition must have {EMBEDDING_SIZE} numbers, as the reports' embeddings have"
    if not len(latents.means) == len(latents.deviations) == latents.shape[0]:
        yield f"its latent has {latents.shape[0]} channels, and as many means and deviations it must have"
    if any(extent % step for extent, step in zip(latents.shape[1:], latents.patch, strict=True)):
        yield "its latent cannot be cut into whole patches"
    if missing := [name for name in GRAPHS if name not in manifest.files]:
        yield f"it does not list {', '.join(missing)}"


GENERATORS = FolderKind(
    manifest=GeneratorManifest,
    files=GRAPHS,
    contradictions=contradictions,
    name="generator",
    no_folder="is no cine generator",
    no_manifest="is no manifest of a generator of this version",
    carrier="which every cine carries",
)


def load_folder(path: Path) -> GeneratorFolder:
    """Return the generator in a folder, every file of it verified against the manifest.

    Raises:
        CorruptBundle: a file is missing, altered or not listed, or the manifest contradicts itself.
    """
    return GeneratorFolder(path, GENERATORS.read(path))


def write_folder(path: Path, manifest: GeneratorManifest) -> GeneratorFolder:
    """Complete a folder in which the graphs lie; see `FolderKind.write`."""
    return GeneratorFolder(path, GENERATORS.write(path, manifest))
