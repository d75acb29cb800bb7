"""The engines by name, and how each is opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from schemas.errors import EngineUnavailable

from .onnx_runtime import OnnxRuntimeEngine
from .openvino_engine import OpenVinoEngine
from .protocol import Engine, Graph

CGROUP_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """How an engine is opened, and what it computes in.

    Attributes:
        library: the distribution and module that it needs.
        precision: what it computes in, which decides how close to the reference it must come.
        open: takes the graph and the number of threads.
    """

    library: str
    precision: Literal["float32", "bfloat16"]
    open: Callable[[Graph, int], Engine]


# Another engine (TensorRT) is one file like `onnx_runtime.py` and one entry here; a precision of its own needs a
# tolerance in `choice.py`.
CATALOG: Mapping[str, CatalogEntry] = MappingProxyType(
    {
        "openvino": CatalogEntry("openvino", "float32", OpenVinoEngine),
        "openvino-bf16": CatalogEntry("openvino", "bfloat16", lambda graph, n: OpenVinoEngine(graph, n, "bf16")),
        "onnxruntime": CatalogEntry("onnxruntime", "float32", OnnxRuntimeEngine),
    }
)
ENGINES: tuple[str, ...] = tuple(CATALOG)


def available_engines() -> tuple[str, ...]:
    """Return the engines whose library is installed; opening one may still fail."""
    return tuple(name for name, entry in CATALOG.items() if find_spec(entry.library))


def find_entry(name: str) -> CatalogEntry:
    """Return the entry of that name.

    Raises:
        EngineUnavailable: no engine has the name.
    """
    try:
        return CATALOG[name]
    except KeyError:
        raise EngineUnavailable(f"no engine is called {name!r}; the engines are {', '.join(ENGINES)}") from None


def open_engine(name: str, graph: Graph, *, threads: int | None = None) -> Engine:
    """Open an engine on a graph.

    Args:
        name: one of `ENGINES`.
        graph: an ONNX file as `Engine` describes it, or its content.
        threads: how many the engine may use; None: as many as this process may use cores.

    Raises:
        EngineUnavailable: an unknown name, a library that is missing, or one that cannot load the graph.
    """
    entry = find_entry(name)
    if not find_spec(entry.library):
        raise EngineUnavailable(f"{name} needs {entry.library}, which is not installed: pip install {entry.library}")
    if isinstance(graph, Path) and not graph.is_file():
        raise EngineUnavailable(f"{name} cannot open {graph}: there is no such file")
    return entry.open(graph, threads or usable_cores())


def usable_cores(quota: Path = CGROUP_CPU_QUOTA) -> int:
    """Return how many cores this process may use: a container's quota counts, threads beyond it only get in the way."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        allowance, period = quota.read_text().split()
        return max(1, min(cores, round(int(allowance) / int(period))))
    except (OSError, ValueError):  # no cgroup, or the allowance is "max"
        return cores
