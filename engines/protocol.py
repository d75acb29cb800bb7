"""What an engine is: a compiled network that answers batches of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from schemas.errors import CardiacNetsError, EngineFailed

Rows: TypeAlias = NDArray[np.float32]
"""float32 (rows, …): the first axis counts rows, the others are the network's."""


@dataclass(frozen=True, slots=True)
class MadeGraph:
    """A graph that is put together when it is needed.

    Attributes:
        fingerprint: 64 hexadecimal digits that follow from what the graph is made of. The content's own digest will not
            do: the last bits of a constant that is computed depend on the processor.
        make: returns the content.
    """

    fingerprint: str
    make: Callable[[], bytes]


Graph: TypeAlias = Path | bytes | MadeGraph
"""An ONNX file, or its content: whoever has verified a content hands that over, for a file may change meanwhile."""


@dataclass(frozen=True, slots=True)
class Graphs:
    """One network's graphs, by what they compute in. An engine takes the one that it needs."""

    float32: Graph
    float16: Graph | None = None


def name_of(graph: Graph) -> str:
    """Return what an error calls a graph."""
    return str(graph) if isinstance(graph, Path) else "the graph"


def file_or_content(graph: Graph) -> Path | bytes:
    """Return what a library can open. A graph that is made on demand is made now."""
    return graph.make() if isinstance(graph, MadeGraph) else graph


class Engine(Protocol):
    """One network, compiled by one library, on one device.

    An engine is opened by its constructor, from an ONNX graph: one float32 input whose first axis (rows) is
    dynamic and whose other axes are fixed, and outputs whose first axis is the same rows. Whatever the library raises
    there, a missing library included, is wrapped as `EngineUnavailable` with its cause.

    `run` and `warm_up` may be called from any thread, one call at a time or several: an engine that cannot run
    concurrent calls makes them wait for each other. `close` never waits for a call that runs.
    """

    @property
    def name(self) -> str:
        """The name in the catalog, such as `"onnxruntime"`."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """The graph's outputs, in the graph's order; the keys of what `run` returns."""

    def run(self, inputs: Rows) -> dict[str, Rows]:
        """Return every output for every row, in the order of the rows.

        The caller owns the arrays: none is a view of the inputs or of memory that a later call writes to. The inputs
        are only read, during the call only, and need not be contiguous.

        Args:
            inputs: float32 (rows, …), at least one row; any number of rows works, without recompiling for seconds.

        Raises:
            EngineFailed: wrong shape or type, a closed engine, or whatever the library raised (as the cause).
        """

    def warm_up(self, rows: int) -> None:
        """Do now what the first call would otherwise be slow for, for batches of up to `rows` rows.

        Raises:
            EngineFailed: as `run` does.
        """

    def close(self) -> None:
        """Release memory and device; calling it again does nothing."""


class OpenedGraph(Protocol):
    """A graph of any inputs, opened by one library on one device. Calls may come from any thread.

    Attributes:
        input_shapes, output_shapes: in the graph's order; None stands for an axis of any extent.
    """

    input_shapes: tuple[tuple[int | None, ...], ...]
    output_shapes: tuple[tuple[int | None, ...], ...]

    def run(self, *inputs: NDArray[Any]) -> tuple[Rows, ...]:
        """Return the outputs, in the graph's order, for inputs in the graph's order.

        Raises:
            EngineFailed: whatever the library raised (as the cause).
        """


def check_inputs(engine: str, inputs: Rows, row_shape: Sequence[int | None]) -> None:
    """Refuse inputs that the network was not compiled for.

    Args:
        engine: the name for the error's sentence.
        inputs: what was handed to `run`.
        row_shape: the axes after the first; None where any size will do.

    Raises:
        EngineFailed: says what was expected and what came.
    """
    shape = np.shape(inputs)
    fits = len(shape) == 1 + len(row_shape) and all(
        expected in (None, actual) for expected, actual in zip(row_shape, shape[1:], strict=True)
    )
    if not fits or shape[0] < 1:
        expected = ", ".join(["rows ≥ 1", *("any" if size is None else str(size) for size in row_shape)])
        raise EngineFailed(f"{engine} takes inputs of shape ({expected}), not {shape}")
    if getattr(inputs, "dtype", None) != np.float32:
        raise EngineFailed(f"{engine} takes float32, not {getattr(inputs, 'dtype', type(inputs).__name__)}")


@contextmanager
def wrapped_errors(kind: type[CardiacNetsError], sentence: str) -> Iterator[None]:
    """Raise whatever a library raises as `kind`, with the library's error as its cause."""
    try:
        yield
    except CardiacNetsError:
        raise
    except Exception as error:
        raise kind(f"{sentence}: {error}") from error
