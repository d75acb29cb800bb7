"""OpenVINO on the CPU: compiles the graph for the machine's instruction set, in float32 or bfloat16."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.errors import EngineFailed, EngineUnavailable

from .no_telemetry import forbid_telemetry
from .options import EngineOptions, Precision
from .protocol import Graph, Rows, check_inputs, file_or_content, name_of, wrapped_errors

if TYPE_CHECKING:
    from openvino import CompiledModel, InferRequest

HINTS: Mapping[Precision, str] = MappingProxyType({"float32": "f32", "bfloat16": "bf16"})
"""What OpenVINO calls a precision."""

MAX_STREAMS = 4
MIN_ROWS_A_STREAM = 4
PARTS_A_STREAM = 12
"""A big batch goes to the streams in small parts: whichever core is free takes the next."""


class OpenVinoEngine:
    """Runs a graph by OpenVINO; see `Engine`. Concurrent calls wait for each other.

    The graph is compiled twice: once so that one call uses all threads, for small batches, and once into streams that
    take the parts of a big batch. Measured on two cores: a lone row is 1.5 times quicker the first way (threads meet
    after every operation); 24 rows are 3 % quicker the second way on idle cores, and 10-17 % when decoding and
    preprocessing share the cores (streams never wait for each other, and a part of a row is small).

    Raises:
        EngineUnavailable: also where bfloat16 is asked for and the CPU has none. OpenVINO would silently compute in
            float32 there, and every figure under the name of bfloat16 would be a lie.
    """

    def __init__(self, graph: Graph, options: EngineOptions) -> None:
        hint, threads = HINTS[options.precision], options.threads
        self.name = "openvino" if hint == "f32" else f"openvino-{hint}"
        streams = min(threads, MAX_STREAMS)
        with wrapped_errors(EngineUnavailable, f"{self.name} cannot open {name_of(graph)}"):
            core = _core()
            if hint == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
                raise EngineUnavailable(f"{self.name}: this CPU computes no bfloat16; use openvino")
            model = core.read_model(file_or_content(graph))
            whole, *parts = (
                core.compile_model(model, "CPU", _properties(threads, count, hint)) for count in sorted({1, streams})
            )
            self._one: list[InferRequest] = [whole.create_infer_request()]
            self._many: list[InferRequest] = [
                part.create_infer_request() for part in parts for _ in range(streams * PARTS_A_STREAM)
            ]
        self._streams = streams
        self.output_names = tuple(output.any_name for output in model.outputs)
        self._row_shape = _row_shape(whole)
        self._lock = Lock()

    def run(self, inputs: Rows) -> dict[str, Rows]:
        """Return every output for every row; see `Engine.run`."""
        check_inputs(self.name, inputs, self._row_shape)
        with self._lock, wrapped_errors(EngineFailed, f"{self.name} failed"):
            requests = self._requests(len(inputs))
            _infer(requests, np.require(inputs, requirements=["C", "W"]))  # a tensor over read-only memory is refused
            return {name: _joined(requests, index) for index, name in enumerate(self.output_names)}

    def warm_up(self, rows: int) -> None:
        """Run the smallest and the biggest batch, so that both ways are compiled for their shapes."""
        row = tuple(size or 1 for size in self._row_shape)
        for count in {1, rows}:
            self.run(np.zeros((count, *row), np.float32))

    def close(self) -> None:
        """Let go of the compiled graphs; a call that runs keeps its own until it ends."""
        self._one, self._many = [], []

    def _requests(self, rows: int) -> list[InferRequest]:
        one, many = self._one, self._many
        if not one:
            raise EngineFailed(f"{self.name} was closed")
        return many[:rows] if many and rows >= MIN_ROWS_A_STREAM * self._streams else one


@cache
def _core() -> Any:
    """Return the process's one core, which is never let go.

    Each core gives the thread that makes it a stack for signals, and takes that away when it goes. Of several, the
    thread is left with a stack that is gone, and dies of the next signal: of SIGTERM, instead of shutting down.
    """
    forbid_telemetry()
    import openvino

    return openvino.Core()


def _properties(threads: int, streams: int, hint: str) -> dict[str, str | int | bool]:
    return {
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": hint,
        "ENABLE_CPU_PINNING": False,  # two workers on a machine would be pinned to the same cores
    }


def _row_shape(compiled: CompiledModel) -> tuple[int | None, ...]:
    (source,) = compiled.inputs
    return tuple(size.get_length() if size.is_static else None for size in list(source.partial_shape)[1:])


def _infer(requests: list[InferRequest], inputs: Rows) -> None:
    from openvino import Tensor

    parts = np.array_split(inputs, len(requests))
    started: list[InferRequest] = []
    try:
        for request, part in zip(requests, parts, strict=True):
            request.start_async({0: Tensor(part, shared_memory=True)})
            started.append(request)
    finally:  # all must have ended before the inputs may go, also when one failed
        failures = [failure for request in started if (failure := _failure(request))]
    if failures:
        raise failures[0]


def _failure(request: InferRequest) -> Exception | None:
    """Wait until the request has ended; return its error, if it failed."""
    try:
        request.wait()
    except Exception as error:  # noqa: BLE001  raised by the caller
        return error
    return None


def _joined(requests: list[InferRequest], index: int) -> Rows:
    """Return one output of all parts, copied: the requests' own memory is overwritten by the next call."""
    return np.concatenate([request.get_output_tensor(index).data for request in requests])
