"""ONNX Runtime on an NVIDIA GPU: runs the graph as it is exported, with memory bound once and replayed CUDA graphs."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import numpy as np

from schemas.errors import EngineUnavailable

from .no_telemetry import forbid_telemetry
from .onnx_runtime import SessionGraph, free_or_fixed, quiet_options
from .options import EngineOptions, Precision
from .padded import PaddedEngine
from .protocol import Engine, Graph, Rows, file_or_content, name_of, wrapped_errors

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, IOBinding, OrtValue, RunOptions

CUDA = "CUDAExecutionProvider"
INSTALL = (
    "pip install 'cardiacnets[cuda]', then pip uninstall onnxruntime onnxruntime-gpu, which share a folder, and "
    "pip install 'onnxruntime-gpu[cuda,cudnn]'"
)
NAMES: dict[Precision, str] = {
    "float32": "onnxruntime-cuda",
    "tf32": "onnxruntime-cuda-tf32",
    "float16": "onnxruntime-cuda-fp16",
}


def open_onnx_runtime_cuda(graph: Graph, options: EngineOptions) -> Engine:
    """Return an engine that runs a graph by ONNX Runtime's CUDA provider.

    Raises:
        EngineUnavailable: also where ONNX Runtime would run the graph on the CPU. It falls back with no more than a
            line of its log, and every figure under the GPU's name would be a lie. A graph of which it would run parts
            on the CPU it refuses by itself, because such a graph cannot be captured.
    """
    name = NAMES[options.precision]

    def opened() -> BoundSession:
        return BoundSession(name, _open_session(name, graph, options, captured=True), "cuda", options.device)

    return PaddedEngine(name, opened, options.rows, options.smallest)


def open_onnx_runtime_cuda_graph(graph: Graph, options: EngineOptions) -> SessionGraph:
    """Return a graph of any inputs, opened on the GPU. Its shapes change from call to call, so nothing is captured.

    Raises:
        EngineUnavailable: as above.
    """
    name = NAMES[options.precision]
    return SessionGraph(name, _open_session(name, graph, options, captured=False))


class BoundSession:
    """A session whose inputs and outputs have memory on a device, bound once a size; see `FixedBatches`.

    Args:
        name: the engine's, for errors.
        session: of a graph with one float32 input.
        device: as ONNX Runtime names the place of the memory: `cuda`, or `cpu`.
        number: of the device.
    """

    def __init__(self, name: str, session: InferenceSession, device: str, number: int) -> None:
        self._session, self._place = session, (device, number)
        with wrapped_errors(EngineUnavailable, f"{name} takes networks of one input"):
            (self._input,) = session.get_inputs()
        self.row_shape = free_or_fixed(self._input.shape)[1:]
        self._shapes = {node.name: _row_shape(name, node.name, node.shape) for node in session.get_outputs()}
        self.output_names = tuple(self._shapes)
        self._bound: dict[int, _Bound] = {}

    def prepare(self, size: int) -> None:
        """Take memory on the device, and run twice: ONNX Runtime captures the second run of an identifier."""
        bound = _Bound(self._session, self._place, self._input.name, (size, *self.row_shape), self._shapes)
        for _ in range(2):
            bound.run(np.zeros((size, *(extent or 1 for extent in self.row_shape)), np.float32))
        self._bound[size] = bound

    def run(self, batch: Rows) -> dict[str, Rows]:
        """Return the outputs, copied from the device."""
        return self._bound[len(batch)].run(batch)

    def close(self) -> None:
        """Let go of the memory and the session."""
        self._bound.clear()
        del self._session


class _Bound:
    """The memory of one size of batches."""

    def __init__(
        self,
        session: InferenceSession,
        place: tuple[str, int],
        source: str,
        shape: tuple[int | None, ...],
        outputs: dict[str, tuple[int, ...]],
    ) -> None:
        forbid_telemetry()
        from onnxruntime import OrtValue

        size = shape[0]
        self._session = session
        self._input: OrtValue = OrtValue.ortvalue_from_shape_and_type(shape, np.float32, *place)
        self._outputs: dict[str, OrtValue] = {
            name: OrtValue.ortvalue_from_shape_and_type((size, *row), np.float32, *place)
            for name, row in outputs.items()
        }
        self._binding: IOBinding = session.io_binding()
        self._binding.bind_ortvalue_input(source, self._input)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)
        self._options = _run_options(str(size))

    def run(self, batch: Rows) -> dict[str, Rows]:
        self._input.update_inplace(batch)
        self._session.run_with_iobinding(self._binding, self._options)
        return {name: np.array(value.numpy()) for name, value in self._outputs.items()}


def _run_options(graph_id: str) -> RunOptions:
    forbid_telemetry()
    from onnxruntime import RunOptions

    options = RunOptions()
    options.add_run_config_entry("gpu_graph_id", graph_id)  # a captured graph for each size
    return options


def _open_session(name: str, graph: Graph, options: EngineOptions, *, captured: bool) -> InferenceSession:
    forbid_telemetry()
    import onnxruntime

    if CUDA not in onnxruntime.get_available_providers():
        raise EngineUnavailable(
            f"{name} needs ONNX Runtime for NVIDIA GPUs, and the one that is installed ({onnxruntime.__version__}) is "
            f"for processors: {INSTALL}"
        )
    with redirect_stdout(sys.stderr):  # it prints, and a program may read our output
        onnxruntime.preload_dlls()  # finds CUDA and cuDNN where pip put them
    settings = {
        "device_id": str(options.device),
        "enable_cuda_graph": "1" if captured else "0",
        "use_tf32": "1" if options.precision == "tf32" else "0",
        "cudnn_conv_algo_search": "HEURISTIC",  # the default tries all of them, for each size anew
    }
    with wrapped_errors(EngineUnavailable, f"{name} cannot open {name_of(graph)}"):
        model = file_or_content(graph)
        session = onnxruntime.InferenceSession(model, quiet_options(options.threads), providers=[(CUDA, settings)])
    _require_cuda(name, session)
    session.disable_fallback()
    return session


def _require_cuda(name: str, session: InferenceSession) -> None:
    if CUDA not in session.get_providers():
        raise EngineUnavailable(
            f"{name}: ONNX Runtime cannot use the GPU and would run on the CPU: it finds no driver, or not the CUDA "
            "and cuDNN that it was built for (pip install 'onnxruntime-gpu[cuda,cudnn]' brings both)"
        )


def _row_shape(engine: str, name: str, shape: list[int | str | None]) -> tuple[int, ...]:
    rows, *others = free_or_fixed(shape)
    fixed = tuple(size for size in others if size is not None)
    if rows is not None or len(fixed) != len(others):
        raise EngineUnavailable(f"{engine} needs outputs of which only the number of rows is free: {name} is {shape}")
    return fixed
