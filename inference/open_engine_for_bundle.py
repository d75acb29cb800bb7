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
from .signals_engine import with_preprocessing

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
    engine = _open_chosen(bundle, probe, options, rows) if name is None else _open(bundle, name, probe, options, rows)
    return with_preprocessing(bundle, engine, probe, _sized(engine.name, options, rows))


def _open_chosen(bundle: Bundle, probe: Probe, options: EngineOptions, rows: int | None) -> Engine:
    choose = partial(choose_engine, graphs_of(bundle), probe, names=ENGINES, options=options, rows=rows)
    choice = choose()
    try:
        return _open(bundle, choice.name, probe, options, rows)
    except (EngineUnavailable, EngineMismatch) as error:  # a library may answer otherwise than when it was measured
        log.warning("the engine that was remembered is measured again: %s", error)
        return _open(bundle, choose(remeasure=True).name, probe, options, rows)


def _open(bundle: Bundle, name: str, probe: Probe, options: EngineOptions, rows: int | None) -> Engine:
    return _agreeing(open_unchecked(bundle, name, _sized(name, options, rows)), probe)


def _sized(name: str, options: EngineOptions, rows: int | None) -> EngineOptions:
    return msgspec.structs.replace(options, rows=rows or rows_wanted(name))


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
