"""The network that scores whether the leads of a beat are what they are called, for learning; NumPy serves it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch  # noqa: TID253 - a network is torch
from torch import Tensor, nn  # noqa: TID253

from inference.electrode_exchanges import Matrices
from inference.typical_beat import SEEN, SPANS

DROPPED = 0.1


class SwapScorer(nn.Module):
    """Scores a beat as recorded, and with each exchange undone; see `inference.lead_swaps.Scorer`."""

    undone: Tensor

    def __init__(self, exchanges: Mapping[str, Matrices], moved: slice, hidden: int, more: int) -> None:
        super().__init__()
        self.moved = moved
        self.kept = [lead for lead in range(len(SEEN)) if not moved.start <= lead < moved.stop]
        self.register_buffer("undone", torch.from_numpy(np.stack(list(exchanges.values()))), persistent=False)
        self.first = nn.Parameter(torch.randn(len(SEEN), SPANS, hidden) / (len(SEEN) * SPANS) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.dropout = nn.Dropout(DROPPED)
        self.second = nn.Linear(hidden, more)
        self.last = nn.Linear(more, 1, bias=False)

    def forward(self, shapes: Tensor) -> Tensor:
        """Return (records, exchanges) from (records, 9, SPANS)."""
        products = torch.einsum("rls,psh->rplh", shapes[:, self.moved], self.first[self.moved])
        moved = torch.einsum("epl,rplh->reh", self.undone, products)
        still = torch.einsum("rps,psh->rh", shapes[:, self.kept], self.first[self.kept]) + self.bias
        layer = self.dropout(torch.tanh(moved + still[:, None]))
        scores: Tensor = self.last(torch.tanh(self.second(layer)))[..., 0]
        return scores

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights as the detector's folder names and lays them out."""
        return {
            "first": self.first.detach(),
            "bias": self.bias.detach(),
            "second": self.second.weight.detach().T.contiguous(),
            "second_bias": self.second.bias.detach(),
            "last": self.last.weight.detach()[0],
        }
