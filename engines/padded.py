"""Any batch on a device that knows a few sizes of batches: a batch is cut, and its last part padded.

A GPU is quick if what it does is captured once and then replayed, and a captured graph has a fixed number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from schemas.errors import EngineFailed, EngineUnavailable

from .protocol import Rows, check_inputs, wrapped_errors


class FixedBatches(Protocol):
    """A network on a device that answers batches of prepared sizes. One thread makes, calls and closes it."""

    output_names: tuple[str, ...]
    row_shape: tuple[int | None, ...]

    def prepare(self, size: int) -> None:
        """Take memory for batches of this size, and capture what the device has to do."""

    def run(self, batch: Rows) -> dict[str, Rows]:
        """Return every output for every row of a batch of a prepared size. The caller owns the arrays."""

    def close(self) -> None:
        """Release what the device holds."""


class PaddedEngine:
    """An engine over a network that answers batches of fixed sizes; see `Engine`. Calls wait for each other.

    One thread of its own does all that concerns the device: drivers keep contexts and captured graphs by thread. What
    it is given is done in order, so closing comes after a call that runs, and waits for nobody.

    Args:
        name: the engine's, in the catalog.
        opened: opens the network.
        rows: the biggest size. A bigger batch is answered in parts.
        smallest: the smallest size.

    Raises:
        EngineUnavailable: the network cannot be opened, or has an axis of any extent besides the rows.
    """

    def __init__(self, name: str, opened: Callable[[], FixedBatches], rows: int, smallest: int) -> None:
        self.name = name
        self.sizes = sizes_up_to(rows, smallest)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._prepared: set[int] = set()
        self._closed = False
        try:
            self._network = self._thread.submit(opened).result()
            self._row_shape = _fixed(name, self._network.row_shape)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        self.output_names = self._network.output_names

    def run(self, inputs: Rows) -> dict[str, Rows]:
        """Return every output for every row; see `Engine.run`."""
        check_inputs(self.name, inputs, self._row_shape)
        return self._call(lambda: self._run(inputs))

    def warm_up(self, rows: int) -> None:
        """Prepare the sizes of batches of up to `rows` rows, and run each."""
        for size in self.sizes:
            if size <= rows or size == size_for(rows, self.sizes):
                self.run(np.zeros((size, *self._row_shape), np.float32))

    def close(self) -> None:
        """Let go of the network, after the call that runs."""
        if not self._closed:
            self._closed = True
            self._thread.submit(self._network.close)
            self._thread.shutdown(wait=False)

    def _call(self, work: Callable[[], dict[str, Rows]]) -> dict[str, Rows]:
        if self._closed:
            raise EngineFailed(f"{self.name} was closed")
        with wrapped_errors(EngineFailed, f"{self.name} failed"):
            try:
                answer = self._thread.submit(work)
            except RuntimeError as error:  # it was closed meanwhile
                raise EngineFailed(f"{self.name} was closed") from error
            return answer.result()

    def _run(self, inputs: Rows) -> dict[str, Rows]:
        parts = [self._run_part(inputs[part], size) for part, size in parts_of(len(inputs), self.sizes)]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.output_names}

    def _run_part(self, rows: Rows, size: int) -> dict[str, Rows]:
        if size not in self._prepared:
            self._network.prepare(size)
            self._prepared.add(size)
        batch = np.ascontiguousarray(rows)
        if len(rows) < size:
            batch = np.zeros((size, *self._row_shape), np.float32)
            batch[: len(rows)] = rows
        return {name: output[: len(rows)] for name, output in self._network.run(batch).items()}


def sizes_up_to(rows: int, smallest: int) -> tuple[int, ...]:
    """Return the sizes of batches: the biggest, its half, and so on, so that at most half of a batch is padding."""
    sizes = [rows]
    while sizes[-1] > smallest:
        sizes.append(max(smallest, (sizes[-1] + 1) // 2))
    return tuple(reversed(sizes))


def size_for(rows: int, sizes: tuple[int, ...]) -> int:
    """Return the smallest size that holds so many rows, or the biggest of all."""
    return next((size for size in sizes if size >= rows), sizes[-1])


def parts_of(rows: int, sizes: tuple[int, ...]) -> Iterator[tuple[slice, int]]:
    """Yield the parts of a batch, each with the size that it is padded to."""
    for start in range(0, rows, sizes[-1]):
        stop = min(rows, start + sizes[-1])
        yield slice(start, stop), size_for(stop - start, sizes)


def _fixed(name: str, row_shape: tuple[int | None, ...]) -> tuple[int, ...]:
    fixed = tuple(size for size in row_shape if size is not None)
    if len(fixed) != len(row_shape):
        raise EngineUnavailable(f"{name} needs a graph in which only the number of rows is free: {row_shape} is not")
    return fixed
