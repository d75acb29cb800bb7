"""Losses of drawn cines beside the loss of their pixels."""

from __future__ import annotations

from einops import reduce
from torch import Tensor  # noqa: TID253 - a loss is torch
from torch.nn.functional import l1_loss  # noqa: TID253

POOL = "row one frame (y 2) (x 2) -> row one frame y x"
"""By a mean, which on a GPU is reproducible; `avg_pool3d` is not, and refuses to learn deterministically."""
AXES = (2, 3, 4)


def edge_loss(drawn: Tensor, true: Tensor) -> Tensor:
    """Return how much the steps between neighbours in time, down and across differ, at half the resolution.

    It replaces the perceptual loss of the publication, whose network was trained on photographs. Edges and their
    movement count in a cine. The mean of four pixels halves the noise of the scanner, which cannot be predicted.

    Args:
        drawn, true: (row, 1, frame, y, x).
    """
    drawn, true = reduce(drawn, POOL, "mean"), reduce(true, POOL, "mean")
    losses = [l1_loss(drawn.diff(dim=axis), true.diff(dim=axis)) for axis in AXES]
    return losses[0] + losses[1] + losses[2]
