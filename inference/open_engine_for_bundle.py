"""The engine for a bundle: the one that is asked for, if it agrees with the reference, else the fastest that does."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from engines.catalog import ENGINES, available_engines, find_entry, open_engine
from engines.choice import Choice, Probe, choose_engine, require_agreement
from engines.protocol import Engine
from engines.torch_engine import TorchEngine
from schemas.errors import EngineFailed, EngineMismatch, EngineUnavailable

from .bundle import Bundle, load_probe
from .export import OUTPUTS, restore_network
from .manifest import GRAPH

TORCH = "torch"
ALWAYS_INSTALLED = "onnxruntime"

log = logging.getLogger(__name__)


def open_chosen_engine(
    bundle: Bundle, name: str | None, *, threads: int | None, rows: int, cache_folder: Path | None = None
) -> Engine:
    """Return an open engine that was checked against the reference on the bundle's probe.

    Args:
        bundle: verified.
        name: the engine that is asked for; None takes the fastest on this machine, measured once and remembered.
        threads: CPU threads; None takes all that the process may use.
        rows: of the batches to come.
        cache_folder: where measurements are remembered; None takes the user's cache.

    Raises:
        EngineUnavailable: it is unknown, not installed, or fails on this machine.
        EngineMismatch: it disagrees with the reference.
    """
    graph, probe = bundle.read(GRAPH), load_probe(bundle)
    if name == TORCH:
        return _agreeing(TorchEngine(restore_network(bundle), OUTPUTS, threads=threads), probe)
    if name is not None:
        return _agreeing(open_engine(name, graph, threads=threads), probe)
    choose = partial(choose_engine, graph, probe, names=ENGINES, threads=threads, rows=rows, cache_dir=cache_folder)
    choice = choose()
    try:
        return _agreeing(open_engine(choice.name, graph, threads=threads), probe)
    except (EngineUnavailable, EngineMismatch) as error:  # a library may answer otherwise than when it was measured
        log.warning("the engine that was remembered is measured again: %s", error)
        return _agreeing(open_engine(choose(remeasure=True).name, graph, threads=threads), probe)


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
            return open_chosen_engine(bundle, name, threads=None, rows=1)
        except (EngineUnavailable, EngineMismatch):
            continue
    return open_chosen_engine(bundle, names[-1], threads=None, rows=1)


def measure_engines(
    bundle: Bundle, *, threads: int | None, rows: int, cache_folder: Path | None = None, remeasure: bool = False
) -> Choice:
    """Return the measurement of every engine on this machine: remembered, unless it must be made again."""
    return choose_engine(
        bundle.read(GRAPH),
        load_probe(bundle),
        names=ENGINES,
        threads=threads,
        rows=rows,
        cache_dir=cache_folder,
        remeasure=remeasure,
    )
