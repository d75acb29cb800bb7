"""The CMR encoder: a vision transformer that reads the 50 frames of a cine as the channels of one picture.

Ding et al., arXiv 2411.13602: ViT-B/16 (Dosovitskiy et al., ICLR 2021) on the four-chamber cine of UK Biobank.
"""

from __future__ import annotations

import torch  # noqa: TID253 - a network is torch
from einops import rearrange, repeat
from torch import Tensor, nn  # noqa: TID253

from inference.models.encoder import EMBEDDING_DEVIATION, Block
from inference.models.presets import Preset

from .principal_axes import PrincipalAxes

N_FRAMES = 50
CINE_PIXELS = 96
PATCH_PIXELS = 16
N_PATCHES = (CINE_PIXELS // PATCH_PIXELS) ** 2
PATCH_VALUES = N_FRAMES * PATCH_PIXELS**2
WHITE = 127.5
"""Half of the grey levels: they are scaled to [-1, 1]."""

CMR_PRESETS = {
    "paper": Preset("paper", width=768, depth=12, heads=12, mlp_width=3072),
    "reference": Preset("reference", width=128, depth=4, heads=4, mlp_width=512),
}
"""By the name of the ECG encoder's preset."""


class CmrEncoder(nn.Module):
    """Turns cines into a summary and a token a patch.

    Args:
        preset: the sizes.
        patch_values: numbers of a patch: its pixels, or principal components during pretraining.
    """

    def __init__(self, preset: Preset, patch_values: int = PATCH_VALUES) -> None:
        super().__init__()
        self.width = preset.width
        self.patch_embedding = nn.Linear(patch_values, preset.width)
        self.positions = nn.Parameter(torch.randn(1, 1 + N_PATCHES, preset.width) * EMBEDDING_DEVIATION)
        self.summary = nn.Parameter(torch.randn(preset.width) * EMBEDDING_DEVIATION)
        self.blocks = nn.ModuleList(Block(preset) for _ in range(preset.depth))
        self.norm = nn.LayerNorm(preset.width)

    def forward(self, cines: Tensor) -> Tensor:
        """Return the summary (CLS) and the patches' tokens, (row, 37, width), for (row, 50, 96, 96) in [-1, 1]."""
        return self.encode_all(split_cine(cines))

    def encode_all(self, patches: Tensor) -> Tensor:
        """Return (row, 37, width) for the values of all patches (row, 36, value)."""
        return self.encode(patches, torch.arange(N_PATCHES, device=patches.device).expand(len(patches), -1))

    def encode(self, patches: Tensor, kept: Tensor) -> Tensor:
        """Return the summary and the kept patches (row, 1 + k, width), given their values (row, k, value)."""
        summary = repeat(self.summary + self.positions[0, 0], "width -> row 1 width", row=len(patches))
        tokens = torch.cat([summary, self.patch_embedding(patches) + self.positions[0, 1:][kept]], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        encoded: Tensor = self.norm(tokens)
        return encoded


class CmrTower(nn.Module):
    """The frozen encoder and its readout: the features of a heart are its tokens along their principal axes.

    The publication reads the summary alone. Trained on two cores, the summary holds less than the tokens of the patches
    (docs/decisions/0017 has the figures).
    """

    def __init__(self, encoder: CmrEncoder, readout: PrincipalAxes) -> None:
        super().__init__()
        self.encoder = encoder
        self.readout = readout

    def forward(self, cines: Tensor) -> Tensor:
        """Return (row, feature) for (row, 50, 96, 96) in [-1, 1]."""
        features: Tensor = self.readout(self.encoder(cines).flatten(1))
        return features


def scale_cines(cines: Tensor) -> Tensor:
    """Return uint8 pixels as float32 in [-1, 1]."""
    return cines.float() / WHITE - 1


def split_cine(cines: Tensor) -> Tensor:
    """Return (row, 36, 12800): what each patch shows in all frames, for (row, 50, 96, 96)."""
    return rearrange(cines, "row frame (y dy) (x dx) -> row (y x) (frame dy dx)", dy=PATCH_PIXELS, dx=PATCH_PIXELS)
