"""A cine generator's folder: three graphs and a manifest, verified before anything is read from them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from schemas.errors import CorruptBundle
from schemas.messages import ModelReference

from .bundle import MANIFEST, MAX_MANIFEST_BYTES, refuse_strangers
from .cine import CineGeometry, View
from .manifest import EMBEDDING_SIZE, FileName, Finite, Part, Positive, Sha256, Text

TRANSFORMER, DENOISER, DECODER, ENCODER = "transformer.onnx", "denoiser.onnx", "decoder.onnx", "encoder.onnx"
GRAPHS = (TRANSFORMER, DENOISER, DECODER, ENCODER)

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
        temperature: of the noise; 1 is the distribution that was learned, less is nearer to its middle.
    """

    steps: Annotated[int, Meta(ge=1, le=1000)]
    diffusion_steps: Annotated[int, Meta(ge=1, le=1000)]
    guidance: Annotated[float, Meta(ge=0, le=100)]
    temperature: Annotated[float, Meta(ge=0, le=2)] = 1.0


class GeneratorManifest(Part, frozen=True, kw_only=True):
    """The whole of `manifest.json`."""

    format_version: Literal[1] = 1
    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]*\Z", max_length=100)]
    version: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.+_-]+\Z", max_length=100)]
    trained: bool
    weights: Text
    """What the weights are, in words that every cine repeats."""
    trained_on: Text
    licence: Text
    notes: Text
    preset: Text
    embedding_size: int = EMBEDDING_SIZE
    cine: Frames
    latents: Latents
    sampling: Sampling
    files: dict[FileName, Sha256]

    @property
    def reference(self) -> ModelReference:
        """The model as messages name it."""
        return ModelReference(name=self.name, version=self.version, trained=self.trained, weights=self.weights)

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


def default_generator() -> Path:
    """Return the folder of the generator that is shipped with the package."""
    return Path(str(files("inference") / "generators" / "reference"))


def load_folder(path: Path) -> GeneratorFolder:
    """Return the generator in a folder, every file of it verified against the manifest.

    Raises:
        CorruptBundle: a file is missing, altered or not listed, or the manifest contradicts itself.
    """
    manifest = _read_manifest(path)
    for problem in contradictions(manifest):
        raise CorruptBundle(f"the manifest in {path} cannot be used: {problem}")
    refuse_strangers(path, (MANIFEST, *manifest.files))
    for name, expected in manifest.files.items():
        if _sha256(path / name) != expected:
            raise CorruptBundle(f"{path / name} is not the file that the manifest describes: fetch the generator again")
    release, _, written = manifest.version.partition("+")
    if written != (actual := fingerprint(manifest)):
        raise CorruptBundle(
            f"the manifest in {path} was changed but not its version, which every cine carries: "
            f"undo the change or, if it is meant, set the version to {release}+{actual}"
        )
    return GeneratorFolder(path, manifest)


def write_folder(path: Path, manifest: GeneratorManifest) -> GeneratorFolder:
    """Complete a folder in which the graphs lie: write its manifest, with their digests and the version.

    Raises:
        CorruptBundle: the files or the manifest are not what a generator may have.
    """
    digests = {name: _sha256(path / name) for name in GRAPHS}
    complete = msgspec.structs.replace(_decode(msgspec.json.encode(manifest), path), files=digests)
    release = manifest.version.partition("+")[0]
    complete = msgspec.structs.replace(complete, version=f"{release}+{fingerprint(complete)}")
    (path / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(complete), indent=1) + b"\n")
    return load_folder(path)


def fingerprint(manifest: GeneratorManifest) -> str:
    """Return 12 hex digits that change whenever a cine by this generator could."""
    content = msgspec.structs.replace(manifest, version="", files=dict(sorted(manifest.files.items())))
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:12]


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


def _read_manifest(folder: Path) -> GeneratorManifest:
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            text = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise CorruptBundle(f"{folder} is no cine generator: {MANIFEST} cannot be read ({error.strerror})") from error
    if len(text) > MAX_MANIFEST_BYTES:
        raise CorruptBundle(f"{path} is larger than a manifest may be ({MAX_MANIFEST_BYTES} bytes)")
    return _decode(text, path)


def _decode(text: bytes, path: Path) -> GeneratorManifest:
    try:
        return msgspec.json.decode(text, type=GeneratorManifest)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise CorruptBundle(f"{path} is no manifest of a generator of this version: {error}") from error


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CorruptBundle(f"{path} cannot be read ({error.strerror}): fetch the generator again") from error
