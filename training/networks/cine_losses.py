"""What a drawn cine is compared by, beside its pixels."""

from __future__ import annotations

from torch import Tensor  # noqa: TID253 - a loss is torch
from torch.nn.functional import avg_pool3d, l1_loss  # noqa: TID253

POOL = (1, 2, 2)
AXES = (2, 3, 4)


def edge_loss(drawn: Tensor, true: Tensor) -> Tensor:
    """Return how much the steps between neighbours in time, down and across differ, at half the resolution.

    It stands in for the perceptual loss of the publication, whose network was trained on photographs: what counts in a
    cine is where its edges are and how they move. The mean of four pixels halves the scanner's noise, which nobody
    could predict.

    Args:
        drawn, true: (row, 1, frame, y, x).
    """
    drawn, true = avg_pool3d(drawn, POOL), avg_pool3d(true, POOL)
    losses = [l1_loss(drawn.diff(dim=axis), true.diff(dim=axis)) for axis in AXES]
    return losses[0] + losses[1] + losses[2]
