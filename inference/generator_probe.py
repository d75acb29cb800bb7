"""The probe of a cine generator: inputs of each graph, and what the graph answered when the generator was packaged.

With it a generator is checked at every start: the graphs are the ones that were packaged, and this machine computes
what that one did.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engines.catalog import open_graph
from engines.choice import Tolerances
from schemas.errors import CorruptBundle, EngineMismatch

from .generator_manifest import DECODER, DENOISER, ENCODER, EXPECTED, TRANSFORMER, GeneratorManifest
from .manifest import PROBE

Arrays: TypeAlias = dict[str, NDArray[Any]]
RunGraph: TypeAlias = Callable[..., NDArray[np.float32]]
"""Takes a graph's name and its inputs by position."""

ENGINE = "onnxruntime"
"""What packages a generator, and draws unless another is asked for: another one draws the same heart in other bytes."""
SEED = 0
ORDER = (TRANSFORMER, DENOISER, DECODER, EXPECTED, ENCODER)
"""The encoder is given the cine that the graph before it answered: a cine is too large to keep."""
MOST_KEPT = 4096
"""Of an answer's numbers, spread evenly. A library that computes otherwise does so everywhere."""


def make_probe(manifest: GeneratorManifest, run: RunGraph) -> Arrays:
    """Return the inputs and the answers of each graph, by names such as `decoder.onnx/0` and `decoder.onnx/answer`."""
    draw = np.random.default_rng(SEED)
    latents, size = manifest.latents, manifest.latents.token_size
    tokens = math.prod(latents.grid)

    def numbers(*shape: int) -> NDArray[np.float32]:
        return draw.standard_normal(shape).astype(np.float32)

    embedding = numbers(1, manifest.embedding_size)
    known, order, guided = numbers(1, tokens // 2, size), draw.permutation(tokens)[None], np.ones(1, np.float32)
    inputs: dict[str, list[NDArray[Any]]] = {TRANSFORMER: [known, order, embedding / np.linalg.norm(embedding), guided]}
    context = run(TRANSFORMER, *inputs[TRANSFORMER])[0, :1]
    inputs[DENOISER] = [numbers(1, size), np.full(1, 0.5, np.float32), np.ascontiguousarray(context)]
    inputs[DECODER] = [numbers(1, *latents.shape)]
    inputs[EXPECTED] = [inputs[TRANSFORMER][2]]
    probe: Arrays = {f"{name}/{place}": array for name, given in inputs.items() for place, array in enumerate(given)}
    probe.update({f"{name}/answer": _kept(answer) for name, answer in _answers(probe, run)})
    return probe


def write_probe(folder: Path, manifest: GeneratorManifest) -> None:
    """Write the probe beside graphs that were just exported."""
    from safetensors.numpy import save

    def run(name: str, *inputs: NDArray[Any]) -> NDArray[np.float32]:
        (answer,) = open_graph(ENGINE, folder / name).run(*inputs)
        return answer

    (folder / PROBE).write_bytes(save(make_probe(manifest, run)))


def check_probe(probe: Mapping[str, NDArray[Any]], run: RunGraph, place: str) -> None:
    """Check that each graph answers the probe's inputs as it did when the generator was packaged.

    Args:
        probe: as `make_probe` returns it.
        run: of the generator that is to be checked.
        place: what errors call the probe.

    Raises:
        CorruptBundle: the probe lacks a graph.
        EngineMismatch: a graph answers otherwise.
        EngineFailed: a graph cannot be run on the probe's inputs.
    """
    for name in ORDER:
        expected = probe.get(f"{name}/answer")
        if (name != ENCODER and f"{name}/0" not in probe) or expected is None or not np.isfinite(expected).all():
            raise CorruptBundle(f"{place} has no finite answers of {name}: package the generator again")
    for name, answer in _answers(probe, run):
        expected, kept = probe[f"{name}/answer"], _kept(answer)
        allowed = Tolerances().float32 * max(1.0, float(np.abs(expected).max(initial=0.0)))
        worst = float(np.abs(kept - expected).max(initial=0.0)) if kept.shape == expected.shape else math.inf
        if not worst <= allowed:
            raise EngineMismatch(
                f"{name} of the cine generator differs by {worst:.3g} from what it answered when it was packaged: "
                "fetch the generator again, or install the version of onnxruntime that it was packaged with"
            )


def _answers(probe: Mapping[str, NDArray[Any]], run: RunGraph) -> Iterator[tuple[str, NDArray[np.float32]]]:
    answer = np.empty(0, np.float32)
    for name in ORDER:
        answer = run(name, *([answer] if name == ENCODER else _inputs(probe, name)))
        yield name, answer


def _inputs(probe: Mapping[str, NDArray[Any]], name: str) -> Iterator[NDArray[Any]]:
    place = 0
    while (found := probe.get(f"{name}/{place}")) is not None:
        yield found
        place += 1


def _kept(answer: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(answer.reshape(-1)[:: math.ceil(answer.size / MOST_KEPT) or 1])
