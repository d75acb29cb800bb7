"""The four-chamber cine of a simulated heart.

The plane misses the heart's axis a little, as in life; what is drawn at random comes from the scan's own seed. The view
is that of the scanner: the chest's front is down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.arrays import Floats

from .cine_chest import MOST_UNEVEN, long_chest, paint_sac
from .cine_picture import (
    HEART,
    PIXEL_MM,
    Box,
    Cine,
    Image,
    Plane,
    between_trabeculae,
    by_phase,
    ellipse,
    grid,
    paint,
    scan,
    share_of_pixel,
    swirling_blood,
)
from .heart import PHASES, Heart, at_bearing, sac_thickness_mm

RIGHT_ATRIUM_GAIN = 1.12
"""Blood from the veins is a little brighter."""
ATRIAL_WALL_MM = 1.8
TRICUSPID_OFFSET_MM = 5.0
"""How much nearer to the apex than the mitral valve the tricuspid one sits."""
FOUR_CHAMBER_RAD = np.radians(337.5)
LOWEST_MM, FINENESS = -30.0, 2
"""Of tables by height over the apex: where they begin, entries a mm."""
HEIGHTS = np.arange(LOWEST_MM, 190.0, 1 / FINENESS)
COARSE = 4
"""Every so many pixels it is looked where the heart lies."""
SLACK_MM = 1.5 * COARSE / 2 * np.sqrt(2) * PIXEL_MM + 2
"""How much nearer than the nearest of those pixels a surface may be, and how far its edge is smoothed."""


def draw_four_chamber(heart: Heart) -> Cine:
    """Return (50, 96, 96) uint8, the apex down and the left heart on the right."""
    rng = np.random.default_rng([*heart.patient.scan_seed, 4])
    plane = _place_plane(heart, rng)
    surfaces = _ventricles(heart, plane)
    image = long_chest(heart, plane, rng)
    box = _around_heart(heart, plane, surfaces)
    _paint_heart(image[:, *box], heart, plane.within(box), surfaces, rng)
    return scan(image, rng)


def outline_four_chamber(heart: Heart) -> Image:
    """Return (50, 2, 96, 96) float32: the shares of each pixel that `draw_four_chamber` paints as cavity and as wall.

    Of the left ventricle; papillary muscles and trabeculae belong to the cavity, as in UK Biobank's contours.
    """
    plane = _place_plane(heart, np.random.default_rng([*heart.patient.scan_seed, 4]))
    cut = _cut(heart, plane, _ventricles(heart, plane))
    left_atrium, _ = _atria(heart, plane, cut)
    cavity = share_of_pixel(cut.cavity)
    wall = share_of_pixel(cut.wall) * (1 - share_of_pixel(left_atrium)) * (1 - cavity)
    return np.stack([cavity, wall], axis=1)


@dataclass(frozen=True, slots=True)
class _Cut:
    """Ventricles in the four-chamber plane: distances inside their surfaces, (50, 96, 96)."""

    cavity: Image
    wall: Image
    right: Image
    mitral: Image
    tricuspid: Image


@dataclass(frozen=True, slots=True)
class _Surface:
    """A surface in the plane, (PHASES, sides × heights).

    Attributes:
        width: half its width, squared.
        steep: half the slope of that, squared.
    """

    width: Image
    steep: Image


def _place_plane(heart: Heart, rng: np.random.Generator) -> Plane:
    right, down = grid()
    tilt = np.radians(rng.normal(27, 6))
    length = float(heart.base_mm[0].mean())
    toward_apex = np.array([np.sin(tilt), np.cos(tilt)])
    mitral = np.array([2.0, -2.0]) + rng.normal(0, 4, 2) + (38 - 0.42 * length) * toward_apex
    x, y = right - np.float32(mitral[0]), down - np.float32(mitral[1])
    along = np.float32(length) - (x * toward_apex[0] + y * toward_apex[1])
    across = x * toward_apex[1] - y * toward_apex[0]
    miss, turn = float(rng.normal(0, 2.5)), float(rng.normal(0, np.radians(7)))
    return Plane(right, down, across.astype(np.float32), along.astype(np.float32), miss, turn)


def _paint_heart(
    image: Image, heart: Heart, plane: Plane, surfaces: tuple[_Surface, ...], rng: np.random.Generator
) -> None:
    cut = _cut(heart, plane, surfaces)
    left_atrium, right_atrium = _atria(heart, plane, cut)
    rim = _rim(heart, cut, left_atrium, right_atrium)
    paint_sac(image, heart, plane, rim, rng)
    paint(image, rim, HEART)
    blood = swirling_blood(rng, plane.box)
    paint(image, right_atrium, blood * np.float32(RIGHT_ATRIUM_GAIN))
    paint(image, cut.right, blood * between_trabeculae(rng, 0.22, plane.box))
    paint(image, cut.wall, HEART)
    paint(image, left_atrium, blood)
    paint(image, cut.cavity, blood)
    _paint_papillary(image, heart, plane, cut, rng)
    _paint_valves(image, heart, cut)


def _around_heart(heart: Heart, plane: Plane, surfaces: tuple[_Surface, ...]) -> Box:
    """Return the part of the picture outside of which neither heart nor sac is ever painted."""
    every = slice(COARSE // 2, None, COARSE)
    coarse = plane.within((every, every))
    cut = _cut(heart, coarse, surfaces)
    rim = _rim(heart, cut, *_atria(heart, coarse, cut))
    fluid_mm, fat_mm = sac_thickness_mm(heart.patient.conditions, heart.patient.person.bmi)
    near = (rim > -(fluid_mm + MOST_UNEVEN * fat_mm + SLACK_MM)).any(axis=0)
    rows, columns = (np.flatnonzero(near.any(axis=axis)) * COARSE for axis in (1, 0))
    return slice(rows[0], rows[-1] + COARSE), slice(columns[0], columns[-1] + COARSE)


def _rim(heart: Heart, cut: _Cut, left_atrium: Image, right_atrium: Image) -> Image:
    """Return the distance inside the heart as a whole."""
    rim = np.maximum(np.maximum(left_atrium, right_atrium) + np.float32(ATRIAL_WALL_MM), cut.wall)
    return np.asarray(np.maximum(rim, cut.right + np.float32(heart.patient.others.rv_wall_mm)))


def _bearings(plane: Plane) -> tuple[float, float]:
    """Return where the plane cuts the left ventricle: in the septum, and in the lateral wall."""
    return FOUR_CHAMBER_RAD + plane.turn_rad, FOUR_CHAMBER_RAD + plane.turn_rad - np.pi


def _ventricles(heart: Heart, plane: Plane) -> tuple[_Surface, ...]:
    """Return the left ventricle's inner and outer surface, and the right one's."""
    radii = (heart.endocardium_mm, heart.epicardium_mm, heart.rv_mm)
    depths = (np.zeros(PHASES), heart.apex_mm, heart.apex_mm)
    return tuple(
        _surface(_squared_radius(heart, radius, depth, _bearings(plane), plane.miss_mm))
        for radius, depth in zip(radii, depths, strict=True)
    )


def _cut(heart: Heart, plane: Plane, surfaces: tuple[_Surface, ...]) -> _Cut:
    """Return the ventricles' surfaces, looked up by pixel."""
    row = np.clip(((plane.along - LOWEST_MM) * FINENESS).astype(np.intp), 0, len(HEIGHTS) - 1)
    place = row + len(HEIGHTS) * (plane.across > 0)
    cavity, wall, right = (_inside(surface, place, plane.across**2) for surface in surfaces)
    mitral, tricuspid = _valve_planes(heart, plane, _bearings(plane))
    right = np.minimum(np.minimum(right, -wall), tricuspid)
    right = np.where(plane.across < 0, right, np.float32(-50))
    return _Cut(np.minimum(cavity, mitral), np.minimum(wall, mitral + 2), right, mitral, tricuspid)


