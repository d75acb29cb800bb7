"""The network for GPUs: its encoder in float16, its heads in float32."""

from __future__ import annotations

import copy

from torch import Tensor, nn  # noqa: TID253 - a network is torch

from .network import Answers, EcgNetwork


class HalfNetwork(nn.Module):
    """A copy of a network that rounds what its encoder computes to the 11 bits of float16.

    float16 is as fast as bfloat16 on a GPU and five to twelve times as exact: what the encoder computes is of order 1.
    """

    def __init__(self, network: EcgNetwork) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        self.network.encoder.half()

    def forward(self, crops: Tensor) -> Answers:
        """Return what `EcgNetwork` returns, in float32, for float32 crops (row, 12, 2250)."""
        return self.network.answer(self.network.encoder(crops.half()).float())
