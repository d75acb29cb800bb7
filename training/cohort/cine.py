"""The CMR cines of a simulated heart: four-chamber and middle short axis, as bSSFP shows them.

Blood and fat are bright, muscle is dark, lung is black. Edges are shaded by the share of the pixel that a tissue fills
(partial volume); a receiver coil's smooth shading, Rician noise and small errors of the plane are drawn from the
scan's own seed. Contrast after Scheffler & Lehnhardt, Eur Radiol 2003.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .heart import ANGLE_PLACES, PHASES, RINGS, SEPTUM_ANGLE, Array, Heart

PIXELS = 96
PIXEL_MM = 2.3

Cine: TypeAlias = NDArray[np.uint8]
Image: TypeAlias = NDArray[np.float32]

LUNG, MUSCLE, LIVER, BLOOD, FLUID, FAT = 14.0, 62.0, 78.0, 168.0, 205.0, 190.0
MAX_NOISE = 7.0
FAR_MM = 100.0
EFFUSION_MM = 15.0
SEPTAL_WALL = np.deg2rad(120)
LATERAL_WALL = np.deg2rad(300)
"""Where the four-chamber plane cuts the left ventricle: inferoseptal and anterolateral."""


@dataclass(frozen=True, slots=True)
class Plane:
    """Where the pixels lie in the plane, in mm: along the heart (0 at the base, growing to the apex) and across."""

    along: Image
    across: Image
    body: Image


def draw_four_chamber(heart: Heart) -> Cine:
    """Return (50, 96, 96) uint8: the apex up, the left heart on the right, as radiologists view it."""
    rng = np.random.default_rng([*heart.patient.scan_seed, 4])
    plane = _plane(rng, turn_deg=-38.0, centre_mm=(float(heart.length_mm[0]) * 0.36, -8.0))
    image = np.broadcast_to(_surroundings(heart, plane), (PHASES, PIXELS, PIXELS)).copy()
    base = (heart.length_mm[0] - heart.length_mm)[:, None, None].astype(np.float32)
    _paint_atria(image, heart, plane, base)
    _paint_ventricles(image, heart, plane, base)
    return _scanned(image, rng)


def draw_short_axis(heart: Heart) -> Cine:
    """Return (50, 96, 96) uint8: the middle of the ventricles, the left one on the right."""
    rng = np.random.default_rng([*heart.patient.scan_seed, 2])
    plane = _plane(rng, turn_deg=0.0, centre_mm=(0.0, -16.0))
    image = np.broadcast_to(_surroundings(heart, plane), (PHASES, PIXELS, PIXELS)).copy()
    # anterior is up, the septum on the left
    angle = np.asarray(np.arctan2(-plane.across, plane.along) % (2 * np.pi), np.float32)
    distance = np.hypot(plane.along, plane.across)
    middle = RINGS // 2
    inner = _by_angle(heart.inner_mm[:, middle], angle)
    outer = inner + _by_angle(heart.wall_mm[:, middle], angle)
    toward_septum = np.clip(np.cos(angle - SEPTUM_ANGLE), 0, None).astype(np.float32)
    # a crescent: its share of the middle follows from half the ventricle's volume along its length
    depth = 0.8 * np.cbrt(heart.rv_ml * 1000 / 2).astype(np.float32)[:, None, None] * np.sqrt(toward_septum)
    right = np.where(toward_septum > 0, outer + depth, outer)
    rim = right + np.float32(heart.patient.others.rv_wall_mm) * (toward_septum > 0)
    if (fluid_mm := EFFUSION_MM * heart.patient.conditions.effusion) > 1:
        _paint(image, rim + np.float32(fluid_mm) - distance, FLUID)
    _paint(image, rim - distance, MUSCLE)
    _paint(image, right - distance, BLOOD)
    _paint(image, outer - distance, MUSCLE)
    _paint(image, inner - distance, BLOOD)
    return _scanned(image, rng)


def _plane(rng: np.random.Generator, *, turn_deg: float, centre_mm: tuple[float, float]) -> Plane:
    """Return a plane that lies nearly where it should."""
    rows, columns = np.mgrid[:PIXELS, :PIXELS].astype(np.float32)
    up = (PIXELS / 2 - rows) * np.float32(PIXEL_MM)
    right = (columns - PIXELS / 2) * np.float32(PIXEL_MM)
    turn = np.deg2rad(turn_deg + rng.normal(0, 6))
    shift = rng.normal(0, 4, 2)
    along = np.cos(turn) * up - np.sin(turn) * right + centre_mm[0] + shift[0]
    across = np.sin(turn) * up + np.cos(turn) * right + centre_mm[1] + shift[1]
    return Plane(along.astype(np.float32), across.astype(np.float32), np.stack([up, right]))


def _surroundings(heart: Heart, plane: Plane) -> Image:
    """Return (96, 96): chest wall, lungs and liver; they do not move."""
    up, right = plane.body
    fat_mm = float(np.clip(2.2 * (heart.patient.person.bmi - 17), 4, 45))
    chest = np.hypot((up + 20) / 118, (right - 5) / 150)
    image = np.full((PIXELS, PIXELS), LUNG, np.float32)
    _paint(image, (chest - 0.80) * 120, MUSCLE)
    _paint(image, (chest - 0.89) * 120, FAT)
    _paint(image, (chest - 0.93 - fat_mm / 120) * 120, LUNG * 0.3)
    _paint(image, 52 - np.hypot(up + 95, (right + 85) * 0.7), LIVER)
    _paint(image, 20 - np.hypot(up + 105, right - 45), MUSCLE)
    _paint(image, 12 - np.hypot(up + 92, right - 38), BLOOD)
    return image


def _paint_atria(image: Image, heart: Heart, plane: Plane, base: Image) -> None:
    """Paint the atria behind the valves, with thin walls."""
    for volume_ml, side in ((heart.la_ml, 1.0), (heart.ra_ml, -1.0)):
        radius = np.cbrt(volume_ml * 1000 * 3 / (4 * np.pi)).astype(np.float32)[:, None, None]
        middle = side * (radius + 1.5) - (6 if side < 0 else 3)
        distance = np.hypot(plane.along - (base - radius * 0.98 - 2), (plane.across - middle) * 1.02)
        _paint(image, radius + 3 - distance, MUSCLE)
        _paint(image, radius - distance, BLOOD)


def _paint_ventricles(image: Image, heart: Heart, plane: Plane, base: Image) -> None:
    """Paint fluid, then the right ventricle over it, then the left one with the septum."""
    length = heart.length_mm[:, None, None].astype(np.float32)
    place = (plane.along - base) / length
    lateral = plane.across > 0
    inner, wall = _cut(heart.inner_mm, place, lateral), _cut(heart.wall_mm, place, lateral)
    apex_wall = heart.wall_mm[:, -1].mean(axis=1).astype(np.float32)[:, None, None]
    side = np.abs(plane.across)
    closed = np.float32(PIXEL_MM) + plane.along - base  # how far inside the base
    outer_edge = np.minimum(np.where(place < 1, inner + wall - side, _cap(place, length, side, apex_wall)), closed)
    inner_edge = np.minimum(np.where(place < 1, inner - side, -PIXEL_MM), closed - 2)
    reach = np.clip(1 - np.clip(place / 0.82, 0, 1) ** 2, 0, None)
    width = (1.02 * np.cbrt(heart.rv_ml * 1000 / 1.6)).astype(np.float32)[:, None, None] * np.sqrt(reach)
    right = np.where(lateral | (place > 0.82), -FAR_MM, inner + wall + width - side)
    right_edge = np.minimum(right, closed)
    rim = np.maximum(outer_edge, right_edge + np.float32(heart.patient.others.rv_wall_mm))
    if (fluid_mm := EFFUSION_MM * heart.patient.conditions.effusion) > 1:
        _paint(image, np.minimum(rim + np.float32(fluid_mm), closed + 6), FLUID)
    _paint(image, rim, MUSCLE)
    _paint(image, np.minimum(right_edge, closed - 2), BLOOD)
    _paint(image, outer_edge, MUSCLE)
    _paint(image, inner_edge, BLOOD)


def _cap(place: Image, length: Image, side: Image, apex_wall: Image) -> Image:
    """Return how far inside the muscle beyond the cavity's apex a pixel lies, in mm."""
    return np.asarray(apex_wall - np.hypot((place - 1) * length, side * 0.8))


