"""ONNX Runtime on the CPU: runs everywhere, needs no compiling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import EngineFailed, EngineUnavailable

from .no_telemetry import forbid_telemetry
from .options import EngineOptions
from .protocol import Graph, Rows, check_inputs, file_or_content, name_of, wrapped_errors

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

ERRORS_ONLY = 3


class OnnxRuntimeEngine:
    """Runs a graph by ONNX Runtime; see `Engine`. Concurrent calls are safe and share its threads."""

    name = "onnxruntime"

    def __init__(self, graph: Graph, options: EngineOptions) -> None:
        with wrapped_errors(EngineUnavailable, f"onnxruntime cannot open {name_of(graph)}"):
            self._session: InferenceSession | None = _open_session(graph, options.threads)
            (source,) = self._session.get_inputs()
            self.output_names = tuple(output.name for output in self._session.get_outputs())
        self._input: str = source.name
        self._row_shape = free_or_fixed(source.shape)[1:]

    def run(self, inputs: Rows) -> dict[str, Rows]:
        """Return every output for every row; see `Engine.run`."""
        check_inputs(self.name, inputs, self._row_shape)
        session = self._session
        if session is None:
            raise EngineFailed("onnxruntime was closed")
        with wrapped_errors(EngineFailed, "onnxruntime failed"):
            outputs = session.run(self.output_names, {self._input: np.ascontiguousarray(inputs)})
        return dict(zip(self.output_names, outputs, strict=True))

    def warm_up(self, rows: int) -> None:
        """Run once, so that memory for `rows` rows is there."""
        self.run(np.zeros((rows, *(size or 1 for size in self._row_shape)), np.float32))

    def close(self) -> None:
        """Let go of the session."""
        self._session = None


class SessionGraph:
    """A graph of any inputs in a session of ONNX Runtime, on whatever device; see `OpenedGraph`.

    Args:
        name: the engine's.
        session: of the graph.
    """

    def __init__(self, name: str, session: InferenceSession) -> None:
        self._name, self._session = name, session
        inputs, outputs = session.get_inputs(), session.get_outputs()
        self._names = [node.name for node in inputs]
        self.input_shapes = tuple(free_or_fixed(node.shape) for node in inputs)
        self.output_shapes = tuple(free_or_fixed(node.shape) for node in outputs)

    def run(self, *inputs: NDArray[Any]) -> tuple[Rows, ...]:
        """Return the outputs; see `OpenedGraph.run`."""
        with wrapped_errors(EngineFailed, f"{self._name} failed"):
            return tuple(self._session.run(None, dict(zip(self._names, inputs, strict=True))))


def open_onnx_runtime_graph(graph: Graph, options: EngineOptions) -> SessionGraph:
    """Return a graph of any inputs, opened on the CPU.

    Raises:
        EngineUnavailable: ONNX Runtime is not installed, or cannot load the graph.
    """
    with wrapped_errors(EngineUnavailable, f"onnxruntime cannot open {name_of(graph)}"):
        return SessionGraph("onnxruntime", _open_session(graph, options.threads))


def quiet_options(threads: int) -> SessionOptions:
    """Return options of a session that is quiet, tells nobody of it, and leaves waiting cores to others."""
    forbid_telemetry()
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    # Threads that spin while they wait are 10-20 % quicker on idle cores, and 15-40 % slower when decoding and
    # preprocessing share the cores, as they do in a worker.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _open_session(graph: Graph, threads: int) -> InferenceSession:
    options = quiet_options(threads)
    import onnxruntime

    return onnxruntime.InferenceSession(file_or_content(graph), options, providers=["CPUExecutionProvider"])


def free_or_fixed(sizes: list[int | str | None]) -> tuple[int | None, ...]:
    """Return a shape with None for each axis of any extent. ONNX Runtime names such axes."""
    return tuple(size if isinstance(size, int) else None for size in sizes)
