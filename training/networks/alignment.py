"""Aligns ECG and CMR of the same heart: the weighted contrastive loss, and the projection on the CMR side.

Ding et al., arXiv 2411.13602: symmetric InfoNCE in which each negative's exp-similarity is multiplied by
W_ik = 1 − exp(−‖φ_i − φ_k‖² / σ²): hearts that look alike are not pushed apart.
"""

from __future__ import annotations

import torch  # noqa: TID253 - a network is torch
from torch import Tensor  # noqa: TID253
from torch.nn.functional import cross_entropy  # noqa: TID253

from inference.models.heads import AlignmentHead
from inference.models.standardiser import Standardiser

TEMPERATURE = 0.05
SIGMA = 0.5
N_COMPONENTS = 128


def weigh_negatives(components: Tensor, sigma: float = SIGMA) -> Tensor:
    """Return W (row, row) in [0, 1] for φ (row, component): 0 between twins, near 1 between strangers."""
    return 1 - torch.exp(-torch.cdist(components, components).square() / sigma**2)


def contrast(ecg: Tensor, cmr: Tensor, weights: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return the weighted symmetric InfoNCE, a scalar.

    Args:
        ecg: (row, 256) of length 1.
        cmr: (row, 256) of length 1, of the same hearts.
        weights: (row, row) in [0, 1], of the negatives; the diagonal is not read.
        temperature: divides the cosines.
    """
    # a weight on exp(s) is a summand on s; a weight of 0 is minus infinity, which leaves the negative out
    summands = weights.log().fill_diagonal_(0)
    cosines = ecg @ cmr.T / temperature
    pairs = torch.arange(len(ecg), device=ecg.device)
    return (cross_entropy(cosines + summands, pairs) + cross_entropy(cosines.T + summands, pairs)) / 2


class CmrProjection(Standardiser):
    """From the frozen CMR encoder's features to the shared sphere: standardised, then projected.

    The frozen features of all hearts are much alike, so they are standardised by the mean and deviation of the training
    fold. That is linear, and so a part of the published projection.
    """

    def __init__(self, n_features: int) -> None:
        super().__init__(n_features)
        self.head = AlignmentHead(n_features)

    def forward(self, features: Tensor) -> Tensor:
        """Return (row, 256) of length 1 for (row, feature)."""
        projected: Tensor = self.head(super().forward(features))
        return projected
