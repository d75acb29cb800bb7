"""The 3D variational autoencoder of cines: a few numbers a region of the picture and of the beat, and back.

The kind of Kingma and Welling (ICLR 2014) in the shape of latent diffusion's autoencoder (Rombach et al., CVPR 2022),
in the sizes of Ding et al., arXiv 2411.13602. A shortcut, which the publication does not have, is a matrix a block of
voxels beside the convolutions, on either side: begun with the blocks' principal components, it spares a small network
most of its learning. The publication does not say in which level time is halved (here: the
last) nor whether there is attention in the middle (here: none).
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import NamedTuple

import torch  # noqa: TID253 - a network is torch
from einops import rearrange
from torch import Tensor, nn  # noqa: TID253
from torch.nn.functional import interpolate, silu  # noqa: TID253

from .cine_presets import Box, CinePreset, VaeSizes

LOG_VARIANCE_BOUNDS = (-20.0, 10.0)


class Posterior(NamedTuple):
    """A normal distribution a place of the latent, both (row, channel, time, y, x)."""

    mean: Tensor
    log_variance: Tensor

    def sample(self) -> Tensor:
        """Draw a latent."""
        return self.mean + torch.exp(self.log_variance / 2) * torch.randn_like(self.mean)

    def divergence(self) -> Tensor:
        """Return (row,) the Kullback-Leibler divergence from the standard normal distribution, in nats."""
        terms = self.mean.square() + self.log_variance.exp() - 1 - self.log_variance
        return 0.5 * terms.flatten(1).sum(dim=1)


class CineVae(nn.Module):
    """Cines (row, 1, frame, y, x) in [-1, 1] to latents (row, channel, time, y, x) and back."""

    def __init__(self, preset: CinePreset) -> None:
        super().__init__()
        self.encoder = VaeEncoder(preset.vae)
        self.decoder = VaeDecoder(preset.vae)

    def encode(self, cines: Tensor) -> Posterior:
        """Return where the latents of the cines lie."""
        mean, log_variance = self.encoder(cines).chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(*LOG_VARIANCE_BOUNDS))

    def decode(self, latents: Tensor) -> Tensor:
        """Return the cines of the latents, not clamped."""
        cines: Tensor = self.decoder(latents)
        return cines


class LatentMeans(nn.Module):
    """The middle of each latent's distribution, which is what the generator learns to draw."""

    def __init__(self, vae: CineVae) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, cines: Tensor) -> Tensor:
        """Return (row, channel, time, y, x) for (row, 1, frame, y, x)."""
        return self.vae.encode(cines).mean


class VaeEncoder(nn.Module):
    """Folds, convolves, and shrinks level by level."""

    def __init__(self, sizes: VaeSizes) -> None:
        super().__init__()
        self.fold = sizes.fold
        layers: list[nn.Module] = [convolution(prod(sizes.fold), sizes.channels[0], sizes.edge_kernel)]
        layers += [ResidualBlock(sizes.channels[0], sizes) for _ in range(sizes.blocks)]
        for (before, after), stride in zip(pairwise(sizes.channels), sizes.strides, strict=True):
            layers.append(shrinkage(before, after, stride, sizes))
            layers += [ResidualBlock(after, sizes) for _ in range(sizes.blocks)]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.GroupNorm(sizes.groups, sizes.channels[-1])
        self.exit = convolution(sizes.channels[-1], 2 * sizes.latent_channels, sizes.edge_kernel)
        self.shortcut = _shortcut(_folded(sizes), self.exit) if sizes.shortcut else None

    def forward(self, cines: Tensor) -> Tensor:
        """Return means and logarithms of variances, (row, 2 × channel, time, y, x)."""
        folded = fold_voxels(cines, self.fold)
        moments: Tensor = self.exit(silu(self.norm(self.layers(folded))))
        return moments if self.shortcut is None else moments + self.shortcut(folded)


