"""The ECG encoder: a vision transformer over patches of all leads at once.

The architecture is that of ST-MEM (Na et al., "Guiding Masked Representation Learning to Capture Spatio-Temporal
Relationship of Electrocardiogram", ICLR 2024) in the size that CardioNets (Ding et al., arXiv 2411.13602) uses. It was
written from the description in those papers.
"""

from __future__ import annotations

import torch  # noqa: TID253 - a network is torch
from einops import rearrange, reduce, repeat
from einops.layers.torch import Rearrange
from torch import Tensor, nn  # noqa: TID253
from torch.nn.functional import scaled_dot_product_attention  # noqa: TID253

from inference.geometry import CROP_SAMPLES

from .presets import Preset

N_LEADS = 12
PATCH_SAMPLES = 75
N_PATCHES = CROP_SAMPLES // PATCH_SAMPLES
N_SLOTS = 1 + N_PATCHES + 1
"""A lead's tokens: separator, patches, separator."""

EMBEDDING_DEVIATION = 0.2


class EcgEncoder(nn.Module):
    """Turns standardised 9-second crops of 12 leads into one vector each."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        width = preset.width
        self.patch_embedding = nn.Sequential(
            Rearrange("row lead (patch sample) -> row lead patch sample", sample=PATCH_SAMPLES),
            nn.LayerNorm(PATCH_SAMPLES),
            nn.Linear(PATCH_SAMPLES, width),
            nn.LayerNorm(width),
        )
        self.positions = nn.Parameter(torch.randn(1, N_SLOTS, width) * EMBEDDING_DEVIATION)
        self.separator = nn.Parameter(torch.randn(width) * EMBEDDING_DEVIATION)
        self.lead_embeddings = nn.ParameterList(torch.randn(width) * EMBEDDING_DEVIATION for _ in range(N_LEADS))
        self.blocks = nn.ModuleList(Block(preset) for _ in range(preset.depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, crops: Tensor) -> Tensor:
        """Return (row, width) for (row, 12, 2250) float32 at 250 Hz."""
        tokens = rearrange(self.embed(crops), "row lead slot width -> row (lead slot) width")
        for block in self.blocks:
            tokens = block(tokens)
        return self.pool(tokens)

    def embed(self, crops: Tensor) -> Tensor:
        """Return the tokens (row, 12, 32, width): each lead's patches between two separators, with positions added."""
        patches = self.patch_embedding(crops)
        separators = repeat(self.separator, "width -> row lead 1 width", row=crops.shape[0], lead=N_LEADS)
        tokens = torch.cat([separators, patches, separators], dim=2)
        leads = rearrange(torch.stack(list(self.lead_embeddings)), "lead width -> lead 1 width")
        # positions (1, 32, width) serve every lead, leads (12, 1, width) every slot
        return tokens + self.positions + leads

    def pool(self, tokens: Tensor) -> Tensor:
        """Return (row, width): the normalised mean of the patches of all leads. The separators are dropped."""
        slots = rearrange(tokens, "row (lead slot) width -> row lead slot width", lead=N_LEADS)
        pooled: Tensor = self.norm(reduce(slots[:, :, 1:-1], "row lead slot width -> row width", "mean"))
        return pooled


class Block(nn.Module):
    """Attention among all tokens of the 12 leads, then an MLP. Each normalises its input and adds its output to it."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(preset.width)
        self.attention = Attention(preset.width, preset.heads)
        self.mlp_norm = nn.LayerNorm(preset.width)
        self.mlp = nn.Sequential(
            nn.Linear(preset.width, preset.mlp_width), nn.GELU(), nn.Linear(preset.mlp_width, preset.width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (row, token, width) for the same."""
        tokens = tokens + self.attention(self.attention_norm(tokens))
        added: Tensor = tokens + self.mlp(self.mlp_norm(tokens))
        return added


class Attention(nn.Module):
    """Multi-head self-attention. Queries, keys and values have biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (row, token, width) for the same."""
        qkv = rearrange(
            self.qkv(tokens), "row token (three head d) -> three row head token d", three=3, head=self.heads
        )
        attended = scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        output: Tensor = self.output(rearrange(attended, "row head token d -> row token (head d)"))
        return output
