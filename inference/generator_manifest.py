"""A cine generator's folder: graphs, a probe and a manifest. All files are verified before a graph is opened.

Generators that were packaged before there were probes have none. They are read as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Annotated, ClassVar, TypeAlias

from msgspec import Meta

from schemas.errors import ForeignEmbedding
from schemas.messages import EMBEDDING_SIZE, Identifier, ModelReference

from .cine import CineGeometry, View
from .manifest import PROBE, FileName, Finite, ManifestPart, ModelManifest, Positive, Sha256
from .verified_folder import FolderKind

TRANSFORMER, DENOISER, DECODER, ENCODER = "transformer.onnx", "denoiser.onnx", "decoder.onnx", "encoder.onnx"
EXPECTED = "expected.onnx"
GRAPHS = (TRANSFORMER, DENOISER, DECODER, ENCODER, EXPECTED)

Extent: TypeAlias = Annotated[int, Meta(ge=1, le=4096)]
Box: TypeAlias = tuple[Extent, Extent, Extent]


class Frames(ManifestPart, frozen=True, kw_only=True):
    """The geometry of a drawn cine.

    Attributes:
        reduction: a drawn pixel is the mean of this many frames, rows and columns of a cohort's cine.
    """

    frames: Extent
    rows: Extent
    columns: Extent
    pixel_mm: Positive
    view: View = "four_chamber"
    reduction: Box


class Latents(ManifestPart, frozen=True, kw_only=True):
    """The latent: latent = mean + deviation × drawn number, channel by channel. Both are of the training fold."""

    shape: tuple[Extent, Extent, Extent, Extent]
    """Channels, times, rows, columns."""
    patch: Box
    """A token is a patch of this many times, rows and columns."""
    means: tuple[Finite, ...]
    deviations: tuple[Positive, ...]

    @property
    def grid(self) -> Box:
        """The number of patches along each axis."""
        time, down, across = (extent // step for extent, step in zip(self.shape[1:], self.patch, strict=True))
        return time, down, across

    @property
    def token_size(self) -> int:
        """The numbers in a token."""
        return self.shape[0] * prod(self.patch)


class Sampling(ManifestPart, frozen=True, kw_only=True):
    """How a cine is drawn.

    Attributes:
        steps: of the autoregression.
        diffusion_steps: of the denoising of a token.
        guidance: how strongly the answer departs from the unconditional model. At 1 it is the conditional model's.
        temperature: of the noise. At 1 the learned distribution is drawn from, below 1 a narrower one. At 0 nothing is
            drawn, and the answer is the expected cine.
    """

    steps: Annotated[int, Meta(ge=1, le=1000)]
    diffusion_steps: Annotated[int, Meta(ge=1, le=1000)]
    guidance: Annotated[float, Meta(ge=0, le=100)]
    temperature: Annotated[float, Meta(ge=0, le=2)] = 1.0


class EcgModel(ManifestPart, frozen=True, kw_only=True):
    """The model whose embeddings a generator reads. From another model the same numbers mean other hearts."""

    name: Identifier
    version: Identifier


class GeneratorManifest(ModelManifest, frozen=True, kw_only=True):
    """The whole of a generator's `manifest.json`."""

    evidence: ClassVar[tuple[str, ...]] = (PROBE,)

    embedding_size: int = EMBEDDING_SIZE
    ecg_model: EcgModel | None = None
    """Without it, the generator reads the embeddings of any model."""
    cine: Frames
    latents: Latents
    sampling: Sampling
    files: dict[FileName, Sha256]

    @property
    def geometry(self) -> CineGeometry:
        """The meaning of the axes of a cine."""
        cine = self.cine
        return CineGeometry(cine.frames, cine.rows, cine.columns, cine.pixel_mm, cine.view)


@dataclass(frozen=True, slots=True)
class GeneratorFolder:
    """A generator whose files were verified."""

    path: Path
    manifest: GeneratorManifest

    def read(self, name: str) -> bytes:
        """Return the content of a file that the manifest lists, verified as it is read.

        Raises:
            CorruptBundle: the file was changed since the folder was loaded.
        """
        return GENERATORS.read_file(self.path / name, self.manifest.files[name])


def check_embedding(ecg_model: EcgModel | None, model: ModelReference) -> None:
    """Refuse the embeddings of another model than the one that the generator learned from.

    Raises:
        ForeignEmbedding: names both models.
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
    """Yield a sentence for each claim that this program cannot meet or that contradicts another claim."""
    latents = manifest.latents
    if manifest.embedding_size != EMBEDDING_SIZE:
        yield f"its condition must have {EMBEDDING_SIZE} numbers, as the reports' embeddings have"
    if not len(latents.means) == len(latents.deviations) == latents.shape[0]:
        yield f"its latent has {latents.shape[0]} channels, so it must have as many means and as many deviations"
    if any(extent % step for extent, step in zip(latents.shape[1:], latents.patch, strict=True)):
        yield "its latent cannot be cut into whole patches"
    if missing := [name for name in GRAPHS if name not in manifest.files]:
        yield f"it does not list {', '.join(missing)}"


GENERATORS = FolderKind(
    manifest=GeneratorManifest,
    files=(*GRAPHS, PROBE),
    contradictions=contradictions,
    name="cine generator",
)


def load_folder(path: Path) -> GeneratorFolder:
    """Return the generator in a folder. Every file is verified against the manifest.

    Raises:
        CorruptBundle: a file is missing, altered or not listed, or the manifest contradicts itself.
    """
    return GeneratorFolder(path, GENERATORS.read(path))


def write_folder(path: Path, manifest: GeneratorManifest) -> GeneratorFolder:
    """Complete a folder that holds the graphs and the probe; see `FolderKind.write`."""
    return GeneratorFolder(path, GENERATORS.write(path, manifest))
