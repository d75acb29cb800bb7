"""Files that are whole or not there, whenever the process is killed; an array only where the disk has room for it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
from numpy.typing import DTypeLike, NDArray

from .writer import check_room


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a place to write a file to; it lies at `path` when the block has ended."""
    for left in path.parent.glob(f"{path.name}.*.partial"):
        if not psutil.pid_exists(int(left.suffixes[-2][1:])):  # of a process that was killed at it
            left.unlink(missing_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")  # half a file must never be taken for a whole one
    yield partial
    partial.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Write the content for people and programs to read."""
    with whole_file(path) as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")


@contextmanager
def write_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> Iterator[NDArray[Any]]:
    """Yield an array to fill, mapped into memory; it lies at `path` when the block has ended.

    Raises:
        InvalidSettings: there is no room for it.
    """
    check_room(path, math.prod(shape) * np.dtype(dtype).itemsize)
    with whole_file(path) as partial:
        written = np.lib.format.open_memmap(partial, "w+", np.dtype(dtype), shape)
        yield written
        written.flush()
