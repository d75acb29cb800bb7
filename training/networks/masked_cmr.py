"""The masked autoencoder of cines (He et al., CVPR 2022): three quarters of the patches are hidden and drawn anew."""

from __future__ import annotations

import torch  # noqa: TID253 - a network is torch
from einops import repeat
from torch import Tensor, nn  # noqa: TID253

from inference.models.encoder import EMBEDDING_DEVIATION, Block
from inference.models.presets import Preset

from .cmr_encoder import N_PATCHES, PATCH_VALUES, CmrEncoder, scale_cines, split_cine
from .kept_patches import draw_order, take
from .masked_ecg import Reconstruction, normalise_patches

VARIANCE_FLOOR = 0.003
"""Added to a patch's variance, black to white being 2: that of the scanner's noise."""


class MaskedCmr(nn.Module):
    """The CMR encoder, and a decoder that is thrown away after pretraining.

    Args:
        preset: of the encoder.
        mask: share of the patches that is hidden.
        drawn: share of the hidden patches that is drawn and compared in a step, a random one. Drawing is the dearest
            part of a small network, and the loss stays unbiased.
    """

    def __init__(self, preset: Preset, mask: float = 0.75, drawn: float = 1.0) -> None:
        super().__init__()
        self.n_kept = round((1 - mask) * N_PATCHES)
        self.n_drawn = max(1, round(drawn * (N_PATCHES - self.n_kept)))
        self.encoder = CmrEncoder(preset)
        self.decoder = CineDecoder(preset.width, decoder_sizes(preset))

    def forward(self, cines: Tensor) -> Reconstruction:
        """Hide a random part of (row, 50, 96, 96) uint8 and reconstruct it."""
        patches = split_cine(cines)  # still bytes: only what is looked at becomes numbers
        order = draw_order(len(cines), N_PATCHES, cines.device)
        kept, hidden = order[:, : self.n_kept], order[:, self.n_kept :]
        tokens = self.encoder.encode(scale_cines(take(patches, kept)), kept)
        target = normalise_patches(scale_cines(take(patches, hidden[:, : self.n_drawn])), VARIANCE_FLOOR)
        return Reconstruction(self.decoder(tokens, order, self.n_drawn), target)


class CineDecoder(nn.Module):
    """Draws hidden patches from the summary and the kept patches."""

    def __init__(self, width: int, sizes: Preset) -> None:
        super().__init__()
        inner = sizes.width
        self.entry = nn.Linear(width, inner)
        self.hidden = nn.Parameter(torch.randn(inner) * EMBEDDING_DEVIATION)
        self.positions = nn.Parameter(torch.randn(1 + N_PATCHES, inner) * EMBEDDING_DEVIATION)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(inner)
        self.exit = nn.Linear(inner, PATCH_VALUES)

    def forward(self, tokens: Tensor, order: Tensor, n_drawn: int) -> Tensor:
        """Return (row, n_drawn, 12800): the first hidden patches of `order`, of which the first were kept."""
        n_seen = tokens.shape[1]  # the summary and the kept
        hidden = repeat(self.hidden, "inner -> row n inner", row=len(tokens), n=1 + N_PATCHES - n_seen)
        places = torch.cat([torch.zeros_like(order[:, :1]), 1 + order], dim=1)
        decoded = torch.cat([self.entry(tokens), hidden], dim=1) + self.positions[places]
        for block in self.blocks:
            decoded = block(decoded)
        drawn: Tensor = self.exit(self.norm(decoded[:, n_seen : n_seen + n_drawn]))
        return drawn


def decoder_sizes(preset: Preset) -> Preset:
    """Return the decoder's sizes: the published 512 × 8 for the published encoder."""
    if preset.width >= 512:
        return Preset("decoder", width=512, depth=8, heads=16, mlp_width=2048)
    return Preset("decoder", width=64, depth=2, heads=2, mlp_width=256)
