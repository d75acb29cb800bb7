"""Spatio-temporal masked modelling of ECGs: the encoder sees a quarter of the patches, a light decoder draws the rest.

After the description of ST-MEM (Na et al., ICLR 2024): patches of all leads and times are masked. The decoder
works lead by lead, so that information from other leads must come through the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch  # noqa: TID253 - a network is torch
from einops import rearrange, reduce, repeat
from torch import Tensor, nn  # noqa: TID253

from inference.models.encoder import EMBEDDING_DEVIATION, N_LEADS, N_SLOTS, PATCH_SAMPLES, Block, EcgEncoder
from inference.models.presets import Preset

from .kept_patches import N_ALL, draw_order, encode_kept, split_patches, take

VARIANCE_FLOOR = 0.03
"""Added to a patch's variance; the crop's is 1, a T wave's 0.1 and more, and what is flatter between beats is noise,
which cannot be predicted and must not be blown up until it is most of the loss."""


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """The hidden patches as the decoder drew them and as they are, both (row, hidden, 75), normalised by patch."""

    drawn: Tensor
    target: Tensor

    @property
    def loss(self) -> Tensor:
        """Mean squared error: 0 for a perfect reconstruction, 1 for an empty one."""
        return (self.drawn - self.target).square().mean()


class MaskedEcg(nn.Module):
    """The ECG encoder, and a decoder that only pretraining needs."""

    def __init__(self, preset: Preset, mask: float = 0.75) -> None:
        super().__init__()
        self.n_kept = round((1 - mask) * N_ALL)
        self.encoder = EcgEncoder(preset)
        self.encoder.norm.requires_grad_(requires_grad=False)  # follows the pooling, of which there is none here
        self.decoder = LeadDecoder(preset.width, decoder_sizes(preset))

    def forward(self, crops: Tensor) -> Reconstruction:
        """Hide a random part of (row, 12, 2250) and reconstruct it."""
        patches = split_patches(crops)
        order = draw_order(len(crops), N_ALL, crops.device)
        kept, hidden = order[:, : self.n_kept], order[:, self.n_kept :]
        separators, tokens = encode_kept(self.encoder, patches, kept)
        drawn = self.decoder(separators, tokens, order)
        return Reconstruction(take(drawn, hidden), normalise_patches(take(patches, hidden)))


class LeadDecoder(nn.Module):
    """Draws each lead from its own tokens."""

    def __init__(self, width: int, sizes: Preset) -> None:
        super().__init__()
        inner = sizes.width
        self.entry = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner))
        self.hidden = nn.Parameter(torch.randn(inner) * EMBEDDING_DEVIATION)
        self.positions = nn.Parameter(torch.randn(1, N_SLOTS, inner) * EMBEDDING_DEVIATION)
        self.leads = nn.Parameter(torch.randn(N_LEADS, 1, inner) * EMBEDDING_DEVIATION)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.depth))
        self.exit = nn.Sequential(nn.LayerNorm(inner), nn.Linear(inner, PATCH_SAMPLES))

    def forward(self, separators: Tensor, kept: Tensor, order: Tensor) -> Tensor:
        """Return (row, 360, 75), given the encoder's answers (row, 24, width) and (row, k, width) in `order`."""
        rows, n_kept = kept.shape[:2]
        hidden = repeat(self.hidden, "inner -> row n inner", row=rows, n=N_ALL - n_kept)
        patches = take(torch.cat([self.entry(kept), hidden], dim=1), order.argsort(dim=1))  # back in their places
        patches = rearrange(patches, "row (lead patch) inner -> row lead patch inner", lead=N_LEADS)
        ends = rearrange(self.entry(separators), "row (lead side) inner -> row lead side inner", lead=N_LEADS)
        tokens = torch.cat([ends[:, :, :1], patches, ends[:, :, 1:]], dim=2) + self.positions + self.leads
        tokens = rearrange(tokens, "row lead slot inner -> (row lead) slot inner")
        for block in self.blocks:
            tokens = block(tokens)
        drawn: Tensor = self.exit(tokens[:, 1:-1])
        return rearrange(drawn, "(row lead) patch sample -> row (lead patch) sample", lead=N_LEADS)


def decoder_sizes(preset: Preset) -> Preset:
    """Return the decoder's sizes: light beside the encoder."""
    if preset.width >= 256:
        return Preset("decoder", width=256, depth=4, heads=4, mlp_width=1024)
    return Preset("decoder", width=32, depth=1, heads=2, mlp_width=128)


def normalise_patches(patches: Tensor, floor: float = VARIANCE_FLOOR) -> Tensor:
    """Return each patch (…, values) with mean 0 and a deviation of nearly 1: shape counts, height does not."""
    mean = reduce(patches, "... value -> ... 1", "mean")
    variance = reduce((patches - mean).square(), "... value -> ... 1", "mean")
    normalised: Tensor = (patches - mean) / (variance + floor).sqrt()
    return normalised
