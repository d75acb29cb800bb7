"""The whole network: one encoder, four heads, one pass."""

from __future__ import annotations

from typing import TypedDict

from torch import Tensor, nn  # noqa: TID253 - a network is torch

from .encoder import EcgEncoder
from .heads import AlignmentHead, disease_head, phenotype_head, subtype_head
from .presets import Preset


class Answers(TypedDict):
    """What the network says of each row."""

    disease_logits: Tensor
    phenotypes: Tensor
    subtype_logits: Tensor
    embedding: Tensor


class EcgNetwork(nn.Module):
    """Answers all questions about standardised crops of 12-lead ECGs at once."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        self.encoder = EcgEncoder(preset)
        self.disease = disease_head(preset.width)
        self.phenotypes = phenotype_head(preset.width)
        self.subtype = subtype_head(preset.width)
        self.alignment = AlignmentHead(preset.width)

    def forward(self, crops: Tensor) -> Answers:
        """Return logits (row, 5), z-scores (row, 82), logits (row, 3), unit vectors (row, 256) for (row, 12, 2250)."""
        return self.answer(self.encoder(crops))

    def answer(self, pooled: Tensor) -> Answers:
        """Return the answers to what the encoder says of each row, (row, width)."""
        return {
            "disease_logits": self.disease(pooled),
            "phenotypes": self.phenotypes(pooled),
            "subtype_logits": self.subtype(pooled),
            "embedding": self.alignment(pooled),
        }
