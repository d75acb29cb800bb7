"""The first principal axes of a large table, by a randomised singular value decomposition."""

from __future__ import annotations

import torch  # noqa: TID253 - on what networks answer
from torch import Tensor, nn  # noqa: TID253

OVERSAMPLING, POWER_ITERATIONS = 32, 3
"""See Halko, Martinsson and Tropp, SIAM Review 2011."""


class PrincipalAxes(nn.Module):
    """Projects values on orthonormal axes through their mean."""

    mean: Tensor
    axes: Tensor

    def __init__(self, size: int, count: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("axes", torch.zeros(size, count))

    @property
    def count(self) -> int:
        """How many axes there are."""
        return self.axes.shape[1]

    def forward(self, values: Tensor) -> Tensor:
        """Return (…, count) for (…, size)."""
        return (values - self.mean) @ self.axes


def find_axes(table: Tensor, count: int, seed: int) -> tuple[PrincipalAxes, Tensor]:
    """Return the first axes of (row, value), fewer where rows or values are fewer, and the variances along them.

    Args:
        table: is centred in place, as memory may not hold a second one.
        count: of axes.
        seed: of the random directions that the search begins with.
    """
    mean = table.mean(dim=0)
    table -= mean
    count = max(1, min(count, len(table) - 1, table.shape[1]))  # one direction was lost with the mean
    torch.manual_seed(seed)
    rank = min(count + OVERSAMPLING, *table.shape)
    _, spread, axes = torch.svd_lowrank(table, q=rank, niter=POWER_ITERATIONS)
    found = PrincipalAxes(table.shape[1], count)
    found.mean.copy_(mean)
    found.axes.copy_(axes[:, :count])
    return found, spread[:count].square() / len(table)
