"""The engines by name, and how each is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec

from schemas.errors import EngineUnavailable

from .nvidia import find_gpus
from .onnx_runtime import OnnxRuntimeEngine, open_onnx_runtime_graph
from .onnx_runtime_cuda import open_onnx_runtime_cuda, open_onnx_runtime_cuda_graph
from .openvino_engine import OpenVinoEngine
from .options import EngineOptions, Precision
from .plan_note import PlanNote
from .protocol import Engine, Graph, Graphs, OpenedGraph
from .tensorrt_build import Progress, tell_nobody
from .tensorrt_engine import build_tensorrt, open_tensorrt
from .tensorrt_library import LibraryName

Device: TypeAlias = Literal["cpu", "gpu"]

ROWS_WANTED: Mapping[Device, int] = MappingProxyType({"cpu": 48, "gpu": 96})
"""The batch at which a device is nearly as quick as it gets. Bigger ones only wait longer."""


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """How an engine is opened, and what it computes in.

    Attributes:
        library: the module that it needs.
        install: what brings the library: `pip install …`.
        open: takes the graph and the options.
        precision: what it computes in, which decides how close to the reference it must come.
        device: what it computes on.
        open_graph: opens a graph of any inputs, where the engine can: the cine generator has such graphs.
        build: builds and keeps what the engine opens, where that takes minutes.
    """

    library: str
    install: str
    open: Callable[[Graph, EngineOptions], Engine]
    precision: Precision = "float32"
    device: Device = "cpu"
    open_graph: Callable[[Graph, EngineOptions], OpenedGraph] | None = None
    build: Callable[[Graph, EngineOptions, str | None, Progress], PlanNote] | None = None


def _of_tensorrt(library: LibraryName, precision: Precision) -> CatalogEntry:
    return CatalogEntry(
        library,
        f"'cardiacnets[{library.replace('_', '-')}]'",
        partial(open_tensorrt, library),
        precision,
        "gpu",
        build=partial(build_tensorrt, library),
    )


def _of_onnx_runtime(precision: Precision) -> CatalogEntry:
    return CatalogEntry(
        "onnxruntime",
        "'cardiacnets[cuda]'",
        open_onnx_runtime_cuda,
        precision,
        "gpu",
        open_graph=open_onnx_runtime_cuda_graph if precision == "float32" else None,
    )


# Another engine is one file like `onnx_runtime.py` and one entry here; a precision of its own needs a tolerance in
# `choice.py`.
CATALOG: Mapping[str, CatalogEntry] = MappingProxyType(
    {
        "openvino": CatalogEntry("openvino", "openvino", OpenVinoEngine),
        "openvino-bf16": CatalogEntry("openvino", "openvino", OpenVinoEngine, "bfloat16"),
        "onnxruntime": CatalogEntry(
            "onnxruntime", "onnxruntime", OnnxRuntimeEngine, open_graph=open_onnx_runtime_graph
        ),
        "onnxruntime-cuda": _of_onnx_runtime("float32"),
        "onnxruntime-cuda-tf32": _of_onnx_runtime("tf32"),
        "onnxruntime-cuda-fp16": _of_onnx_runtime("float16"),
        "tensorrt": _of_tensorrt("tensorrt", "float32"),
        "tensorrt-tf32": _of_tensorrt("tensorrt", "tf32"),
        "tensorrt-fp16": _of_tensorrt("tensorrt", "float16"),
        "tensorrt-rtx": _of_tensorrt("tensorrt_rtx", "float32"),
        "tensorrt-rtx-tf32": _of_tensorrt("tensorrt_rtx", "tf32"),
        "tensorrt-rtx-fp16": _of_tensorrt("tensorrt_rtx", "float16"),
    }
)
ENGINES: tuple[str, ...] = tuple(CATALOG)


def available_engines() -> tuple[str, ...]:
    """Return the engines whose library is installed, and whose device is here; opening one may still fail."""
    return tuple(name for name in ENGINES if _missing(name) is None)


def find_entry(name: str) -> CatalogEntry:
    """Return the entry of that name.

    Raises:
        EngineUnavailable: no engine has the name.
    """
    try:
        return CATALOG[name]
    except KeyError:
        raise EngineUnavailable(f"no engine is called {name!r}; the engines are {', '.join(ENGINES)}") from None


def rows_wanted(name: str) -> int:
    """Return the batch that an engine's device wants; for an engine that is not in the catalog, a processor's."""
    return ROWS_WANTED[CATALOG[name].device if name in CATALOG else "cpu"]


def open_engine(name: str, graph: Graph | Graphs, options: EngineOptions | None = None) -> Engine:
    """Open an engine on a graph.

    Args:
        name: one of `ENGINES`.
        graph: an ONNX file as `Engine` describes it, or its content; or one of each precision.
        options: without them, an engine may use what this process may use.

    Raises:
        EngineUnavailable: an unknown name, a library or a device that is missing, or one that cannot load the graph.
    """
    entry = _usable_entry(name)
    return entry.open(_fitting(name, entry, graph), _of_entry(entry, options))


def open_graph(name: str, graph: Graph, options: EngineOptions | None = None) -> OpenedGraph:
    """Open a graph of any inputs; otherwise like `open_engine`.

    Raises:
        EngineUnavailable: as `open_engine`, or the engine runs no such graphs.
    """
    entry = _usable_entry(name)
    if entry.open_graph is None:
        can = ", ".join(other for other, its in CATALOG.items() if its.open_graph)
        raise EngineUnavailable(f"{name} runs only networks of one input; graphs of several are run by {can}")
    return entry.open_graph(_fitting(name, entry, graph), _of_entry(entry, options))


def build_engine(
    name: str,
    graph: Graph | Graphs,
    options: EngineOptions,
    *,
    gpu: str | None = None,
    tell: Progress = tell_nobody,
) -> PlanNote:
    """Build what an engine opens, and keep it.

    Args:
        name: one of `ENGINES`.
        graph: as `open_engine` takes it.
        options: as well.
        gpu: the architecture to build for, such as `SM89`, where this machine has no such GPU.
        tell: is told of the progress.

    Raises:
        EngineUnavailable: the engine needs no building, or cannot be built here.
    """
    entry = find_entry(name)
    if entry.build is None:
        can = ", ".join(other for other, its in CATALOG.items() if its.build)
        raise EngineUnavailable(f"{name} needs no building; what is built is {can}")
    if gpu is None:
        _usable_entry(name)
    elif not find_spec(entry.library):
        raise EngineUnavailable(f"{name} needs {_missing(name)}")
    return entry.build(_fitting(name, entry, graph), _of_entry(entry, options), gpu, tell)


def _usable_entry(name: str) -> CatalogEntry:
    entry = find_entry(name)
    if lack := _missing(name):
        raise EngineUnavailable(f"{name} needs {lack}")
    return entry


def _fitting(name: str, entry: CatalogEntry, graphs: Graph | Graphs) -> Graph:
    """Return the graph that the engine runs. A graph that comes alone is believed to be the one."""
    graph = (
        graphs if not isinstance(graphs, Graphs) else graphs.float16 if entry.precision == "float16" else graphs.float32
    )
    if graph is None:
        raise EngineUnavailable(
            f"{name} needs the network's float16 graph, and the bundle has none: cardiacnets compile --export writes it"
        )
    if isinstance(graph, Path) and not graph.is_file():
        raise EngineUnavailable(f"{name} cannot open {graph}: there is no such file")
    return graph


def _missing(name: str) -> str | None:
    entry = CATALOG[name]
    if not find_spec(entry.library):
        return f"{entry.library}, which is not installed: pip install {entry.install}"
    if entry.device == "gpu" and not find_gpus():
        return "an NVIDIA GPU, and this machine shows none (/proc/driver/nvidia is empty or absent)"
    return None


def _of_entry(entry: CatalogEntry, options: EngineOptions | None) -> EngineOptions:
    return msgspec.structs.replace(options or EngineOptions(), precision=entry.precision)
