"""Remembers measurements between runs, for as long as graph, libraries and processor stay what they were."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import msgspec
from platformdirs import user_cache_path

FORMAT = 1
LIBRARIES = ("numpy", "onnxruntime", "openvino")
CPUINFO = Path("/proc/cpuinfo")
CPU_FIELDS = ("model name", "flags", "CPU part", "Features")
"""What tells processors apart: x86's two fields, and Arm's."""

StructT = TypeVar("StructT", bound=msgspec.Struct)

log = logging.getLogger(__name__)


def recall_choice(
    kind: type[StructT], graph: Path, circumstances: Mapping[str, object], cache_dir: Path | None = None
) -> StructT | None:
    """Return what was remembered for this graph in these circumstances, or None; a corrupt file counts as none."""
    path = _path(graph, circumstances, cache_dir)
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeError) as error:
        log.warning("the remembered choice of engine in %s is ignored: %s", path, error)
        return None


def remember_choice(
    choice: msgspec.Struct, graph: Path, circumstances: Mapping[str, object], cache_dir: Path | None = None
) -> None:
    """Write the choice; a place that cannot be written to costs a measurement next time, no more."""
    path = _path(graph, circumstances, cache_dir)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_atomically(path, msgspec.json.format(msgspec.json.encode(choice)))
    except OSError as error:
        log.warning("the choice of engine is not remembered: %s", error)


def _write_atomically(path: Path, content: bytes) -> None:
    """Write beside it and rename, so that a reader in another process sees all of it or nothing."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.stem, delete=False) as file:
        temporary = Path(file.name)
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _path(graph: Path, circumstances: Mapping[str, object], cache_dir: Path | None) -> Path:
    with graph.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    key = [FORMAT, digest, {name: _version(name) for name in LIBRARIES}, _processor(), dict(circumstances)]
    name = hashlib.sha256(msgspec.json.encode(key, order="sorted")).hexdigest()
    return (cache_dir or user_cache_path("cardiacnets") / "engines") / f"{name}.json"


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _processor() -> list[str]:
    """Return what identifies the processor and its instruction sets; `platform` knows neither on Linux."""
    try:
        first = CPUINFO.read_text().split("\n\n", 1)[0]
    except OSError:
        return [platform.machine(), platform.processor()]
    fields = [line for line in first.splitlines() if line.startswith(CPU_FIELDS)]
    return [platform.machine(), str(os.cpu_count()), *fields]
