"""Numbers brought to mean 0 and deviation 1, as a part of a network."""

from __future__ import annotations

import torch  # noqa: TID253 - a network is torch
from torch import Tensor, nn  # noqa: TID253

SMALLEST_DEVIATION = 1e-6


class Standardiser(nn.Module):
    """Standardises by what it was fitted on; until then it changes nothing."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    def fit_scale(self, values: Tensor) -> None:
        """Take the mean and the deviation of the training fold's values (row, size)."""
        self.mean.copy_(values.mean(dim=0))
        self.deviation.copy_(values.std(dim=0, correction=0).clamp_min(SMALLEST_DEVIATION))

    def forward(self, values: Tensor) -> Tensor:
        """Return (row, size) for the same."""
        return (values - self.mean) / self.deviation
