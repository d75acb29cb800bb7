"""The segmenter: a small U-Net that outlines cavity and wall of the left ventricle in a frame of a four-chamber cine.

Ronneberger, Fischer and Brox, MICCAI 2015, with group norm (Wu and He, ECCV 2018) and three levels.
"""

from __future__ import annotations

from itertools import pairwise

import torch  # noqa: TID253 - a network is torch
from torch import Tensor, nn  # noqa: TID253
from torch.nn import functional  # noqa: TID253

PIXELS = 48
"""Edge of the pictures that it is taught with."""
CLASSES = 3
"""What is left over, cavity, wall."""
WIDTHS = (16, 32, 64)
GROUPS = 8
FLAT = 1e-3
"""Added to a picture's deviation, so that an empty one stays empty."""


class Segmenter(nn.Module):
    """Maps pictures to logits of background, cavity and wall for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            Convolutions(before, width) for before, width in zip((1, *WIDTHS[:-1]), WIDTHS, strict=True)
        )
        self.narrow = nn.ModuleList(nn.Conv2d(deep, width, 1) for width, deep in pairwise(WIDTHS))
        self.up = nn.ModuleList(Convolutions(2 * width, width) for width in WIDTHS[:-1])
        self.exit = nn.Conv2d(WIDTHS[0], CLASSES, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits (row, 3, h, w) for pictures (row, h, w) of any brightness; edges divisible by 4."""
        levels = self.levels(pictures)
        values = levels.pop()
        for narrow, up in zip(reversed(self.narrow), reversed(self.up), strict=True):
            larger = functional.interpolate(narrow(values), scale_factor=2, mode="bilinear", align_corners=False)
            values = up(torch.cat([levels.pop(), larger], dim=1))
        logits: Tensor = self.exit(values)
        return logits

    def levels(self, pictures: Tensor) -> list[Tensor]:
        """Return what each level saw, the last (row, 64, h / 4, w / 4): the bottleneck."""
        values = standardise(pictures)[:, None]
        levels = []
        for place, convolutions in enumerate(self.down):
            values = convolutions(functional.max_pool2d(values, 2) if place else values)
            levels.append(values)
        return levels


class Convolutions(nn.Sequential):
    """Two convolutions, each with its norm and activation."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__(
            nn.Conv2d(before, width, 3, padding=1, bias=False),
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
        )


def standardise(pictures: Tensor) -> Tensor:
    """Return pictures (row, h, w) of mean 0 and deviation 1 each."""
    values = pictures.float()
    deviation, mean = torch.std_mean(values, dim=(1, 2), keepdim=True)
    return (values - mean) / (deviation + FLAT)
