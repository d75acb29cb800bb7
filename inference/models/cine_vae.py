"""The 3D variational autoencoder of cines: a few numbers a region of the picture and of the beat, and back.

The kind of Kingma and Welling (ICLR 2014) in the shape of latent diffusion's autoencoder (Rombach et al., CVPR 2022),
in the sizes of Ding et al., arXiv 2411.13602. The publication does not say in which level time is halved (here: the
last) nor whether there is attention in the middle (here: none).
"""

from __future__ import annotations

from itertools import pairwise
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
        layers: list[nn.Module] = [convolution(_folded(sizes), sizes.channels[0], sizes.edge_kernel)]
        for level, width in enumerate(sizes.channels):
            if level:
                layers.append(convolution(sizes.channels[level - 1], width, sizes.kernels[0], sizes.strides[level - 1]))
            layers += [ResidualBlock(width, sizes) for _ in range(sizes.blocks)]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.GroupNorm(sizes.groups, sizes.channels[-1])
        self.exit = convolution(sizes.channels[-1], 2 * sizes.latent_channels, sizes.edge_kernel)

    def forward(self, cines: Tensor) -> Tensor:
        """Return means and logarithms of variances, (row, 2 × channel, time, y, x)."""
        moments: Tensor = self.exit(silu(self.norm(self.layers(fold_voxels(cines, self.fold)))))
        return moments


class VaeDecoder(nn.Module):
    """The encoder's mirror image."""

    def __init__(self, sizes: VaeSizes) -> None:
        super().__init__()
        self.fold = sizes.fold
        channels = sizes.channels[::-1]
        layers: list[nn.Module] = [convolution(sizes.latent_channels, channels[0], sizes.edge_kernel)]
        layers += [ResidualBlock(channels[0], sizes) for _ in range(sizes.blocks)]
        for (before, after), stride in zip(pairwise(channels), sizes.strides[::-1], strict=True):
            layers += [Magnification(stride), convolution(before, after, sizes.edge_kernel)]
            layers += [ResidualBlock(after, sizes) for _ in range(sizes.blocks)]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.GroupNorm(sizes.groups, channels[-1])
        self.exit = convolution(channels[-1], _folded(sizes), sizes.edge_kernel)

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


class Magnification(nn.Module):
    """Repeats each place along each axis."""

    def __init__(self, times: Box) -> None:
        super().__init__()
        self.times = tuple(float(factor) for factor in times)

    def forward(self, volume: Tensor) -> Tensor:
        """Return (row, width, time × a, y × b, x × c)."""
        return interpolate(volume, scale_factor=self.times, mode="nearest")


def convolution(before: int, after: int, kernel: Box, stride: Box = (1, 1, 1)) -> nn.Conv3d:
    """Return a convolution that keeps the extents, but for its stride."""
    time, down, across = (extent // 2 for extent in kernel)
    return nn.Conv3d(before, after, kernel, stride, padding=(time, down, across))


def fold_voxels(cines: Tensor, fold: Box) -> Tensor:
    """Return (row, dt × dy × dx, time, y, x) for (row, 1, frame, row, column)."""
    dt, dy, dx = fold
    return rearrange(cines, "row 1 (t dt) (y dy) (x dx) -> row (dt dy dx) t y x", dt=dt, dy=dy, dx=dx)


def unfold_voxels(volume: Tensor, fold: Box) -> Tensor:
    """Return (row, 1, frame, row, column) for (row, dt × dy × dx, time, y, x)."""
    dt, dy, dx = fold
    return rearrange(volume, "row (dt dy dx) t y x -> row 1 (t dt) (y dy) (x dx)", dt=dt, dy=dy, dx=dx)


def _folded(sizes: VaeSizes) -> int:
    dt, dy, dx = sizes.fold
    return dt * dy * dx
