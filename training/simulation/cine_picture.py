"""The picture that a cine is painted on: where its pixels lie, the brush, and what the scanner makes of it.

Surfaces are signed distances on the pixels of all phases at once, and tissues are painted from back to front by the
share of the pixel that they fill. Blood, fluid and fat are bright, muscle and liver dark, lung nearly black, as bSSFP
shows them (Scheffler and Lehnhardt, European Radiology 2003).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from training.arrays import Floats

from .heart import PHASES

PIXELS = 96
PIXEL_MM = 2.35

Cine: TypeAlias = NDArray[np.uint8]
Box: TypeAlias = tuple[slice, slice]
Image: TypeAlias = NDArray[np.float32]
"""(96, 96), or (50, 96, 96) where it moves; distances in mm are positive inside."""

LUNG, WALL, HEART, LIVER, BLOOD, FLUID, FAT = 10.0, 34.0, 46.0, 40.0, 158.0, 196.0, 186.0
WHOLE: Box = (slice(None), slice(None))


@dataclass(frozen=True, slots=True)
class Plane:
    """Where the pixels lie, in mm: in the picture, and in the heart's own frame.

    Attributes:
        right, down: from the picture's middle.
        across, along: the four-chamber view: from the long axis to the lateral wall, from the apex to the base.
            The short axis: from the long axis to the front, and to the left.
        miss_mm: by how much the plane misses the long axis.
        turn_rad: by how much it is turned about it.
        box: which part of the picture it is, by rows and columns.
    """

    right: Image
    down: Image
    across: Image
    along: Image
    miss_mm: float
    turn_rad: float
    box: Box = WHOLE

    def within(self, box: Box) -> Plane:
        """Return a part of the whole plane."""
        return replace(
            self,
            right=self.right[box],
            down=self.down[box],
            across=self.across[box],
            along=self.along[box],
            box=box,
        )


def grid() -> tuple[Image, Image]:
    """Return how far each pixel lies to the right of the middle and below it, in mm: twice (96, 96)."""
    place = ((np.arange(PIXELS) - (PIXELS - 1) / 2) * PIXEL_MM).astype(np.float32)
    return np.broadcast_to(place, (PIXELS, PIXELS)), np.broadcast_to(place[:, None], (PIXELS, PIXELS))


def by_phase(values: Floats) -> Image:
    """Return (50, 1, 1) of (50,), to be used with a picture's pixels."""
    return values.astype(np.float32)[:, None, None]


def paint(image: Image, inside_mm: Image | Floats, intensity: Image | float) -> None:
    """Blend a tissue into the image by the share of each pixel that it fills."""
    image += share_of_pixel(inside_mm) * (np.asarray(intensity, np.float32) - image)


def share_of_pixel(inside_mm: Image | Floats) -> Image:
    """Return which share of each pixel lies inside a surface: a half on it."""
    share = np.asarray(inside_mm, np.float32) * np.float32(1 / (1.15 * PIXEL_MM))
    share += np.float32(0.5)
    return np.clip(share, 0, 1, out=share)


def disc(plane: Plane, radius_mm: Floats, middle: tuple[float, float]) -> Image:
    """Return the distance inside a disc of the radius (PHASES,), whose middle stays: to the right and down, in mm."""
    away = np.hypot(plane.right - np.float32(middle[0]), plane.down - np.float32(middle[1]))
    return np.asarray(by_phase(radius_mm) - away, np.float32)


def ellipse(
    plane: Plane,
    middle: tuple[Floats, Floats],
    axes: tuple[Floats, Floats],
) -> Image:
    """Return the distance inside an ellipse that moves, by its place and semi-axes (PHASES,) across and along."""
    x = (plane.across - by_phase(middle[0])) / by_phase(axes[0])
    y = (plane.along - by_phase(middle[1])) / by_phase(axes[1])
    radius = np.sqrt(x * x + y * y)
    return np.asarray((1 - radius) * by_phase(np.sqrt(axes[0] * axes[1])), np.float32)


def smooth_noise(rng: np.random.Generator, pixels: float) -> Image:
    """Return (96, 96) of noise of mean 0 and deviation 1, smooth over so many pixels."""
    noise = gaussian_filter(rng.standard_normal((PIXELS, PIXELS), np.float32), pixels)
    return np.asarray((noise - noise.mean()) / noise.std(), np.float32)


def swirling_blood(rng: np.random.Generator, box: Box) -> Image:
    """Return the brightness of blood, which swirls, in a part of (50, 96, 96)."""
    turn = by_phase(np.arange(PHASES) / PHASES * 2 * np.pi)
    fields = [smooth_noise(rng, pixels)[box] for pixels in (4.0, 4.0, 2.0)]
    swirl = fields[0] * np.cos(turn) + fields[1] * np.sin(turn) + fields[2] * np.cos(3 * turn) * np.float32(0.5)
    return np.asarray(BLOOD * (1 + np.float32(0.045) * swirl), np.float32)


def between_trabeculae(rng: np.random.Generator, depth: float, box: Box) -> Image:
    """Return a factor for blood between fine strands of muscle, in a part of (96, 96)."""
    return np.asarray(1 - np.float32(depth) * np.clip(smooth_noise(rng, 0.9)[box] - 0.3, 0, 1.5), np.float32)


def scan(image: Image, rng: np.random.Generator) -> Cine:
    """Return what the scanner makes of it: coil shading, Rician noise, 8 bits."""
    right, down = grid()
    slope, bow = rng.normal(0, 0.0012, 2), rng.uniform(-1, 1) * 1.2e-5
    shading = 1 + slope[0] * right + slope[1] * down + np.float32(bow) * (right**2 + down**2)
    image *= (rng.uniform(0.88, 1.12) * shading).astype(np.float32)
    noise = rng.standard_normal((2, *image.shape), np.float32)
    deviation = np.float32(rng.uniform(1.5, 6.0))
    cine = np.empty(image.shape, np.uint8)
    for phase, picture in enumerate(image):  # a picture at a time stays in the cache
        real, imaginary = noise[:, phase] * deviation
        real += picture
        magnitude = np.sqrt(real * real + imaginary * imaginary)
        cine[phase] = np.minimum(magnitude, 255, out=magnitude)
    return cine
