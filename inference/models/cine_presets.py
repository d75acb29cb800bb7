"""The sizes in which the cine generator comes: its cine, its autoencoder, its transformer, its sampling."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TypeAlias

from .presets import Preset, choose

Box: TypeAlias = tuple[int, int, int]
"""Extents in time, down and across."""


@dataclass(frozen=True, slots=True)
class VaeSizes:
    """The 3D autoencoder.

    Attributes:
        fold: frames and pixels that are folded into channels before the first convolution.
        channels: of each level; the last level's go into the latent.
        strides: between the levels.
        blocks: residual blocks a level, on either side.
        kernels: of the two convolutions of a residual block.
        edge_kernel: of the first and the last convolution, and of those after magnification.
        groups: of a normalisation.
        latent_channels: numbers a place of the latent.
    """

    fold: Box
    channels: tuple[int, ...]
    strides: tuple[Box, ...]
    blocks: int
    kernels: tuple[Box, Box]
    edge_kernel: Box
    groups: int
    latent_channels: int


@dataclass(frozen=True, slots=True)
class MarSizes:
    """The masked autoregressive model and the denoiser of its tokens.

    Attributes:
        patch: of the latent, that makes a token.
        blocks: a block's sizes; `depth` of them in the encoder and as many in the decoder.
        buffers: tokens that hold the condition.
        denoiser_width, denoiser_depth: of the MLP that denoises one token.
    """

    patch: Box
    blocks: Preset
    buffers: int
    denoiser_width: int
    denoiser_depth: int


@dataclass(frozen=True, slots=True)
class CinePreset:
    """One generator.

    Attributes:
        cine: frames, rows and columns that are drawn.
        reduction: frames and pixels of the cohort's cine (50 × 96 × 96) whose mean is one of ours.
        steps: of the autoregression.
        diffusion_steps: of the denoising of a token.
        guidance: 1 is the conditional model as it is.
    """

    name: str
    cine: Box
    reduction: Box
    vae: VaeSizes
    mar: MarSizes
    steps: int
    diffusion_steps: int
    guidance: float

    @property
    def latent(self) -> tuple[int, int, int, int]:
        """Channels and extents of the latent."""
        size = [extent // fold for extent, fold in zip(self.cine, self.vae.fold, strict=True)]
        for stride in self.vae.strides:
            size = [-(-extent // step) for extent, step in zip(size, stride, strict=True)]
        return self.vae.latent_channels, size[0], size[1], size[2]

    @property
    def n_tokens(self) -> int:
        """How many tokens make a cine."""
        return prod(extent // step for extent, step in zip(self.latent[1:], self.mar.patch, strict=True))

    @property
    def token_size(self) -> int:
        """Numbers a token."""
        return self.vae.latent_channels * prod(self.mar.patch)


PAPER = CinePreset(
    name="paper",
    cine=(50, 96, 96),
    reduction=(1, 1, 1),
    vae=VaeSizes(
        fold=(1, 1, 1),
        channels=(128, 256, 512, 512),
        strides=((1, 2, 2), (1, 2, 2), (2, 2, 2)),
        blocks=2,
        kernels=((3, 3, 3), (3, 3, 3)),
        edge_kernel=(3, 3, 3),
        groups=32,
        latent_channels=16,
    ),
    mar=MarSizes(
        patch=(5, 2, 2),
        blocks=Preset("mar", width=768, depth=12, heads=12, mlp_width=3072),
        buffers=64,
        denoiser_width=1024,
        denoiser_depth=3,
    ),
    steps=16,
    diffusion_steps=100,
    guidance=3.0,
)
"""As published (Ding et al., arXiv 2411.13602): 16 × 25 × 12 × 12 latents, 180 tokens of 320 numbers."""

REFERENCE = CinePreset(
    name="reference",
    cine=(25, 96, 96),
    reduction=(2, 1, 1),
    vae=VaeSizes(
        fold=(5, 4, 4),
        channels=(48, 96),
        strides=((1, 2, 2),),
        blocks=1,
        kernels=((1, 3, 3), (3, 1, 1)),
        edge_kernel=(1, 1, 1),
        groups=8,
        latent_channels=4,
    ),
    mar=MarSizes(
        patch=(5, 2, 2),
        blocks=Preset("mar", width=160, depth=4, heads=4, mlp_width=640),
        buffers=8,
        denoiser_width=256,
        denoiser_depth=3,
    ),
    steps=12,
    diffusion_steps=50,
    guidance=3.0,
)
"""The same method, small enough to train on two cores: every second frame's mean, folded before anything is convolved,
by convolutions in the plane and then in time; 4 × 5 × 12 × 12 latents, 36 tokens of 80 numbers, each a part of the
picture through the whole beat."""

CINE_PRESETS = {preset.name: preset for preset in (PAPER, REFERENCE)}


def find_cine_preset(name: str) -> CinePreset:
    """Return the preset of that name.

    Raises:
        InvalidSettings: there is none.
    """
    return choose(CINE_PRESETS, name)
