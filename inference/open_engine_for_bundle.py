"""The engine for a bundle: the one that is asked for, if it agrees with the reference, else the fastest that does."""

from __future__ import annotations

import logging
from functools import partial

import msgspec

from engines.catalog import ENGINES, available_engines, find_entry, open_engine, rows_wanted
from engines.choice import Choice, Probe, choose_engine, require_agreement
from engines.options import EngineOptions
from engines.protocol import Engine, Graphs
from engines.torch_engine import TORCH_CUDA, TORCH_ENGINES, TorchEngine
from schemas.errors import EngineFailed, EngineMismatch, EngineUnavailable

from .bundle import Bundle, load_probe
from .export import OUTPUTS, restore_network
from .manifest import GRAPH, HALF_GRAPH

ALWAYS_INSTALLED = "onnxruntime"

log = logging.getLogger(__name__)


def open_chosen_engine(bundle: Bundle, name: str | None, options: EngineOptions, *, rows: int | None = None) -> Engine:
    """Return an open engine that was checked against the reference on the bundle's probe.

    Args:
        bundle: verified.
        name: the engine that is asked for; None takes the fastest on this machine, measured once and remembered.
        options: what the engine is opened with.
        rows: of the batches to come; None takes what the engine's device wants.

    Raises:
        EngineUnavailable: it is unknown, not installed, or fails on this machine.
        EngineMismatch: it disagrees with the reference.
    """
    probe = load_probe(bundle)
    if name is not None:
        wanted = rows or rows_wanted(name)
        return _agreeing(open_unchecked(bundle, name, msgspec.structs.replace(options, rows=wanted)), probe)
    graphs = graphs_of(bundle)
    choose = partial(choose_engine, graphs, probe, names=ENGINES, options=options, rows=rows)
    choice = choose()
    try:
        return _agreeing(_open(choice.name, graphs, options, rows), probe)
    except (EngineUnavailable, EngineMismatch) as error:  # a library may answer otherwise than when it was measured
        log.warning("the engine that was remembered is measured again: %s", error)
        return _agreeing(_open(choose(remeasure=True).name, graphs, options, rows), probe)


def open_unchecked(bundle: Bundle, name: str, options: EngineOptions) -> Engine:
    """Return an open engine that must still be held against the reference.

    Raises:
        EngineUnavailable: as `open_chosen_engine`.
    """
    if name in TORCH_ENGINES:
        device = "cuda" if name == TORCH_CUDA else "cpu"
        row_shape = (len(bundle.manifest.input.leads), bundle.manifest.input.crop_samples)
        network = restore_network(bundle)
        return TorchEngine(network, OUTPUTS, row_shape=row_shape, threads=options.threads, device=device)
    return open_engine(name, graphs_of(bundle), options)


def graphs_of(bundle: Bundle) -> Graphs:
    """Return the network's graphs, verified as they are read."""
    half = bundle.read(HALF_GRAPH) if HALF_GRAPH in bundle.manifest.files else None
    return Graphs(bundle.read(GRAPH), half)


def _open(name: str, graphs: Graphs, options: EngineOptions, rows: int | None) -> Engine:
    return open_engine(name, graphs, msgspec.structs.replace(options, rows=rows or rows_wanted(name)))


def _agreeing(engine: Engine, probe: Probe) -> Engine:
    """Return an engine that agrees with the reference on the probe. Another one is closed."""
    try:
        require_agreement(engine, probe)
    except EngineFailed as error:
        engine.close()
        raise EngineUnavailable(f"{engine.name} fails on this machine: {error}") from error
    except EngineMismatch:
        engine.close()
        raise
    return engine


def open_float32_engine(bundle: Bundle) -> Engine:
    """Return the first engine of the catalog that computes in float32 and agrees with the reference.

    For evaluation: its figures must depend neither on which engine is the fastest here, nor on how bfloat16 rounds.

    Raises:
        EngineUnavailable: none can be opened.
        EngineMismatch: the last one disagrees with the reference.
    """
    names = [name for name in available_engines() if find_entry(name).precision == "float32"] or [ALWAYS_INSTALLED]
    for name in names[:-1]:
        try:
            return open_chosen_engine(bundle, name, EngineOptions(), rows=1)
        except (EngineUnavailable, EngineMismatch):
            continue
    return open_chosen_engine(bundle, names[-1], EngineOptions(), rows=1)


def measure_engines(
    bundle: Bundle, options: EngineOptions, *, rows: int | None = None, remeasure: bool = False
) -> Choice:
    """Return the measurement of every engine on this machine: remembered, unless it must be made again."""
    return choose_engine(
        graphs_of(bundle), load_probe(bundle), names=ENGINES, options=options, rows=rows, remeasure=remeasure
    )
