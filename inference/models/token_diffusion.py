"""The denoiser of single tokens: an MLP that is told the noise's share and what the transformer knows of the token.

Li et al., "Autoregressive Image Generation without Vector Quantization", NeurIPS 2024, from the description: adaptive
LayerNorm (Peebles and Xie, ICCV 2023), the cosine schedule of Nichol and Dhariwal (ICML 2021). It predicts the
velocity (Salimans and Ho, ICLR 2022), which unlike the noise says something at either end of the schedule; guidance
is the same for both, since one is linear in the other.
"""

from __future__ import annotations

import math

import torch  # noqa: TID253 - a network is torch
from torch import Tensor, nn  # noqa: TID253
from torch.nn.functional import mse_loss, silu  # noqa: TID253

TIME_NUMBERS = 256
LONGEST_PERIOD = 10_000.0
TIME_SCALE = 1000.0


class TokenDenoiser(nn.Module):
    """Says in which direction a noisy token has to go."""

    def __init__(self, token_size: int, known_width: int, width: int, depth: int) -> None:
        super().__init__()
        self.entry = nn.Linear(token_size, width)
        self.time = nn.Sequential(nn.Linear(TIME_NUMBERS, width), nn.SiLU(), nn.Linear(width, width))
        self.known = nn.Linear(known_width, width)
        self.blocks = nn.ModuleList(AdaptiveBlock(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.exit = nn.Linear(width, token_size)
        for layer in (self.modulation, self.exit):  # it begins by saying nothing
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, noisy: Tensor, time: Tensor, known: Tensor) -> Tensor:
        """Return the velocity (row, token).

        Args:
            noisy: (row, token).
            time: (row,), 0 where there is no noise and 1 where there is nothing else.
            known: (row, width of the transformer).
        """
        told = silu(self.time(time_waves(time)) + self.known(known))
        state = self.entry(noisy)
        for block in self.blocks:
            state = block(state, told)
        shift, scale = self.modulation(told).chunk(2, dim=-1)
        velocity: Tensor = self.exit(self.norm(state) * (1 + scale) + shift)
        return velocity


class AdaptiveBlock(nn.Module):
    """A residual MLP whose normalisation is shifted, scaled and gated by what is told."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = nn.Linear(width, 3 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, state: Tensor, told: Tensor) -> Tensor:
        """Return (row, width) for the same."""
        shift, scale, gate = self.modulation(told).chunk(3, dim=-1)
        moved: Tensor = state + gate * self.mlp(self.norm(state) * (1 + scale) + shift)
        return moved


def time_waves(time: Tensor) -> Tensor:
    """Return (row, 256) cosines and sines of times (row,) in 0-1."""
    half = TIME_NUMBERS // 2
    rates = torch.exp(torch.arange(half, device=time.device) * (-math.log(LONGEST_PERIOD) / half))
    angles = time[:, None] * TIME_SCALE * rates
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)


def diffusion_loss(denoiser: TokenDenoiser, tokens: Tensor, known: Tensor) -> Tensor:
    """Return the squared error of the velocity, each token disturbed by a noise of a random share.

    Args:
        denoiser: ours.
        tokens: (row, token), of deviation 1 or so.
        known: (row, width).
    """
    time = torch.rand(len(tokens), device=tokens.device)
    noise = torch.randn_like(tokens)
    signal_share, noise_share = torch.cos(time * math.pi / 2)[:, None], torch.sin(time * math.pi / 2)[:, None]
    velocity = signal_share * noise - noise_share * tokens
    return mse_loss(denoiser(signal_share * tokens + noise_share * noise, time, known), velocity)
