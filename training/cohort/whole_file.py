"""Arrays as files that are whole or not there, whenever the process is killed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from engines.whole_file import whole_file
from schemas.errors import InvalidSettings


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as NumPy's `save` does."""
    with whole_file(path) as unfinished, unfinished.open("wb") as file:  # given a path, `save` would add a suffix to it
        np.save(file, array, allow_pickle=False)


@contextmanager
def write_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> Iterator[NDArray[Any]]:
    """Yield an array to fill, mapped into memory. It lies at `path` when the block has ended.

    Raises:
        InvalidSettings: there is no room for it.
    """
    check_room(path, math.prod(shape) * np.dtype(dtype).itemsize)
    with whole_file(path) as unfinished:
        written = np.lib.format.open_memmap(unfinished, "w+", np.dtype(dtype), shape)
        yield written
        written.flush()


def check_room(destination: Path, size: int) -> None:
    """Refuse what the disk cannot hold. A mapped array on a full disk would end its process without an error.

    Raises:
        InvalidSettings: there are fewer bytes free than `size`.
    """
    there = next(folder for folder in (destination.resolve(), *destination.resolve().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise InvalidSettings(f"{destination} needs {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free")
