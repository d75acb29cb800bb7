"""Remembers measurements between runs, as long as graph, libraries, processor, GPUs and driver stay the same."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import msgspec
from platformdirs import user_cache_path

from .nvidia import find_gpus
from .protocol import Graph, Graphs, MadeGraph
from .regular_file import open_regular
from .whole_file import write_whole

FORMAT = 2
LIBRARIES = (
    *("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx", "cuda-bindings"),
    *("nvidia-cublas", "nvidia-cudnn-cu13"),
)
"""The distributions whose version may change what is the fastest; some of them are not installed."""
CPUINFO = Path("/proc/cpuinfo")
CPU_FIELDS = ("model name", "flags", "CPU part", "Features")
"""The fields that tell processors apart: two on x86, two on Arm."""

StructT = TypeVar("StructT", bound=msgspec.Struct)

log = logging.getLogger(__name__)


def recall_choice(
    kind: type[StructT], graph: Graph | Graphs, circumstances: Mapping[str, object], cache_dir: Path | None = None
) -> StructT | None:
    """Return the remembered choice for this graph in these circumstances, or None. A corrupt file gives None."""
    path = _path(graph, circumstances, cache_dir)
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeError) as error:
        log.warning("the remembered choice of engine in %s is ignored: %s", path, error)
        return None


def remember_choice(
    choice: msgspec.Struct, graph: Graph | Graphs, circumstances: Mapping[str, object], cache_dir: Path | None = None
) -> None:
    """Write the choice. A folder that cannot be written to only costs another measurement next time."""
    path = _path(graph, circumstances, cache_dir)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, msgspec.json.format(msgspec.json.encode(choice)))
    except OSError as error:
        log.warning("the choice of engine is not remembered: %s", error)


def _path(graph: Graph | Graphs, circumstances: Mapping[str, object], cache_dir: Path | None) -> Path:
    libraries = {name: _version(name) for name in LIBRARIES}
    key = [FORMAT, digests(graph), libraries, _processor(), _gpus(), dict(circumstances)]
    name = hashlib.sha256(msgspec.json.encode(key, order="sorted")).hexdigest()
    return cache_folder(cache_dir) / f"{name}.json"


def cache_folder(chosen: Path | None) -> Path:
    """Return the folder of what engines keep between runs: the one that was chosen, or the user's cache."""
    return chosen or user_cache_path("cardiacnets") / "engines"


def digests(graph: Graph | Graphs) -> list[str]:
    """Return the SHA-256 of each graph of a network, or the fingerprint of one that is made on demand."""
    graphs = (graph.float32, graph.float16) if isinstance(graph, Graphs) else (graph,)
    return [_digest(one) for one in graphs if one is not None]


def _digest(graph: Graph) -> str:
    if isinstance(graph, MadeGraph):
        return graph.fingerprint
    if isinstance(graph, bytes):
        return hashlib.sha256(graph).hexdigest()
    with open_regular(graph) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _gpus() -> list[str]:
    """Return the GPUs with their driver, and which of them this process sees."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    return [seen, *(f"{gpu.model}, driver {gpu.driver}" for gpu in find_gpus())]


def _processor() -> list[str]:
    """Return what identifies the processor and its instruction sets; `platform` knows neither on Linux."""
    try:
        first = CPUINFO.read_text().split("\n\n", 1)[0]
    except OSError:
        return [platform.machine(), platform.processor()]
    fields = [line for line in first.splitlines() if line.startswith(CPU_FIELDS)]
    return [platform.machine(), str(os.cpu_count()), *fields]
