"""The heads on the encoder's vector: risks, phenotypes, subtype, and the embedding that is shared with cardiac MR."""

from __future__ import annotations

from torch import Tensor, nn  # noqa: TID253 - a network is torch
from torch.nn.functional import normalize  # noqa: TID253

from schemas.messages import EMBEDDING_SIZE

N_PHENOTYPES = 82
N_DISEASES = 5
N_SUBTYPES = 3
CONSTANT_EMBEDDING_BIAS = EMBEDDING_SIZE**-0.5
"""The bias of a projection that learned nothing. Zeros would have no direction, and every readout would fail."""


def disease_head(width: int) -> nn.Linear:
    """Return width → 5 logits, one for each disease, each trained by binary cross-entropy."""
    return nn.Linear(width, N_DISEASES)


def subtype_head(width: int) -> nn.Linear:
    """Return width → 3 logits of one softmax: restrictive, dilated, hypertrophic cardiomyopathy."""
    return nn.Linear(width, N_SUBTYPES)


def phenotype_head(width: int) -> nn.Sequential:
    """Return width → 256 → 128 → 82 z-scores of UK Biobank fields 24100-24181."""
    return nn.Sequential(nn.Linear(width, 256), nn.GELU(), nn.Linear(256, 128), nn.GELU(), nn.Linear(128, N_PHENOTYPES))


class AlignmentHead(nn.Module):
    """Projects onto the unit sphere on which ECG and cardiac MR of one heart lie close together."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, EMBEDDING_SIZE)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return (row, 256) of length 1 for (row, width)."""
        return normalize(self.projection(pooled), dim=-1)
