"""Arrays that are computed once and kept: whole or not there, and refused where the disk has no room for them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import DTypeLike, NDArray

from .cohort.writer import check_room


@contextmanager
def write_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> Iterator[NDArray[Any]]:
    """Yield an array to fill, mapped into memory; it lies at `path` when the block has ended.

    Raises:
        InvalidSettings: there is no room for it.
    """
    for left in path.parent.glob(f"{path.name}.*.partial"):
        if not psutil.pid_exists(int(left.suffixes[-2][1:])):  # of a process that was killed at it
            left.unlink(missing_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")  # half a file must never be taken for a whole one
    check_room(path, math.prod(shape) * np.dtype(dtype).itemsize)
    written = np.lib.format.open_memmap(partial, "w+", np.dtype(dtype), shape)
    yield written
    written.flush()
    partial.rename(path)