class VaeDecoder(nn.Module):
    """The encoder's mirror image."""

    def __init__(self, sizes: VaeSizes) -> None:
        super().__init__()
        self.fold = sizes.fold
        channels = sizes.channels[::-1]
        layers: list[nn.Module] = [convolution(sizes.latent_channels, channels[0], sizes.edge_kernel)]
        layers += [ResidualBlock(channels[0], sizes) for _ in range(sizes.blocks)]
        for (before, after), stride in zip(pairwise(channels), sizes.strides[::-1], strict=True):
            layers.append(growth(before, after, stride, sizes))
            layers += [ResidualBlock(after, sizes) for _ in range(sizes.blocks)]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.GroupNorm(sizes.groups, channels[-1])
        self.exit = convolution(channels[-1], prod(sizes.fold), sizes.edge_kernel)

    def forward(self, latents: Tensor) -> Tensor:
        """Return cines (row, 1, frame, y, x)."""
        return unfold_voxels(self.exit(silu(self.norm(self.layers(latents)))), self.fold)


class ResidualBlock(nn.Module):
    """Two convolutions, each after a normalisation and SiLU, added to what came in."""

    def __init__(self, width: int, sizes: VaeSizes) -> None:
        super().__init__()
        first, second = sizes.kernels
        self.first_norm = nn.GroupNorm(sizes.groups, width)
        self.first = convolution(width, width, first)
        self.second_norm = nn.GroupNorm(sizes.groups, width)
        self.second = convolution(width, width, second)

    def forward(self, volume: Tensor) -> Tensor:
        """Return (row, width, time, y, x) for the same."""
        changed = self.first(silu(self.first_norm(volume)))
        changed = self.second(silu(self.second_norm(changed)))
        added: Tensor = volume + changed
        return added


class Folding(nn.Module):
    """Neighbours become channels."""

    def __init__(self, fold: Box) -> None:
        super().__init__()
        self.fold = fold

    def forward(self, volume: Tensor) -> Tensor:
        """Return (row, channel × a × b × c, time / a, y / b, x / c)."""
        return fold_voxels(volume, self.fold)


class Unfolding(nn.Module):
    """Channels become neighbours."""

    def __init__(self, fold: Box) -> None:
        super().__init__()
        self.fold = fold

    def forward(self, volume: Tensor) -> Tensor:
        """Return (row, channel / (a × b × c), time × a, y × b, x × c)."""
        return unfold_voxels(volume, self.fold)


class Magnification(nn.Module):
    """Repeats each place along each axis."""

    def __init__(self, times: Box) -> None:
        super().__init__()
        self.times = tuple(float(factor) for factor in times)

    def forward(self, volume: Tensor) -> Tensor:
        """Return (row, width, time × a, y × b, x × c)."""
        return interpolate(volume, scale_factor=self.times, mode="nearest")


def shrinkage(before: int, after: int, stride: Box, sizes: VaeSizes) -> nn.Module:
    """Return what leads from one level of the encoder to the next."""
    if sizes.folds:
        return nn.Sequential(Folding(stride), convolution(before * prod(stride), after, sizes.edge_kernel))
    return convolution(before, after, sizes.kernels[0], stride)


def growth(before: int, after: int, stride: Box, sizes: VaeSizes) -> nn.Module:
    """Return what leads from one level of the decoder to the next."""
    if sizes.folds:
        return nn.Sequential(convolution(before, after * prod(stride), sizes.edge_kernel), Unfolding(stride))
    return nn.Sequential(Magnification(stride), convolution(before, after, sizes.kernels[0]))


def convolution(before: int, after: int, kernel: Box, stride: Box = (1, 1, 1)) -> nn.Conv3d:
    """Return a convolution that keeps the extents, but for its stride."""
    time, down, across = (extent // 2 for extent in kernel)
    return nn.Conv3d(before, after, kernel, stride, padding=(time, down, across))


def fold_voxels(cines: Tensor, fold: Box) -> Tensor:
    """Return (row, channel × dt × dy × dx, time, y, x) for (row, channel, frame, row, column)."""
    dt, dy, dx = fold
    return rearrange(cines, "row c (t dt) (y dy) (x dx) -> row (c dt dy dx) t y x", dt=dt, dy=dy, dx=dx)


def unfold_voxels(volume: Tensor, fold: Box) -> Tensor:
    """Return (row, channel, frame, row, column) for (row, channel × dt × dy × dx, time, y, x)."""
    dt, dy, dx = fold
    return rearrange(volume, "row (c dt dy dx) t y x -> row c (t dt) (y dy) (x dx)", dt=dt, dy=dy, dx=dx)