def _squared_radius(
    heart: Heart, radius: Floats, depth: Floats, bearings: tuple[float, float], miss_mm: float
) -> Image:
    """Return (PHASES, sides × heights): half a surface's width in the plane, squared; negative beyond the apex."""
    table = np.empty((PHASES, 2, len(HEIGHTS)), np.float32)
    for side, bearing in enumerate(bearings):
        height, squared = at_bearing(heart.height_mm, bearing), at_bearing(radius, bearing) ** 2
        slope = squared[:, 0] / (height[:, 0] + depth)  # the apex is a paraboloid
        for phase in range(PHASES):
            table[phase, side] = np.interp(HEIGHTS, height[phase], squared[phase])
            below = height[phase, 0] > HEIGHTS
            table[phase, side, below] = slope[phase] * (HEIGHTS[below] + depth[phase])
    return table.reshape(PHASES, -1) - np.float32(miss_mm**2)


def _surface(width: Image) -> _Surface:
    slope = np.gradient(width, 1 / FINENESS, axis=1).astype(np.float32) / 2
    slope[:, [0, len(HEIGHTS) - 1, len(HEIGHTS), -1]] = 0
    return _Surface(width, np.asarray(slope**2, np.float32))


def _inside(surface: _Surface, place: NDArray[np.intp], squared: Image) -> Image:
    """Return the distance inside a surface of squared half width q: (q - x²) over the length of its gradient."""
    width, steep = np.take(surface.width, place, axis=1), np.take(surface.steep, place, axis=1)
    return np.asarray((width - squared) / (2 * np.sqrt(steep + squared + np.float32(4))), np.float32)


