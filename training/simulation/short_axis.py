"""The cine of a simulated heart's middle short axis.

What is drawn at random comes from the scan's own seed. The view is that of the scanner: the chest's front is up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from training.arrays import Floats

from .cine_chest import paint_sac, short_chest
from .cine_picture import (
    HEART,
    Cine,
    Image,
    Plane,
    between_trabeculae,
    ellipse,
    grid,
    paint,
    scan,
    swirling_blood,
)
from .heart import ANGLE, LEVELS, Heart, at_bearing

BEARINGS = 192


def draw_short_axis(heart: Heart) -> Cine:
    """Return (50, 96, 96) uint8, through the middle of the ventricles, the right one on the left."""
    rng = np.random.default_rng([*heart.patient.scan_seed, 2])
    plane = _place_plane(rng)
    image = short_chest(heart, plane, rng)
    _paint_heart(image, heart, plane, rng)
    return scan(image, rng)


def _place_plane(rng: np.random.Generator) -> Plane:
    right, down = grid()
    tilt = np.radians(rng.normal(28, 7))
    middle = np.array([22.0, 6.0]) + rng.normal(0, 4, 2)
    x, y = right - np.float32(middle[0]), down - np.float32(middle[1])
    to_septum, to_front = -x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) - y * np.cos(tilt)
    miss = 0.5 + float(rng.normal(0, 0.03))
    return Plane(right, down, to_septum.astype(np.float32), to_front.astype(np.float32), miss, 0.0)


def _paint_heart(image: Image, heart: Heart, plane: Plane, rng: np.random.Generator) -> None:
    """Paint rings round the long axis, by bearing, where the moving wall crosses the plane, which stays."""
    height = plane.miss_mm * float(heart.base_mm[0].mean())
    distance = np.hypot(plane.across, plane.along)
    bearing = np.arctan2(plane.along, plane.across) % (2 * np.pi)
    place = (bearing / (2 * np.pi) * BEARINGS).astype(np.intp) % BEARINGS
    cavity, wall, right = (
        _inside_ring(_ring_at(heart, radius, height), place, distance)
        for radius in (heart.endocardium_mm, heart.epicardium_mm, heart.rv_mm)
    )
    right = np.minimum(right, -wall)
    rim = np.maximum(wall, right + np.float32(heart.patient.others.rv_wall_mm))
    paint_sac(image, heart, plane, rim, rng)
    paint(image, rim, HEART)
    blood = swirling_blood(rng, plane.box)
    paint(image, right, blood * between_trabeculae(rng, 0.25, plane.box))
    paint(image, wall, HEART)
    paint(image, cavity, blood)
    _paint_papillaries(image, heart, plane, cavity, height)


def _ring_at(heart: Heart, radius: Floats, height: float) -> Floats:
    """Return (PHASES, SECTORS): the radius of a surface at a height over the apex."""
    above = np.clip((heart.height_mm < height).sum(axis=1), 1, LEVELS - 1)[:, None]
    low, high = (np.take_along_axis(heart.height_mm, above + shift, 1)[:, 0] for shift in (-1, 0))
    inner, outer = (np.take_along_axis(radius, above + shift, 1)[:, 0] for shift in (-1, 0))
    return np.asarray(inner + (outer - inner) * np.clip((height - low) / (high - low), 0, 1))


def _inside_ring(ring: Floats, place: NDArray[np.intp], distance: Image) -> Image:
    """Return the distance inside a ring (PHASES, SECTORS) at bearings (96, 96)."""
    fine = np.arange(BEARINGS) * 2 * np.pi / BEARINGS
    around = np.concatenate([ANGLE[-1:] - 2 * np.pi, ANGLE, ANGLE[:1] + 2 * np.pi])
    closed = np.concatenate([ring[:, -1:], ring, ring[:, :1]], axis=1)
    radius = np.stack([np.interp(fine, around, values) for values in closed])
    radius = gaussian_filter(radius, (0, 3), mode="wrap").astype(np.float32)
    slope = np.gradient(radius, fine[1], axis=1) / radius
    steep = 1 / np.sqrt(1 + slope**2)
    return np.asarray((np.take(radius, place, axis=1) - distance) * np.take(steep, place, axis=1), np.float32)


def _paint_papillaries(image: Image, heart: Heart, plane: Plane, cavity: Image, height: float) -> None:
    ring = _ring_at(heart, heart.endocardium_mm, height)
    thick = 3.2 * (1 + 0.2 * heart.contraction)
    for bearing in (np.radians(140), np.radians(235)):
        far = 0.72 * at_bearing(ring, bearing)
        muscle = ellipse(plane, (far * np.cos(bearing), far * np.sin(bearing)), (thick, thick))
        paint(image, np.minimum(muscle, cavity), HEART * 1.2)
