"""Counts the floating-point operations of one cine, by stage. Torch counts them from shapes, without computing.

Matrix products, attention and convolutions are counted, a multiplication and an addition as two operations. Operations
on single elements, a few per cent, are left out, as is usual.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from inference.generator import plan_steps
from inference.models.cine_presets import CinePreset
from schemas.messages import EMBEDDING_SIZE

from .settings import SavedStruct


class StageCost(SavedStruct, frozen=True, kw_only=True):
    """The cost of one stage of one cine.

    Attributes:
        parameters: of the network.
        calls: of the network for one cine. A call with and one without the embedding count as one call of two rows.
        operations: of all calls together.
    """

    parameters: int
    calls: int
    operations: int


def count_costs(preset: CinePreset) -> dict[str, StageCost]:
    """Return the cost of the stages of one cine: transformer, denoiser, decoder, and their sum.

    The encoder, which only learning needs, is listed too and is not in the sum.
    """
    import torch

    from inference.models.cine_mar import CineMar
    from inference.models.cine_vae import CineVae

    with torch.device("meta"):
        vae, mar = CineVae(preset), CineMar(preset)
        rows = 1 if preset.guidance == 1 else 2
        steps = plan_steps(preset.n_tokens, preset.steps)
        known = [sum(steps[:step]) for step in range(len(steps))]
        width = preset.mar.blocks.width

        def ask(n_known: int) -> Any:
            return mar.transformer(
                torch.empty(rows, n_known, preset.token_size),
                torch.zeros(rows, preset.n_tokens, dtype=torch.int64),
                torch.empty(rows, EMBEDDING_SIZE),
                torch.ones(rows),
            )

        def denoise() -> Any:
            return mar.denoiser(torch.empty(rows, preset.token_size), torch.ones(rows), torch.empty(rows, width))

        transformer = sum(_count(partial(ask, n_known)) for n_known in known)
        denoiser = _count(denoise) * preset.n_tokens * preset.diffusion_steps
        decoder = _count(lambda: vae.decode(torch.empty(1, *preset.latent)))
        encoder = _count(lambda: vae.encode(torch.empty(1, 1, *preset.cine)))
    costs = {
        "transformer": _cost(mar.transformer, len(steps), transformer),
        "denoiser": _cost(mar.denoiser, len(steps) * preset.diffusion_steps, denoiser),
        "decoder": _cost(vae.decoder, 1, decoder),
    }
    whole = StageCost(
        parameters=sum(cost.parameters for cost in costs.values()),
        calls=sum(cost.calls for cost in costs.values()),
        operations=sum(cost.operations for cost in costs.values()),
    )
    return {**costs, "cine": whole, "encoder (learning only)": _cost(vae.encoder, 1, encoder)}


def _count(run: Callable[[], Any]) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def _cost(network: Any, calls: int, operations: int) -> StageCost:
    parameters = sum(math.prod(parameter.shape) for parameter in network.parameters())
    return StageCost(parameters=parameters, calls=calls, operations=operations)
