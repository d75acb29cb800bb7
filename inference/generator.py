"""The cine generator: from an ECG's embedding to a beat of the heart, by a loop over graphs.

A cine is a grid of tokens. Each token is a part of the picture. The tokens are drawn in a random order, a few in each
step (Li et al., NeurIPS 2024): the transformer predicts a context for each hidden token, and the denoiser turns noise
and context into a token. Both run twice, with the embedding and without it, and the difference is exaggerated
(classifier-free guidance, Ho and Salimans 2022). The decoder of the autoencoder turns the grid into frames.

The result is one of the hearts that fit the ECG. A generator whose temperature is 0 answers with the mean of all
these hearts instead: the expected cine, which does not depend on the seed.

The same embedding, seed and model give the same bytes, whatever else is drawn at the same time. Each cine is therefore
drawn by itself, because the sums within a matrix product may depend on its number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engines.catalog import open_graph
from engines.options import EngineOptions
from engines.protocol import OpenedGraph
from schemas.errors import CorruptBundle, EngineFailed, EngineUnavailable, InvalidSettings
from schemas.messages import ModelReference

from .cine import CineGeometry
from .generator_manifest import (
    DECODER,
    DENOISER,
    ENCODER,
    EXPECTED,
    TRANSFORMER,
    EcgModel,
    GeneratorFolder,
    GeneratorManifest,
    Latents,
    default_generator,
    load_folder,
)
from .generator_probe import ENGINE, check_probe
from .manifest import PROBE

Floats: TypeAlias = NDArray[np.float32]

WHITE = 127.5
RECONSTRUCTION_BATCH = 8


class CineGenerator:
    """Draws cines; see the module. `close` releases the graphs, and nothing can be drawn after it."""

    def __init__(self, folder: GeneratorFolder, engine: str, options: EngineOptions) -> None:
        self.manifest: GeneratorManifest = folder.manifest
        self.reference: ModelReference = folder.manifest.reference
        self.ecg_model: EcgModel | None = folder.manifest.ecg_model
        self.geometry: CineGeometry = folder.manifest.geometry
        shapes = _expected_shapes(folder.manifest)
        self._graphs = {name: _open(folder, name, engine, options, shape) for name, shape in shapes.items()}
        if PROBE in folder.manifest.files:
            check_probe(_load_probe(folder), self._run, str(folder.path / PROBE))

    @classmethod
    def load(
        cls, folder: Path | None = None, *, engine: str = ENGINE, options: EngineOptions | None = None
    ) -> CineGenerator:
        """Return the generator of a folder. Without a folder, it is the shipped generator.

        Args:
            folder: verified against its manifest.
            engine: of the catalog, one that runs graphs of several inputs.
            options: without them, the engine may use what the process may use.

        Raises:
            CorruptBundle: a file is missing or altered, or is not what the manifest says.
            EngineUnavailable: the engine cannot open a graph.
            EngineMismatch: a graph answers the probe otherwise than when the generator was packaged.
        """
        return cls(load_folder(folder or default_generator()), engine, options or EngineOptions())

    def draw(self, embeddings: Floats, seeds: Sequence[int]) -> NDArray[np.uint8]:
        """Return a cine for each embedding, (n, frame, row, column).

        Args:
            embeddings: (n, 256) of length 1, as reports carry them.
            seeds: one for each cine, not negative. Another seed draws another heart that fits the ECG, unless the
                temperature is 0.

        Raises:
            InvalidSettings: the embeddings or the seeds are not as described.
            EngineFailed: the engine failed, or the generator was closed.
        """
        embeddings = np.asarray(embeddings, np.float32)
        _check_request(embeddings, seeds, self.manifest.embedding_size)
        cines = np.empty((len(seeds), *self.geometry.shape), np.uint8)
        for cine, embedding, seed in zip(cines, embeddings, seeds, strict=True):
            cine[...] = as_pixels(self._draw_one(embedding, seed)[0, 0])
        return cines

    def _draw_one(self, embedding: Floats, seed: int) -> Floats:
        """Return (1, 1, frame, row, column) in about [-1, 1]."""
        if self.manifest.sampling.temperature == 0:
            return self._run(EXPECTED, embedding[None])
        return self._run(DECODER, self.draw_latent(embedding, seed)[None])

    def draw_latent(self, embedding: Floats, seed: int) -> Floats:
        """Return the latent (channel, time, row, column) of one cine, for an embedding (256,)."""
        latents, sampling = self.manifest.latents, self.manifest.sampling
        rng = np.random.default_rng(seed)
        n_tokens = math.prod(latents.grid)
        order = rng.permutation(n_tokens)
        known = np.empty((0, latents.token_size), np.float32)
        for count in plan_steps(n_tokens, sampling.steps):
            context = self._predict_context(known, order, embedding)[:, :count]
            known = np.concatenate([known, self._denoise(context, rng)])
        tokens = np.empty_like(known)
        tokens[order] = known
        return join_tokens(tokens, latents)

    def reconstruct(self, cines: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return cines (n, frame, row, column) after the autoencoder. The generator cannot draw them any better."""
        reconstructed = np.empty_like(cines)
        for start in range(0, len(cines), RECONSTRUCTION_BATCH):
            chunk = slice(start, start + RECONSTRUCTION_BATCH)
            latents = self._run(ENCODER, cines[chunk, None].astype(np.float32) / WHITE - 1)
            reconstructed[chunk] = as_pixels(self._run(DECODER, latents)[:, 0])
        return reconstructed

    def reduce(self, cines: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a cohort's cines (n, 50, 96, 96) in the generator's geometry."""
        return reduce_cines(cines, self.manifest.cine.reduction)

    def close(self) -> None:
        """Release the graphs. A second call does nothing."""
        self._graphs = {}

    def _predict_context(self, known: Floats, order: NDArray[np.int64], embedding: Floats) -> Floats:
        """Return the hidden tokens' contexts (1 or 2, hidden, width): with the embedding, then without it."""
        guided = np.ones(1, np.float32) if self.manifest.sampling.guidance == 1 else np.array([1, 0], np.float32)
        rows = len(guided)
        return self._run(
            TRANSFORMER,
            np.repeat(known[None], rows, axis=0),
            np.repeat(order[None], rows, axis=0),
            np.repeat(embedding[None], rows, axis=0),
            guided,
        )

    def _denoise(self, context: Floats, rng: np.random.Generator) -> Floats:
        """Return tokens (k, token) for their contexts (1 or 2, k, width). All of them are drawn at once."""
        rows, count, width = context.shape
        sampling, size = self.manifest.sampling, self.manifest.latents.token_size
        context = np.ascontiguousarray(context.reshape(rows * count, width))
        tokens = sampling.temperature * rng.standard_normal((count, size), np.float32)
        for step in plan_diffusion(sampling.diffusion_steps):
            noisy = np.tile(tokens, (rows, 1))
            times = np.full(rows * count, step.time, np.float32)
            velocity = self._run(DENOISER, noisy, times, context).reshape(rows, count, size)
            clean = step.signal * tokens - step.noise * self._guide(velocity)
            tokens = step.keep * tokens + step.clean * clean
            if step.spread:
                tokens += sampling.temperature * step.spread * rng.standard_normal((count, size), np.float32)
        return tokens

    def _guide(self, velocity: Floats) -> Floats:
        conditional = velocity[0]
        if len(velocity) == 1:
            return np.asarray(conditional)
        return np.asarray(velocity[1] + self.manifest.sampling.guidance * (conditional - velocity[1]))

    def _run(self, name: str, *inputs: NDArray[Any]) -> Floats:
        graph = self._graphs.get(name)
        if graph is None:
            raise EngineFailed("the cine generator was closed")
        (output,) = graph.run(*inputs)
        return output


@dataclass(frozen=True, slots=True)
class DiffusionStep:
    """From one share of noise to the next smaller one (Ho et al., NeurIPS 2020): next = keep·x + clean·x₀ + spread·ε.

    Attributes:
        time: 0-1, before the step. At 1 there is only noise.
        signal, noise: their shares before the step; x₀ = signal·x − noise·velocity.
    """

    time: float
    signal: float
    noise: float
    keep: float
    clean: float
    spread: float


def plan_diffusion(steps: int) -> Iterator[DiffusionStep]:
    """Yield the steps from pure noise to no noise, by the cosine schedule."""
    for step in range(steps, 0, -1):
        signal, noise = _shares(step / steps)
        next_signal, next_noise = _shares((step - 1) / steps)
        ratio = signal / next_signal
        added = noise**2 - ratio**2 * next_noise**2
        yield DiffusionStep(
            time=step / steps,
            signal=signal,
            noise=noise,
            keep=ratio * next_noise**2 / noise**2,
            clean=next_signal * added / noise**2,
            spread=next_noise * math.sqrt(max(added, 0.0)) / noise,
        )


def plan_steps(n_tokens: int, steps: int) -> list[int]:
    """Return how many tokens each step draws: few at first, by the cosine schedule, but at least one."""
    hidden, counts = n_tokens, []
    for step in range(1, steps + 1):
        left = math.floor(n_tokens * math.cos(math.pi / 2 * step / steps)) if step < steps else 0
        left = min(left, hidden - 1)
        if left < 0:
            break
        counts.append(hidden - left)
        hidden = left
    return counts


def join_tokens(tokens: Floats, latents: Latents) -> Floats:
    """Return the latent (channel, time, row, column) of tokens (n, token), in the latent's own unit."""
    grid, patch, channels = latents.grid, latents.patch, latents.shape[0]
    parts = tokens.reshape(*grid, channels, *patch)  # t y x c dt dy dx
    joined = parts.transpose(3, 0, 4, 1, 5, 2, 6).reshape(latents.shape)
    means, deviations = (np.array(v, np.float32)[:, None, None, None] for v in (latents.means, latents.deviations))
    return np.ascontiguousarray(joined * deviations + means)


def reduce_cines(cines: NDArray[np.uint8], reduction: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return cines (n, frame, row, column) whose pixels are rounded means over blocks of frames, rows and columns."""
    if reduction == (1, 1, 1):
        return cines
    (n, *extents), parts = cines.shape, []
    for extent, step in zip(extents, reduction, strict=True):
        parts += [extent // step, step]
    sums = cines.reshape(n, *parts).sum(axis=(2, 4, 6), dtype=np.uint32)
    size = math.prod(reduction)
    reduced: NDArray[np.uint8] = ((sums + size // 2) // size).astype(np.uint8)
    return reduced


def as_pixels(values: Floats) -> NDArray[np.uint8]:
    """Return values of [-1, 1] as grey levels. Values outside are clamped."""
    pixels: NDArray[np.uint8] = np.rint((np.clip(values, -1, 1) + 1) * WHITE).astype(np.uint8)
    return pixels


def _open(folder: GeneratorFolder, name: str, engine: str, options: EngineOptions, shapes: _Shapes) -> OpenedGraph:
    try:
        graph = open_graph(engine, folder.read(name), options)
    except EngineUnavailable as error:
        raise EngineUnavailable(f"{folder.path / name}: {error}") from error
    found = (*graph.input_shapes, *graph.output_shapes)
    if not _fit(found, shapes):
        raise CorruptBundle(f"{folder.path / name} has the shapes {found}, and by its manifest should have {shapes}")
    return graph


def _load_probe(folder: GeneratorFolder) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        probe: dict[str, NDArray[Any]] = load(folder.read(PROBE))
    except SafetensorError as error:
        raise CorruptBundle(f"{folder.path / PROBE} cannot be read: {error}") from error
    return probe


_Shapes: TypeAlias = tuple[tuple[int | None, ...], ...]
"""The shapes of the inputs and of the output. None stands for any extent."""


def _expected_shapes(manifest: GeneratorManifest) -> dict[str, _Shapes]:
    latents, size = manifest.latents, manifest.latents.token_size
    cine, latent = (None, 1, *manifest.geometry.shape), (None, *latents.shape)
    n_tokens = math.prod(latents.grid)
    return {
        TRANSFORMER: (
            (None, None, size),
            (None, n_tokens),
            (None, manifest.embedding_size),
            (None,),
            (None, None, None),
        ),
        DENOISER: ((None, size), (None,), (None, None), (None, size)),
        DECODER: (latent, cine),
        ENCODER: (cine, latent),
        EXPECTED: ((None, manifest.embedding_size), cine),
    }


def _fit(found: tuple[tuple[Any, ...], ...], expected: _Shapes) -> bool:
    return len(found) == len(expected) and all(
        len(shape) == len(wanted) and all(want in (None, extent) for extent, want in zip(shape, wanted, strict=True))
        for shape, wanted in zip(found, expected, strict=True)
    )


def _check_request(embeddings: Floats, seeds: Sequence[int], size: int) -> None:
    if embeddings.shape != (len(seeds), size):
        raise InvalidSettings(f"{len(seeds)} cines need embeddings of {(len(seeds), size)}, not {embeddings.shape}")
    if not np.isfinite(embeddings).all() or any(seed < 0 for seed in seeds):
        raise InvalidSettings("embeddings must be finite, and seeds not negative")


def _shares(time: float) -> tuple[float, float]:
    return math.cos(math.pi / 2 * time), math.sin(math.pi / 2 * time)