def _valve_planes(heart: Heart, plane: Plane, bearings: tuple[float, float]) -> tuple[Image, Image]:
    """Return how far (mm) pixels lie on the ventricles' side of the mitral and of the tricuspid valve."""
    base, radius = heart.base_mm, heart.endocardium_mm[:, -1]
    septal, lateral = (by_phase(at_bearing(base, bearing)) for bearing in bearings)
    width = by_phase(np.sum([at_bearing(radius, bearing) for bearing in bearings], axis=0))
    half = by_phase(at_bearing(radius, bearings[0]))
    share = np.clip((plane.across + half) / width, -0.5, 1.5)
    mitral = septal + (lateral - septal) * share - plane.along
    # the free wall's end of the tricuspid ring moves most of all
    swing = by_phase(0.14 - 0.36 * heart.contraction * heart.patient.others.rv_ef / 0.57)
    ring = septal - TRICUSPID_OFFSET_MM + swing * np.clip(-plane.across - half, 0, 60)
    return mitral.astype(np.float32), (ring - plane.along).astype(np.float32)


def _atria(heart: Heart, plane: Plane, cut: _Cut) -> tuple[Image, Image]:
    """Return the distances inside the left and the right atrium, which a septum parts."""
    base = heart.base_mm
    bearing, _ = _bearings(plane)
    septal, middle = at_bearing(base, bearing), base.mean(axis=1)
    across, _, along = heart.la_axes_mm.T
    left = ellipse(plane, (np.full(PHASES, -3.0), middle + 0.74 * along), (across, along))
    for side in (-0.85, 0.85):  # pulmonary veins
        vein = (side * across - 3, middle + 1.15 * along)
        left = np.maximum(left, ellipse(plane, vein, (np.full(PHASES, 8.0), np.full(PHASES, 5.0))))
    left = np.minimum(left, -cut.mitral)
    edge = at_bearing(heart.epicardium_mm[:, -1], bearing)
    across, _, along = heart.ra_axes_mm.T
    tricuspid = septal - TRICUSPID_OFFSET_MM
    right = ellipse(plane, (-edge - 0.72 * across, tricuspid + 0.66 * along), (across, along))
    right = np.minimum(right, -cut.tricuspid)
    return left, np.minimum(right, -left - np.float32(2.2))


def _paint_papillary(image: Image, heart: Heart, plane: Plane, cut: _Cut, rng: np.random.Generator) -> None:
    """Paint the part of a papillary muscle that the plane happens to cut."""
    _, bearing = _bearings(plane)
    level = 7
    height, radius = (at_bearing(values[:, level], bearing) for values in (heart.height_mm, heart.endocardium_mm))
    thick = np.full(PHASES, rng.uniform(1.5, 4.0)) * (1 + 0.2 * heart.contraction)
    muscle = ellipse(plane, (0.72 * radius, height), (thick, np.full(PHASES, rng.uniform(8, 14))))
    paint(image, np.minimum(muscle, cut.cavity), HEART * 1.3)


def _paint_valves(image: Image, heart: Heart, cut: _Cut) -> None:
    """Paint the leaflets, thin and dark, where contraction shuts them."""
    shut = by_phase(np.clip(4 * heart.contraction, 0.15, 1))
    for valve, chamber in ((cut.mitral, cut.wall), (cut.tricuspid, cut.right)):
        leaflet = np.maximum(1 - np.abs(valve) / np.float32(2.2), 0) * (chamber > -3)
        image *= 1 - np.float32(0.5) * shut * leaflet