def _cut(on_mesh: Array, place: Image, lateral: NDArray[np.bool_]) -> Image:
    """Return what the mesh (50, 24, 24) says at places from base to apex of its septal or lateral wall."""
    walls = [on_mesh[:, :, int(np.argmin(np.abs(ANGLE_PLACES - angle)))] for angle in (SEPTAL_WALL, LATERAL_WALL)]
    ring = np.clip(place * RINGS - 0.5, 0, RINGS - 1.001)
    low = ring.astype(np.int32)
    share = ring - low
    phase = np.arange(PHASES)[:, None, None]
    septal, free = ((1 - share) * wall[phase, low] + share * wall[phase, low + 1] for wall in walls)
    return np.asarray(np.where(lateral, free, septal), np.float32)


def _by_angle(ring: Array, angle: Image) -> Image:
    """Return what a ring (50, 24) says at angles (96, 96): (50, 96, 96)."""
    count = ring.shape[1]
    exact = angle / (2 * np.pi) * count - 0.5
    low = np.floor(exact).astype(np.int32)
    share = (exact - low).astype(np.float32)
    values = ring.astype(np.float32)
    return np.asarray((1 - share) * values[:, low % count] + share * values[:, (low + 1) % count])


def _paint(image: Image, inside_mm: Image, intensity: float) -> None:
    """Blend a tissue into the image by the share of each pixel that it fills."""
    share = np.clip(inside_mm / PIXEL_MM + 0.5, 0, 1).astype(np.float32)
    image += share * (np.float32(intensity) - image)


def _scanned(image: Image, rng: np.random.Generator) -> Cine:
    """Return what the scanner makes of it: coil shading, uneven tissue, noise, 8 bits."""
    rows, columns = np.mgrid[-1 : 1 : PIXELS * 1j, -1 : 1 : PIXELS * 1j].astype(np.float32)
    slope = rng.normal(0, 0.16, 2)
    shading = 1.0 - 0.10 * (rows + 0.3) ** 2 - slope[0] * rows - slope[1] * columns
    texture = 1 + 0.05 * _smooth_noise(rng)
    gain = rng.uniform(0.85, 1.15)
    image *= (gain * shading * texture).astype(np.float32)
    deviation = np.float32(rng.uniform(2.5, MAX_NOISE))
    real, imaginary = rng.standard_normal((2, *image.shape), np.float32) * deviation
    return np.asarray(np.clip(np.hypot(image + real, imaginary), 0, 255), np.uint8)


def _smooth_noise(rng: np.random.Generator) -> Image:
    """Return (96, 96) of smooth noise of about deviation 1: tissue is not even."""
    from scipy.ndimage import zoom

    return np.asarray(zoom(rng.standard_normal((16, 16)), PIXELS / 16, order=3), np.float32)
