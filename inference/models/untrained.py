"""An untrained network whose answers nevertheless differ from ECG to ECG, for demonstrations and engine checks."""

from __future__ import annotations

from typing import cast

import torch  # noqa: TID253 - a network is torch
from torch import Tensor, nn  # noqa: TID253

from .network import EcgNetwork
from .presets import Preset

ANSWER_DEVIATION = 0.4
"""Wide enough to tell records apart, narrow enough that bfloat16's rounding stays small."""

RISK_CENTRE = -1.5 * ANSWER_DEVIATION
"""At a threshold of 0.5 a disease is flagged in about 7 of 100 records: alerts are the exception, as in a screening."""


def draw_network(preset: Preset, seed: int, crops: Tensor) -> EcgNetwork:
    """Return a network with weights drawn from `seed`, its heads spread over `crops`.

    A fresh transformer answers nearly the same to every ECG, since it averages hundreds of tokens: every record would
    be flagged for the same diseases, and an engine that ignored its input would agree with the reference. So the last
    layer of each head is shifted and scaled until its answers to `crops` have a given mean and deviation (the idea of
    Mishkin & Matas, "All you need is a good init", ICLR 2016).

    Args:
        preset: the sizes.
        seed: the same seed and crops give the same weights.
        crops: (row, 12, 2250) float32, standardised; at least two different rows.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = EcgNetwork(preset).eval()
        pooled = network.encoder(crops)
        _spread(network.disease, pooled, centre=RISK_CENTRE)
        _spread(network.subtype, pooled)
        _spread(network.alignment.projection, pooled)
        _spread(cast("nn.Linear", network.phenotypes[-1]), network.phenotypes[:-1](pooled))
    return network


def _spread(layer: nn.Linear, inputs: Tensor, centre: float = 0.0) -> None:
    answers = layer(inputs)
    means = answers.mean(dim=0)
    scale = ANSWER_DEVIATION / (answers - means).square().mean().sqrt().clamp_min(1e-6)
    layer.weight.mul_(scale)
    layer.bias.sub_(means).mul_(scale).add_(centre)
