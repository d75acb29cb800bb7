"""The masked autoencoder of cines (He et al., CVPR 2022): it reconstructs the hidden patches."""

from __future__ import annotations

import torch  # noqa: TID253 - a network is torch
from einops import repeat
from torch import Tensor, nn  # noqa: TID253

from inference.models.encoder import EMBEDDING_DEVIATION, Block
from inference.models.presets import Preset

from .cmr_encoder import N_PATCHES, CmrEncoder
from .kept_patches import draw_order, take
from .masked_ecg import Reconstruction


class MaskedCmr(nn.Module):
    """The CMR encoder on principal components of patches, and a decoder that only pretraining needs.

    Patches are not normalised as in He et al.: the brightness and the size of a structure carry information, and a
    patch of lung would weigh as much as a patch of the ventricle.

    Args:
        preset: of the encoder.
        n_components: principal components of a patch; see `patch_components`.
        mask: share of the patches that is hidden.
    """

    def __init__(self, preset: Preset, n_components: int, mask: float = 0.75) -> None:
        super().__init__()
        self.n_kept = round((1 - mask) * N_PATCHES)
        self.encoder = CmrEncoder(preset, patch_values=n_components)
        self.decoder = CineDecoder(preset.width, decoder_sizes(preset), n_components)

    def forward(self, patches: Tensor) -> Reconstruction:
        """Hide a random part of (row, 36, component) and reconstruct it."""
        order = draw_order(len(patches), N_PATCHES, patches.device)
        kept, hidden = order[:, : self.n_kept], order[:, self.n_kept :]
        tokens = self.encoder.encode(take(patches, kept), kept)
        return Reconstruction(self.decoder(tokens, order), take(patches, hidden))


class CineDecoder(nn.Module):
    """Draws hidden patches from the summary and the kept patches."""

    def __init__(self, width: int, sizes: Preset, n_components: int) -> None:
        super().__init__()
        inner = sizes.width
        self.entry = nn.Linear(width, inner)
        self.hidden = nn.Parameter(torch.randn(inner) * EMBEDDING_DEVIATION)
        self.positions = nn.Parameter(torch.randn(1 + N_PATCHES, inner) * EMBEDDING_DEVIATION)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(inner)
        self.exit = nn.Linear(inner, n_components)

    def forward(self, tokens: Tensor, order: Tensor) -> Tensor:
        """Return the hidden patches (row, h, component), those of `order` after the kept ones."""
        n_seen = tokens.shape[1]  # the summary and the kept
        hidden = repeat(self.hidden, "inner -> row n inner", row=len(tokens), n=1 + N_PATCHES - n_seen)
        places = torch.cat([torch.zeros_like(order[:, :1]), 1 + order], dim=1)
        decoded = torch.cat([self.entry(tokens), hidden], dim=1) + self.positions[places]
        for block in self.blocks:
            decoded = block(decoded)
        drawn: Tensor = self.exit(self.norm(decoded[:, n_seen:]))
        return drawn


def decoder_sizes(preset: Preset) -> Preset:
    """Return the decoder's sizes: the published 512 × 8 for the published encoder."""
    if preset.width >= 512:
        return Preset("decoder", width=512, depth=8, heads=16, mlp_width=2048)
    return Preset("decoder", width=64, depth=1, heads=2, mlp_width=256)
