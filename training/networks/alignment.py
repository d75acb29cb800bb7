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


def contrast(
    ecg: Tensor, cmr: Tensor, weights: Tensor, temperature: float = TEMPERATURE, counted: Tensor | None = None
) -> Tensor:
    """Return the weighted symmetric InfoNCE, a scalar.

    Args:
        ecg: (row, 256) of length 1.
        cmr: (row, 256) of length 1, of the same hearts.
        weights: (row, row) in [0, 1], of the negatives; the diagonal is not read.
        temperature: divides the cosines.
        counted: (row,) bool, the pairs that count; the others are nobody's negatives and have no loss. They are masked
            and not taken out: how many they are is known on the device alone, and the step does not wait for it.
    """
    # a weight on exp(s) is a summand on s; a weight of 0 is minus infinity, which leaves the negative out
    summands = weights.log()
    if counted is not None:
        summands = summands.masked_fill(~counted, -torch.inf)
    summands = summands.fill_diagonal_(0)
    cosines = ecg @ cmr.T / temperature
    pairs = torch.arange(len(ecg), device=ecg.device)
    losses = [cross_entropy(seen + summands, pairs, reduction="none") for seen in (cosines, cosines.T)]
    return masked_mean((losses[0] + losses[1]) / 2, counted)


def masked_mean(losses: Tensor, known: Tensor | None) -> Tensor:
    """Return the mean of what is known, all of it where `known` is None; 0 where nothing is."""
    if known is None:
        return losses.mean()
    return (losses * known).sum() / known.sum().clamp_min(1)


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
