"""The engine for a bundle: the one that is asked for, if it agrees with the reference, else the fastest that does."""

from __future__ import annotations

from pathlib import Path

from engines.catalog import ENGINES, available_engines, find_entry, open_engine
from engines.choice import Choice, choose_engine, require_agreement
from engines.protocol import Engine
from engines.torch_engine import TorchEngine
from schemas.errors import EngineFailed, EngineMismatch, EngineUnavailable

from .bundle import Bundle, load_probe
from .export import OUTPUTS, restore_network

TORCH = "torch"
ALWAYS_INSTALLED = "onnxruntime"


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
    if name == TORCH:
        return TorchEngine(restore_network(bundle), OUTPUTS, threads=threads)
    if name is None:
        choice = measure_engines(bundle, threads=threads, rows=rows, cache_folder=cache_folder)
        return open_engine(choice.name, bundle.graph, threads=threads)
    engine = open_engine(name, bundle.graph, threads=threads)
    try:
        require_agreement(engine, load_probe(bundle))
    except EngineFailed as error:
        engine.close()
        raise EngineUnavailable(f"{name} fails on this machine: {error}") from error
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
        bundle.graph,
        load_probe(bundle),
        names=ENGINES,
        threads=threads,
        rows=rows,
        cache_dir=cache_folder,
        remeasure=remeasure,
    )
