"""The masked autoregressive model of latents: hidden tokens, given the ECG and the tokens that are drawn already.

It was written from the description in Li et al., "Autoregressive Image Generation without Vector Quantization",
NeurIPS 2024. The sizes, and the condition in buffer tokens, are those of Ding et al., arXiv 2411.13602.
"""

from __future__ import annotations

import torch  # noqa: TID253 - a network is torch
from einops import rearrange, repeat
from torch import Tensor, nn  # noqa: TID253

from schemas.messages import EMBEDDING_SIZE

from .cine_presets import CinePreset
from .encoder import EMBEDDING_DEVIATION, Block
from .standardiser import Standardiser
from .token_diffusion import TokenDenoiser


class CineMar(nn.Module):
    """The transformer, and the denoiser that draws tokens from the transformer's contexts."""

    def __init__(self, preset: CinePreset) -> None:
        super().__init__()
        mar = preset.mar
        self.transformer = TokenTransformer(preset)
        self.denoiser = TokenDenoiser(preset.token_size, mar.blocks.width, mar.denoiser_width, mar.denoiser_depth)


class TokenTransformer(nn.Module):
    """An encoder of the known tokens and a decoder of all tokens. The caller chooses the order of the tokens.

    Embeddings lie close together on their sphere, so what sets a heart apart would be a hundredth of the numbers in the
    buffers. The embeddings are therefore standardised first.
    """

    def __init__(self, preset: CinePreset) -> None:
        super().__init__()
        sizes, places = preset.mar.blocks, preset.mar.buffers + preset.n_tokens
        width = sizes.width
        self.n_buffers = preset.mar.buffers
        self.embedding_scale = Standardiser(EMBEDDING_SIZE)
        self.condition = nn.Sequential(nn.Linear(EMBEDDING_SIZE, width), nn.Linear(width, width))
        self.unconditional = nn.Parameter(torch.randn(width) * EMBEDDING_DEVIATION)
        self.entry = nn.Linear(preset.token_size, width)
        self.encoder_positions = nn.Parameter(torch.randn(places, width) * EMBEDDING_DEVIATION)
        self.entry_norm = nn.LayerNorm(width)
        self.encoder = nn.ModuleList(Block(sizes) for _ in range(sizes.depth))
        self.encoder_norm = nn.LayerNorm(width)
        self.passage = nn.Linear(width, width)
        self.hidden = nn.Parameter(torch.randn(width) * EMBEDDING_DEVIATION)
        self.decoder_positions = nn.Parameter(torch.randn(places, width) * EMBEDDING_DEVIATION)
        self.decoder = nn.ModuleList(Block(sizes) for _ in range(sizes.depth))
        self.decoder_norm = nn.LayerNorm(width)
        self.answer_positions = nn.Parameter(torch.randn(preset.n_tokens, width) * EMBEDDING_DEVIATION)

    def forward(self, known: Tensor, order: Tensor, embeddings: Tensor, guided: Tensor) -> Tensor:
        """Return a context (row, n − k, width) for each hidden token, in their order.

        Args:
            known: (row, k, token), the tokens of the first k places of the order. k may be 0.
            order: (row, n) int64, a permutation of the places of all tokens.
            embeddings: (row, 256) of length 1.
            guided: (row,), 1 where the embedding counts and 0 where it is dropped.
        """
        n_known = known.shape[1]
        encoded = self._encode(known, order[:, :n_known], self._hold(embeddings, guided))
        hidden = repeat(self.hidden, "width -> row n width", row=order.shape[0], n=order.shape[1] - n_known)
        decoded = torch.cat([self.passage(encoded), hidden], dim=1)
        decoded = decoded + _with_buffers(self.decoder_positions, self.n_buffers, order)
        for block in self.decoder:
            decoded = block(decoded)
        answers: Tensor = self.decoder_norm(decoded[:, self.n_buffers + n_known :])
        return answers + self.answer_positions[order[:, n_known:]]

    def _hold(self, embeddings: Tensor, guided: Tensor) -> Tensor:
        standard = self.embedding_scale(embeddings)
        told = torch.where(guided[:, None] > 0, self.condition(standard), self.unconditional)
        return repeat(told, "row width -> row buffer width", buffer=self.n_buffers)

    def _encode(self, known: Tensor, places: Tensor, buffers: Tensor) -> Tensor:
        tokens = torch.cat([buffers, self.entry(known)], dim=1)
        tokens = self.entry_norm(tokens + _with_buffers(self.encoder_positions, self.n_buffers, places))
        for block in self.encoder:
            tokens = block(tokens)
        encoded: Tensor = self.encoder_norm(tokens)
        return encoded


def _with_buffers(positions: Tensor, buffers: int, places: Tensor) -> Tensor:
    """Return the positions (row, buffer + k, width) of the buffers, then of the tokens at `places` (row, k)."""
    first = repeat(positions[:buffers], "buffer width -> row buffer width", row=places.shape[0])
    return torch.cat([first, positions[buffers:][places]], dim=1)


def split_latents(latents: Tensor, preset: CinePreset) -> Tensor:
    """Return the tokens (row, n, token) of latents (row, channel, time, y, x)."""
    dt, dy, dx = preset.mar.patch
    return rearrange(latents, "row c (t dt) (y dy) (x dx) -> row (t y x) (c dt dy dx)", dt=dt, dy=dy, dx=dx)
