"""TensorRT on an NVIDIA GPU: runs plans that `cardiacnets compile --engine tensorrt` built before.

A plan takes minutes to build, so an engine is never built where it should serve: without a plan it is refused.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np

from schemas.errors import EngineFailed, EngineUnavailable

from .choice_cache import digests
from .cuda_device import CudaDevice, find_model
from .options import EngineOptions, Precision
from .padded import PaddedEngine
from .plan_note import PlanKey, PlanNote
from .plan_store import PlanStore
from .protocol import Engine, Graph, Rows, file_or_content, name_of, wrapped_errors
from .regular_file import open_regular
from .tensorrt_build import Progress, build_plan
from .tensorrt_library import LibraryName, TensorRt, load_tensorrt

SUFFIXES: dict[Precision, str] = {"float32": "", "tf32": "-tf32", "float16": "-fp16"}


def engine_name(library: LibraryName, precision: Precision) -> str:
    """Return what the catalog calls the engine."""
    return library.replace("_", "-") + SUFFIXES[precision]


def open_tensorrt(library: LibraryName, graph: Graph, options: EngineOptions) -> Engine:
    """Return an engine that runs the plan that was built for a graph, a GPU and a precision.

    Raises:
        EngineUnavailable: there is no such plan, or it is stale; or the GPU or the library cannot be used.
    """
    name = engine_name(library, options.precision)
    loaded = load_tensorrt(library)
    key = _key(loaded, graph, options, _target(loaded, options, None))
    note, plan = PlanStore(options.cache_folder).find(key, name)
    rows = min(options.rows, note.key.rows)
    opened = partial(PlannedNetwork, name, loaded, plan, options.device)
    return PaddedEngine(name, opened, rows, options.smallest)


def build_tensorrt(
    library: LibraryName, graph: Graph, options: EngineOptions, gpu: str | None, tell: Progress
) -> PlanNote:
    """Build the plan for a graph, keep it, and return its note.

    Args:
        library: one of the two.
        graph: of the options' precision.
        options: the biggest batch, the precision, the GPU, and where plans are kept.
        gpu: the architecture to build for where this machine has no such GPU; RTX alone can.
        tell: is told of the progress.

    Raises:
        EngineUnavailable: see `build_plan`.
    """
    loaded, store = load_tensorrt(library), PlanStore(options.cache_folder)
    key = _key(loaded, graph, options, _target(loaded, options, gpu))
    begun = time.perf_counter()
    plan, measured = build_plan(
        loaded,
        _content(graph),
        precision=options.precision,
        rows=options.rows,
        gpu=key.gpu if loaded.is_rtx else None,
        timing=store.read_timing(loaded.version, key.gpu),
        tell=tell,
    )
    if measured:
        store.keep_timing(loaded.version, key.gpu, measured)
    return store.keep(key, plan, time.perf_counter() - begun)


class PlannedNetwork:
    """A plan on a GPU, with memory and a captured graph for each size of batches; see `FixedBatches`.

    Args:
        name: the engine's, for errors.
        library: that the plan was built by.
        plan: verified.
        device: number of the GPU.

    Raises:
        EngineUnavailable: the GPU cannot be used, or the library cannot open the plan.
    """

    def __init__(self, name: str, library: TensorRt, plan: bytes, device: int) -> None:
        self._name, self._library = name, library
        self._device = CudaDevice(device)
        self._runtime = library.api.Runtime(library.logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            self._device.close()
            raise EngineUnavailable(f"{name} cannot open its plan: {library.complaint()}")
        modes = {self._engine.get_tensor_name(number): number for number in range(self._engine.num_io_tensors)}
        is_input = {name: self._engine.get_tensor_mode(name) == library.api.TensorIOMode.INPUT for name in modes}
        (self._input,) = (name for name in modes if is_input[name])
        self.output_names = tuple(name for name in modes if not is_input[name])
        self.row_shape: tuple[int | None, ...] = tuple(self._engine.get_tensor_shape(self._input))[1:]
        self._sizes: dict[int, _Size] = {}

    def prepare(self, size: int) -> None:
        """Take memory for a size, run once, and capture the run."""
        self._sizes[size] = _Size(
            self._library, self._device, self._engine, source=self._input, outputs=self.output_names, size=size
        )

    def run(self, batch: Rows) -> dict[str, Rows]:
        """Return the outputs, copied from the memory that the GPU writes to."""
        return self._sizes[len(batch)].run(batch)

    def close(self) -> None:
        """Release contexts, plan and memory, in this order."""
        self._sizes.clear()
        del self._engine, self._runtime
        self._device.close()


class _Size:
    """The context, the memory and the captured run of one size of batches."""

    def __init__(
        self, library: TensorRt, device: CudaDevice, engine: Any, *, source: str, outputs: tuple[str, ...], size: int
    ) -> None:
        self._device = device
        self._context = _new_context(library, engine)
        if self._context is None or not self._context.set_optimization_profile_async(0, device.stream):
            raise EngineFailed(f"no context for batches of {size} rows: {library.complaint()}")
        device.wait()
        row = tuple(engine.get_tensor_shape(source))[1:]
        if not self._context.set_input_shape(source, (size, *row)):
            raise EngineFailed(f"batches of {size} rows are refused: {library.complaint()}")
        shapes = {name: (size, *tuple(engine.get_tensor_shape(name))[1:]) for name in outputs}
        self._batch, self._batch_there = device.pinned((size, *row)), device.memory((size, *row))
        self._answers = {name: device.pinned(shape) for name, shape in shapes.items()}
        self._answers_there = {name: device.memory(shape) for name, shape in shapes.items()}
        for name, address in {source: self._batch_there, **self._answers_there}.items():
            self._context.set_tensor_address(name, address)
        self._library = library
        self._batch[...] = 0
        self._enqueue()  # what a library does at the first run cannot be captured
        device.wait()
        self._begin = device.captured(self._enqueue)

    def run(self, batch: Rows) -> dict[str, Rows]:
        self._batch[...] = batch
        self._begin()
        self._device.wait()
        return {name: np.array(answer) for name, answer in self._answers.items()}

    def _enqueue(self) -> None:
        self._device.copy_in(self._batch_there, self._batch)
        if not self._context.execute_async_v3(int(self._device.stream)):
            raise EngineFailed(f"the batch cannot be run: {self._library.complaint()}")
        for name, answer in self._answers.items():
            self._device.copy_out(answer, self._answers_there[name])


def _new_context(library: TensorRt, engine: Any) -> Any:
    """Return a context. RTX's compiles its kernels for the shapes at once, for later it would do so while capturing."""
    if not library.is_rtx:
        return engine.create_execution_context()
    config = engine.create_runtime_config()
    config.dynamic_shapes_kernel_specialization_strategy = library.api.DynamicShapesKernelSpecializationStrategy.EAGER
    return engine.create_execution_context(config)


def _key(library: TensorRt, graph: Graph, options: EngineOptions, gpu: str) -> PlanKey:
    with wrapped_errors(EngineUnavailable, f"{name_of(graph)} cannot be read"):
        (digest,) = digests(graph)
    return PlanKey(
        graph=digest,
        precision=options.precision,
        library=library.version,
        gpu=gpu,
        rows=options.rows,
    )


def _target(library: TensorRt, options: EngineOptions, gpu: str | None) -> str:
    """Return what the plan is for: an architecture for RTX, a model for the library that tunes on the GPU itself."""
    if gpu is not None:
        return gpu
    model = find_model(options.device)
    return model.architecture if library.is_rtx else f"{model.name}, {model.architecture}"


def _content(graph: Graph) -> bytes:
    found = file_or_content(graph)
    if isinstance(found, bytes):
        return found
    with wrapped_errors(EngineUnavailable, f"{name_of(found)} cannot be read"), open_regular(found) as file:
        return file.read()
