"""The reference engine: runs a torch module as it is; every other engine is checked against it.

On a GPU too: there it computes in float32, without TF32, and is what the engines of the GPU are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from schemas.errors import EngineFailed, EngineUnavailable

from .protocol import Rows, check_inputs, wrapped_errors

if TYPE_CHECKING:
    from torch import nn


TORCH, TORCH_CUDA = "torch", "torch-cuda"
TORCH_ENGINES = (TORCH, TORCH_CUDA)


class TorchEngine:
    """Runs an `nn.Module` that takes rows and returns a dict of tensors; see `Engine`.

    It is not in the catalog: it needs the module's code, where the others need only the graph.

    Args:
        module: put in evaluation mode, and on the device, here.
        output_names: the keys of the module's answer to return.
        row_shape: the axes after the first, where inputs shall be checked and the engine warmed up.
        threads: torch keeps this number for the whole process; None leaves it alone.
        device: as torch names it. On `cuda`, TF32 is switched off for the whole process.

    Raises:
        EngineUnavailable: torch or the device cannot be used.
    """

    def __init__(
        self,
        module: nn.Module,
        output_names: Sequence[str],
        *,
        row_shape: Sequence[int] | None = None,
        threads: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.name = TORCH if device == "cpu" else TORCH_CUDA
        with wrapped_errors(EngineUnavailable, f"{self.name} cannot be used"):
            import torch

            if device != "cpu":
                _require_gpu()
            module = module.to(device) if device != "cpu" else module
        if threads is not None:
            torch.set_num_threads(threads)
        self.output_names = tuple(output_names)
        self._module: nn.Module | None = module.eval()
        self._device = device
        self._row_shape = None if row_shape is None else tuple(row_shape)

    def run(self, inputs: Rows) -> dict[str, Rows]:
        """Return every output for every row; see `Engine.run`."""
        import torch

        check_inputs(self.name, inputs, self._row_shape or (None,) * (np.ndim(inputs) - 1))
        module = self._module
        if module is None:
            raise EngineFailed("torch was closed")
        with wrapped_errors(EngineFailed, "torch failed"), torch.inference_mode():
            outputs = module(torch.tensor(np.ascontiguousarray(inputs), device=self._device))
            return {name: np.array(outputs[name].numpy(force=True), dtype=np.float32) for name in self.output_names}

    def warm_up(self, rows: int) -> None:
        """Run once, where the shape of a row is known: torch compiles nothing, only memory warms."""
        if self._row_shape is not None:
            self.run(np.zeros((rows, *self._row_shape), np.float32))

    def close(self) -> None:
        """Let go of the module."""
        self._module = None


def _require_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        why = "was built for the CPU" if torch.version.cuda is None else "finds no NVIDIA GPU, or no driver for it"
        raise EngineUnavailable(f"{TORCH_CUDA} cannot be used: torch {torch.__version__} {why}")
    # cuDNN's convolutions take TF32 unless told not to, and it is off by more than float32 may be.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
