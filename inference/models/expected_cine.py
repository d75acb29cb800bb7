"""The expected cine: the mean of the cines that fit an ECG, as far as it is linear in the ECG's embedding.

It is a regression of pixels on the embedding, of reduced rank: a mean cine plus a few patterns over the whole beat. A
direction of the embedding gives the strength of each pattern. `training.networks.expectation` finds it in closed form.
"""

from __future__ import annotations

from math import prod

import torch  # noqa: TID253 - a network is torch
from torch import Tensor, nn  # noqa: TID253

from schemas.messages import EMBEDDING_SIZE

from .cine_presets import Box

PATTERNS = 12
LARGEST_STEP = 127


class ExpectedCine(nn.Module):
    """Turns embeddings (row, 256) into cines (row, 1, frame, y, x) in about [-1, 1]. Before `fit`, all are grey.

    Attributes:
        mean_embedding: (256,).
        directions: (256, pattern), what each coordinate of an embedding adds to the strength of each pattern.
        mean_cine: (frame × y × x,).
        patterns: (pattern, frame × y × x) int8, because they are millions of numbers.
        steps: (pattern,) the size of a step of each pattern.
    """

    mean_embedding: Tensor
    directions: Tensor
    mean_cine: Tensor
    patterns: Tensor
    steps: Tensor

    def __init__(self, cine: Box) -> None:
        super().__init__()
        self.cine = cine
        pixels = prod(cine)
        self.register_buffer("mean_embedding", torch.zeros(EMBEDDING_SIZE))
        self.register_buffer("directions", torch.zeros(EMBEDDING_SIZE, PATTERNS))
        self.register_buffer("mean_cine", torch.zeros(pixels))
        self.register_buffer("patterns", torch.zeros(PATTERNS, pixels, dtype=torch.int8))
        self.register_buffer("steps", torch.zeros(PATTERNS))

    def fit(self, mean_embedding: Tensor, directions: Tensor, mean_cine: Tensor, patterns: Tensor) -> None:
        """Take the regression: (256,), (256, k), (pixels,) and (k, pixels), where k is at most `PATTERNS`."""
        count = len(patterns)
        steps = patterns.abs().amax(dim=1) / LARGEST_STEP
        self.mean_embedding.copy_(mean_embedding)
        self.directions[:, :count] = directions
        self.mean_cine.copy_(mean_cine)
        self.steps[:count] = steps
        self.patterns[:count] = torch.round(patterns / steps.clamp_min(torch.finfo(steps.dtype).tiny)[:, None])

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the cines."""
        strengths = (embeddings - self.mean_embedding) @ self.directions * self.steps
        cines: Tensor = self.mean_cine + strengths @ self.patterns.float()
        return cines.reshape(-1, 1, *self.cine)
