"""Measures the left ventricle on a four-chamber cine: volumes by area and length, thickness of the wall.

- volume of one plane, 8 area² / (3 π length): Dodge et al., American Heart Journal 1960; Sandler and Dodge, 1968
- area and length are taken from the sums and second moments of the shares of pixels that are cavity, so that they are
  finer than a pixel: the length is that of the ellipse of the same moments
- end diastole is the first frame, end systole the one of the smallest volume, as in
  `training.simulation.heart_measurements`
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label

from training.arrays import Floats

Shares = NDArray[np.float32]
"""(n, frames, 2, rows, columns): of each pixel, the share that is cavity and the share that is wall."""

INSIDE = 0.5
"""Shares above it belong to the ventricle for certain; only what lies about its largest piece counts."""
MARGIN_PIXELS = 2
OPEN_ARC = 0.8
"""Share of an ellipse's outline along which the cavity has a wall: the rest is the mitral valve. That of ellipses cut
1.55 semi-axes above the apex, for widths of 0.5 to 0.8 of the length."""
THICKNESS_STEPS = 8


@dataclass(frozen=True, slots=True, eq=False)
class LeftVentricles:
    """The left ventricles of n cines; NaN where a cine shows none.

    Attributes:
        volume_ml: (n, frames) of the cavity.
        thickness_mm: (n,) of the wall, its mean at end diastole.
    """

    volume_ml: Floats
    thickness_mm: Floats

    @property
    def lvedv_ml(self) -> Floats:
        """(n,) at the beginning of the beat."""
        return self.volume_ml[:, 0]

    @property
    def lvesv_ml(self) -> Floats:
        """(n,) the smallest volume."""
        return np.asarray(self.volume_ml.min(axis=1))

    @property
    def lvef_percent(self) -> Floats:
        """(n,) share of the volume that is ejected."""
        return 100 * (1 - self.lvesv_ml / self.lvedv_ml)

    def take(self, places: NDArray[np.intp]) -> LeftVentricles:
        """Return the left ventricles at these places, in this order."""
        return LeftVentricles(self.volume_ml[places], self.thickness_mm[places])


def measure_left_ventricles(shares: Shares, pixel_mm: float) -> LeftVentricles:
    """Return volumes and thickness of the wall, for shares (n, frames, 2, rows, columns)."""
    cavity = largest_pieces(shares[:, :, 0])
    ellipse = fit_ellipses(cavity, pixel_mm)
    wall_mm2 = shares[:, 0, 1].sum(axis=(1, 2), dtype=np.float64) * pixel_mm**2
    return LeftVentricles(
        volume_ml=area_length_ml(ellipse.area_mm2, ellipse.length_mm),
        thickness_mm=thickness_mm(wall_mm2, ellipse.length_mm[:, 0], ellipse.width_mm[:, 0]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Ellipses:
    """Ellipses of the same area and second moments as a cavity, (n, frames) each; NaN where there is none."""

    area_mm2: Floats
    length_mm: Floats
    width_mm: Floats


def fit_ellipses(cavity: Shares, pixel_mm: float) -> Ellipses:
    """Return the ellipses of the shares (n, frames, rows, columns) of pixels that are cavity."""
    weights = cavity.astype(np.float64)
    down, across = (np.arange(size, dtype=np.float64) for size in weights.shape[-2:])
    by_row, by_column = weights.sum(axis=-1), weights.sum(axis=-2)
    area = by_row.sum(axis=-1)
    area = np.where(area > 1, area, np.nan)
    middle_down, middle_across = by_row @ down / area, by_column @ across / area
    down_down = by_row @ down**2 / area - middle_down**2
    across_across = by_column @ across**2 / area - middle_across**2
    both = np.einsum("...ij,i,j->...", weights, down, across, optimize=True) / area - middle_down * middle_across
    mean, half = (down_down + across_across) / 2, (down_down - across_across) / 2
    apart = np.hypot(half, both)
    length, width = (4 * pixel_mm * np.sqrt(np.maximum(mean + sign * apart, 0)) for sign in (1, -1))
    return Ellipses(area * pixel_mm**2, length, width)


def area_length_ml(area_mm2: Floats, length_mm: Floats) -> Floats:
    """Return the volume of a body of revolution, from its section along the axis."""
    return np.asarray(8 * area_mm2**2 / (3 * np.pi * length_mm) / 1e3)


def thickness_mm(wall_mm2: Floats, length_mm: Floats, width_mm: Floats) -> Floats:
    """Return the mean thickness of a wall of this area about an ellipse: area over the length of its middle line."""
    thickness = np.zeros_like(wall_mm2)
    for _ in range(THICKNESS_STEPS):  # the middle line lies half a thickness further out
        thickness = wall_mm2 / (OPEN_ARC * circumference_mm(length_mm + thickness, width_mm + thickness))
    return thickness


def circumference_mm(length_mm: Floats, width_mm: Floats) -> Floats:
    """Return the circumference of ellipses (Ramanujan 1914)."""
    squeezed = ((length_mm - width_mm) / (length_mm + width_mm)) ** 2
    return np.asarray(
        np.pi / 2 * (length_mm + width_mm) * (1 + 3 * squeezed / (10 + np.sqrt(4 - 3 * squeezed))), np.float64
    )


def largest_pieces(cavity: Shares) -> Shares:
    """Return the shares (n, frames, rows, columns), 0 away from each frame's largest piece."""
    return np.stack([[_largest_piece(frame) for frame in cine] for cine in cavity])


def _largest_piece(frame: Shares) -> Shares:
    pieces, count = label(frame > INSIDE)
    if count == 0:
        return np.zeros_like(frame)
    largest = np.bincount(pieces.ravel())[1:].argmax() + 1
    return np.where(binary_dilation(pieces == largest, iterations=MARGIN_PIXELS), frame, 0)
