"""A GPU by `cuda-bindings`, NVIDIA's own thin layer: memory, a stream, and captured graphs. No torch.

Every function of CUDA answers an error code first; `_checked` turns one into a sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from schemas.errors import EngineFailed, EngineUnavailable

from .protocol import Rows, wrapped_errors

FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class GpuModel:
    """What a GPU is.

    Attributes:
        name: as its maker calls it.
        architecture: such as `SM90`.
    """

    name: str
    architecture: str


class CudaDevice:
    """One GPU and one stream of work on it. All calls come from the thread that made it.

    Args:
        number: of those that the process sees.

    Raises:
        EngineUnavailable: `cuda-bindings` is not installed, or there is no such GPU or no driver.
    """

    def __init__(self, number: int) -> None:
        with wrapped_errors(EngineUnavailable, "the GPU needs cuda-bindings (pip install 'cardiacnets[cuda]')"):
            from cuda.bindings import runtime
        self._api: Any = runtime
        self._freeing: list[Callable[[], object]] = []
        try:
            self._checked(runtime.cudaSetDevice(number))
            self.stream = self._checked(runtime.cudaStreamCreateWithFlags(runtime.cudaStreamNonBlocking))
        except EngineFailed as error:
            raise EngineUnavailable(f"GPU {number} cannot be used: {error}") from error
        self._freeing.append(lambda: runtime.cudaStreamDestroy(self.stream))

    def pinned(self, shape: tuple[int, ...]) -> Rows:
        """Return float32 memory of the host that the GPU copies from and to by itself."""
        size = prod(shape) * FLOAT_BYTES
        address = int(self._checked(self._api.cudaMallocHost(size)))
        self._freeing.append(lambda: self._api.cudaFreeHost(address))
        return _array_at(address, shape)

    def memory(self, shape: tuple[int, ...]) -> int:
        """Return the address of float32 memory on the GPU."""
        address = int(self._checked(self._api.cudaMalloc(prod(shape) * FLOAT_BYTES)))
        self._freeing.append(lambda: self._api.cudaFree(address))
        return address

    def copy_in(self, target: int, source: Rows) -> None:
        """Begin to copy to the GPU."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._checked(self._api.cudaMemcpyAsync(target, source.ctypes.data, source.nbytes, kind, self.stream))

    def copy_out(self, target: Rows, source: int) -> None:
        """Begin to copy from the GPU."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._checked(self._api.cudaMemcpyAsync(target.ctypes.data, source, target.nbytes, kind, self.stream))

    def wait(self) -> None:
        """Wait for what was begun."""
        self._checked(self._api.cudaStreamSynchronize(self.stream))

    def captured(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return a function that begins the work again as a whole: one call to the driver instead of hundreds."""
        api = self._api
        self._checked(
            api.cudaStreamBeginCapture(self.stream, api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        )
        try:
            work()
        finally:
            ended = api.cudaStreamEndCapture(self.stream)
        graph = self._checked(ended)
        launched = self._checked(api.cudaGraphInstantiate(graph, 0))
        self._checked(api.cudaGraphDestroy(graph))
        self._freeing.append(lambda: api.cudaGraphExecDestroy(launched))

        def begin() -> None:
            self._checked(api.cudaGraphLaunch(launched, self.stream))

        return begin

    def close(self) -> None:
        """Release what was taken, the latest first."""
        while self._freeing:
            self._freeing.pop()()

    def _checked(self, answer: tuple[Any, ...]) -> Any:
        return checked(self._api, answer)


def checked(api: Any, answer: tuple[Any, ...]) -> Any:
    """Return what a function of CUDA answered besides its error code.

    Raises:
        EngineFailed: the code is one of an error.
    """
    code, *values = answer
    if code != api.cudaError_t.cudaSuccess:
        _, text = api.cudaGetErrorString(code)
        said = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        raise EngineFailed(f"{said} ({code.name})")
    return values[0] if values else None


def find_model(number: int) -> GpuModel:
    """Return what a GPU is.

    Raises:
        EngineUnavailable: as `CudaDevice`.
    """
    with wrapped_errors(EngineUnavailable, "the GPU needs cuda-bindings (pip install 'cardiacnets[cuda]')"):
        from cuda.bindings import runtime
    try:
        found = checked(runtime, runtime.cudaGetDeviceProperties(number))
    except EngineFailed as error:
        raise EngineUnavailable(f"GPU {number} cannot be used: {error}") from error
    name = found.name.decode(errors="replace").strip("\0")
    return GpuModel(name, f"SM{found.major}{found.minor}")


def _array_at(address: int, shape: tuple[int, ...]) -> Rows:
    import ctypes

    return np.ctypeslib.as_array((ctypes.c_float * prod(shape)).from_address(address)).reshape(shape)
