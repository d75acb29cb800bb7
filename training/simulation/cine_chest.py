"""What a cine shows about the heart: its sac, the lungs, the liver, the chest's wall and the descending aorta."""

from __future__ import annotations

import numpy as np

from .cine_picture import BLOOD, FAT, FLUID, HEART, LIVER, LUNG, PIXELS, WALL, Image, Plane, disc, paint, smooth_noise
from .heart import LEVELS, PHASES, Heart, sac_thickness_mm

MOST_UNEVEN = 3.0
"""How many times its thickness the fat may have at a place."""


def paint_sac(image: Image, heart: Heart, plane: Plane, rim: Image, rng: np.random.Generator) -> None:
    """Paint what lies between the heart and its sac: fluid, and fat of uneven thickness."""
    fluid_mm, fat_mm = sac_thickness_mm(heart.patient.conditions, heart.patient.person.bmi)
    uneven = np.clip(1 + 0.8 * smooth_noise(rng, 9.0)[plane.box], 0, MOST_UNEVEN)
    paint(image, rim + np.float32(fluid_mm) + np.float32(fat_mm) * uneven, FAT * 0.85)
    if fluid_mm > 1:
        paint(image, rim + np.float32(fluid_mm + 1.2), HEART)
        paint(image, rim + np.float32(fluid_mm), FLUID)


def long_chest(heart: Heart, plane: Plane, rng: np.random.Generator) -> Image:
    """Return (50, 96, 96): lungs with their vessels, spine, liver and the wall in front; the aorta alone moves."""
    right, down = plane.right, plane.down
    _, fat_mm = sac_thickness_mm(heart.patient.conditions, heart.patient.person.bmi)
    apex = np.unravel_index(np.argmin(np.hypot(plane.across, plane.along)), plane.across.shape)
    apex_right, apex_down = float(right[apex]), float(down[apex])
    floor = apex_down + 12 + rng.uniform(0, 5)
    inside = (floor + 40 - np.hypot(right * 0.72 - 4, down + 40)).astype(np.float32)
    image = np.full((PIXELS, PIXELS), LUNG, np.float32)
    _vessels(image, plane, rng)
    paint(image, 52 - np.hypot((right + 112) * 0.75, down - 62), LIVER * (1 + 0.15 * smooth_noise(rng, 2.0)))
    paint(image, 25 - np.hypot(right + 24, (down + 78) * 1.15), WALL * (1 + 0.2 * smooth_noise(rng, 1.5)))
    paint(image, 10 - np.hypot(right + 24, down + 90), BLOOD * 0.7)
    paint(image, 5.5 - np.hypot(right + 24, down + 90), WALL)
    pad = 8 + 3.2 * fat_mm  # between the apex, the diaphragm and the wall in front
    paint(image, pad - np.hypot((right - apex_right - 4) * 0.62, down - floor), FAT * 0.8)
    _chest_wall(image, inside, heart.patient.person.bmi, rng, muscle_mm=13, waviness_mm=4)
    return _with_aorta(image, heart, plane, (8.0, -62.0))


def short_chest(heart: Heart, plane: Plane, rng: np.random.Generator) -> Image:
    """Return (50, 96, 96): what lies about the ventricles in the short axis, the wall in front of the chest above."""
    right, down = plane.right, plane.down
    ceiling = float(-np.max(heart.rv_mm[0, LEVELS // 2])) - rng.uniform(10, 16)
    inside = (110 - np.hypot((right - 10) * 0.7, down - ceiling - 110)).astype(np.float32)
    image = np.full((PIXELS, PIXELS), LUNG, np.float32)
    _vessels(image, plane, rng)
    paint(image, 66 - np.hypot((right + 70) * 0.62, down - 92), LIVER * (1 + 0.15 * smooth_noise(rng, 2.0)))
    paint(image, 26 - np.hypot(right + 20, down - 108), WALL)
    _chest_wall(image, inside, heart.patient.person.bmi, rng, muscle_mm=12, waviness_mm=3)
    return _with_aorta(image, heart, plane, (-8.0, 78.0))


def _chest_wall(
    image: Image, inside: Image, bmi: float, rng: np.random.Generator, *, muscle_mm: int, waviness_mm: int
) -> None:
    """Paint muscle, fat and the air beyond the skin, outwards from where `inside` (mm) is 0."""
    paint(image, -inside, WALL * (1 + 0.25 * smooth_noise(rng, 1.5)))
    paint(image, -inside - muscle_mm - waviness_mm * smooth_noise(rng, 8.0), FAT)
    fat_mm = 10 + 2.2 * (bmi - 18)
    paint(image, -inside - (muscle_mm + 3) - np.float32(fat_mm), LUNG * 0.5)


def _vessels(image: Image, plane: Plane, rng: np.random.Generator) -> None:
    for _ in range(14):
        side = rng.choice([-1, 1])
        middle = (side * rng.uniform(45, 100), rng.normal(-35, 28))
        size = rng.uniform(0.6, 3.0)
        paint(image, size - np.hypot(plane.right - middle[0], plane.down - middle[1]), rng.uniform(40, 110))


def _with_aorta(still: Image, heart: Heart, plane: Plane, middle: tuple[float, float]) -> Image:
    image = np.repeat(still[None], PHASES, axis=0)
    paint(image, disc(plane, np.sqrt(heart.descending_mm2 / np.pi), middle), BLOOD)
    return image
