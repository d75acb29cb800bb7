"""The first principal axes of a large table, by a randomised singular value decomposition."""

from __future__ import annotations

from typing import NamedTuple

import torch  # noqa: TID253 - on what networks answer
from torch import Tensor  # noqa: TID253

OVERSAMPLING, POWER_ITERATIONS = 32, 3
"""See Halko, Martinsson and Tropp, SIAM Review 2011."""


class PrincipalAxes(NamedTuple):
    """The mean (value,), the orthonormal axes (value, k), and the variances (k,) along them."""

    mean: Tensor
    axes: Tensor
    variances: Tensor


def find_axes(table: Tensor, count: int, seed: int) -> PrincipalAxes:
    """Return the axes of (row, value): fewer than `count` where rows or values are fewer.

    Args:
        table: is centred in place, since a second one would not always fit beside it.
        count: of axes.
        seed: of the random directions that the search begins with.
    """
    mean = table.mean(dim=0)
    table -= mean
    count = max(1, min(count, len(table) - 1, table.shape[1]))  # one direction was lost with the mean
    torch.manual_seed(seed)
    rank = min(count + OVERSAMPLING, *table.shape)
    _, spread, axes = torch.svd_lowrank(table, q=rank, niter=POWER_ITERATIONS)
    return PrincipalAxes(mean, axes[:, :count].contiguous(), spread[:count].square() / len(table))
