"""The CMR cines of a simulated heart: four-chamber and middle short axis, as bSSFP shows them.

Blood, fluid and fat are bright, muscle and liver dark, lung nearly black (Scheffler and Lehnhardt, European Radiology
2003). Each surface of the heart is a signed distance on the pixels of all phases at once, and tissues are painted from
back to front by the share of the pixel that they fill. The plane misses the heart's axis a little, as in life; what is
drawn at random comes from the scan's own seed. The view is that of the scanner: the chest's front is down in the
four-chamber cine and up in the short axis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from .heart import ANGLE, LEVELS, PHASES, SECTORS, Heart, sac_thickness_mm

PIXELS = 96
PIXEL_MM = 2.35

Cine: TypeAlias = NDArray[np.uint8]
Box: TypeAlias = tuple[slice, slice]
Image: TypeAlias = NDArray[np.float32]
"""(96, 96), or (50, 96, 96) where it moves; distances in mm are positive inside."""

LUNG, WALL, HEART, LIVER, BLOOD, FLUID, FAT = 10.0, 34.0, 46.0, 40.0, 158.0, 196.0, 186.0
RIGHT_ATRIUM_GAIN = 1.12
"""Blood from the veins is a little brighter."""
ATRIAL_WALL_MM = 1.8
TRICUSPID_OFFSET_MM = 5.0
"""How much nearer to the apex than the mitral valve the tricuspid one sits."""
FOUR_CHAMBER_RAD = np.radians(337.5)
LOWEST_MM, FINENESS = -30.0, 2
"""Of tables by height over the apex: where they begin, entries a mm."""
HEIGHTS = np.arange(LOWEST_MM, 190.0, 1 / FINENESS)
BEARINGS = 192
WHOLE: Box = (slice(None), slice(None))
COARSE = 4
"""Every so many pixels it is looked where the heart lies."""
SLACK_MM = 1.5 * COARSE / 2 * np.sqrt(2) * PIXEL_MM + 2
"""How much nearer than the nearest of those pixels a surface may be, and how far its edge is smoothed."""
MOST_UNEVEN = 3.0
"""How many times its thickness the fat may have at a place."""


def draw_four_chamber(heart: Heart) -> Cine:
    """Return (50, 96, 96) uint8, the apex down and the left heart on the right."""
    rng = np.random.default_rng([*heart.patient.scan_seed, 4])
    plane = _long_plane(heart, rng)
    surfaces = _long_surfaces(heart, plane)
    image = _repeat(_chest(heart, plane, rng))
    _paint(image, _disc(plane, np.sqrt(heart.descending_mm2 / np.pi), (8.0, -62.0)), BLOOD)
    box = _around_heart(heart, plane, surfaces)
    _paint_long_heart(image[:, *box], heart, plane.within(box), surfaces, rng)
    return _scan(image, rng)


def outline_four_chamber(heart: Heart) -> Image:
    """Return (50, 2, 96, 96) float32: the shares of each pixel that `draw_four_chamber` paints as cavity and as wall.

    Of the left ventricle; papillary muscles and trabeculae belong to the cavity, as in UK Biobank's contours.
    """
    plane = _long_plane(heart, np.random.default_rng([*heart.patient.scan_seed, 4]))
    cut = _cut_long(heart, plane, _long_surfaces(heart, plane))
    left_atrium, _ = _atria(heart, plane, cut)
    cavity = _share(cut.cavity)
    wall = _share(cut.wall) * (1 - _share(left_atrium)) * (1 - cavity)
    return np.stack([cavity, wall], axis=1)


def draw_short_axis(heart: Heart) -> Cine:
    """Return (50, 96, 96) uint8, through the middle of the ventricles, the right one on the left."""
    rng = np.random.default_rng([*heart.patient.scan_seed, 2])
    plane = _short_plane(rng)
    image = _repeat(_chest_across(heart, plane, rng))
    _paint(image, _disc(plane, np.sqrt(heart.descending_mm2 / np.pi), (-8.0, 78.0)), BLOOD)
    _paint_short_heart(image, heart, plane, rng)
    return _scan(image, rng)


# ------------------------------------------------------------------------------------------------------ four chambers


@dataclass(frozen=True, slots=True)
class _Plane:
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

    def within(self, box: Box) -> _Plane:
        """Return a part of the whole plane."""
        return replace(
            self,
            right=self.right[box],
            down=self.down[box],
            across=self.across[box],
            along=self.along[box],
            box=box,
        )


def _grid() -> tuple[Image, Image]:
    place = ((np.arange(PIXELS) - (PIXELS - 1) / 2) * PIXEL_MM).astype(np.float32)
    return np.broadcast_to(place, (PIXELS, PIXELS)), np.broadcast_to(place[:, None], (PIXELS, PIXELS))


def _long_plane(heart: Heart, rng: np.random.Generator) -> _Plane:
    right, down = _grid()
    tilt = np.radians(rng.normal(27, 6))
    length = float(_base_mm(heart)[0].mean())
    toward_apex = np.array([np.sin(tilt), np.cos(tilt)])
    mitral = np.array([2.0, -2.0]) + rng.normal(0, 4, 2) + (38 - 0.42 * length) * toward_apex
    x, y = right - np.float32(mitral[0]), down - np.float32(mitral[1])
    along = np.float32(length) - (x * toward_apex[0] + y * toward_apex[1])
    across = x * toward_apex[1] - y * toward_apex[0]
    miss, turn = float(rng.normal(0, 2.5)), float(rng.normal(0, np.radians(7)))
    return _Plane(right, down, across.astype(np.float32), along.astype(np.float32), miss, turn)


def _base_mm(heart: Heart) -> NDArray[np.float64]:
    """Return (PHASES, SECTORS): the height of the mitral ring."""
    return np.asarray(heart.height_mm[:, -1] + heart.step_mm[:, -1] / 2)


def _at_bearing(of_wall: NDArray[np.float64], bearing: float) -> NDArray[np.float64]:
    """Return (..., LEVELS) of (..., SECTORS): what lies at an angle round the long axis."""
    exact = bearing / (2 * np.pi) * SECTORS - 0.5
    low = int(np.floor(exact))
    share = exact - low
    return np.asarray((1 - share) * of_wall[..., low % SECTORS] + share * of_wall[..., (low + 1) % SECTORS])


@dataclass(frozen=True, slots=True)
class _LongCut:
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


def _paint_long_heart(
    image: Image, heart: Heart, plane: _Plane, surfaces: tuple[_Surface, ...], rng: np.random.Generator
) -> None:
    cut = _cut_long(heart, plane, surfaces)
    left_atrium, right_atrium = _atria(heart, plane, cut)
    rim = _rim(heart, cut, left_atrium, right_atrium)
    _paint_sac(image, heart, plane, rim, rng)
    _paint(image, rim, HEART)
    blood = _flow(rng, plane.box)
    _paint(image, right_atrium, blood * np.float32(RIGHT_ATRIUM_GAIN))
    _paint(image, cut.right, blood * _trabeculae(rng, 0.22, plane.box))
    _paint(image, cut.wall, HEART)
    _paint(image, left_atrium, blood)
    _paint(image, cut.cavity, blood)
    _paint_papillary(image, heart, plane, cut, rng)
    _paint_valves(image, heart, cut)


def _around_heart(heart: Heart, plane: _Plane, surfaces: tuple[_Surface, ...]) -> Box:
    """Return the part of the picture outside of which neither heart nor sac is ever painted."""
    every = slice(COARSE // 2, None, COARSE)
    coarse = plane.within((every, every))
    cut = _cut_long(heart, coarse, surfaces)
    rim = _rim(heart, cut, *_atria(heart, coarse, cut))
    fluid_mm, fat_mm = sac_thickness_mm(heart.patient.conditions, heart.patient.person.bmi)
    near = (rim > -(fluid_mm + MOST_UNEVEN * fat_mm + SLACK_MM)).any(axis=0)
    rows, columns = (np.flatnonzero(near.any(axis=axis)) * COARSE for axis in (1, 0))
    return slice(rows[0], rows[-1] + COARSE), slice(columns[0], columns[-1] + COARSE)


def _rim(heart: Heart, cut: _LongCut, left_atrium: Image, right_atrium: Image) -> Image:
    """Return the distance inside the heart as a whole."""
    rim = np.maximum(np.maximum(left_atrium, right_atrium) + np.float32(ATRIAL_WALL_MM), cut.wall)
    return np.asarray(np.maximum(rim, cut.right + np.float32(heart.patient.others.rv_wall_mm)))


def _bearings(plane: _Plane) -> tuple[float, float]:
    return FOUR_CHAMBER_RAD + plane.turn_rad, FOUR_CHAMBER_RAD + plane.turn_rad - np.pi


def _long_surfaces(heart: Heart, plane: _Plane) -> tuple[_Surface, ...]:
    """Return the left ventricle's inner and outer surface, and the right one's."""
    radii = (heart.endocardium_mm, heart.epicardium_mm, heart.rv_mm)
    depths = (np.zeros(PHASES), heart.apex_mm, heart.apex_mm)
    return tuple(
        _surface(_squared_radius(heart, radius, depth, _bearings(plane), plane.miss_mm))
        for radius, depth in zip(radii, depths, strict=True)
    )


def _cut_long(heart: Heart, plane: _Plane, surfaces: tuple[_Surface, ...]) -> _LongCut:
    """Return the ventricles' surfaces, looked up by pixel."""
    row = np.clip(((plane.along - LOWEST_MM) * FINENESS).astype(np.intp), 0, len(HEIGHTS) - 1)
    place = row + len(HEIGHTS) * (plane.across > 0)
    cavity, wall, right = (_inside(surface, place, plane.across**2) for surface in surfaces)
    mitral, tricuspid = _valve_planes(heart, plane, _bearings(plane))
    right = np.minimum(np.minimum(right, -wall), tricuspid)
    right = np.where(plane.across < 0, right, np.float32(-50))
    return _LongCut(np.minimum(cavity, mitral), np.minimum(wall, mitral + 2), right, mitral, tricuspid)


def _squared_radius(
    heart: Heart, radius: NDArray[np.float64], depth: NDArray[np.float64], bearings: tuple[float, float], miss_mm: float
) -> Image:
    """Return (PHASES, sides × heights): half a surface's width in the plane, squared; negative beyond the apex."""
    table = np.empty((PHASES, 2, len(HEIGHTS)), np.float32)
    for side, bearing in enumerate(bearings):
        height, squared = _at_bearing(heart.height_mm, bearing), _at_bearing(radius, bearing) ** 2
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


def _valve_planes(heart: Heart, plane: _Plane, bearings: tuple[float, float]) -> tuple[Image, Image]:
    """Return how far (mm) pixels lie on the ventricles' side of the mitral and of the tricuspid valve."""
    base, radius = _base_mm(heart), heart.endocardium_mm[:, -1]
    septal, lateral = (_column(_at_bearing(base, bearing)) for bearing in bearings)
    width = _column(np.sum([_at_bearing(radius, bearing) for bearing in bearings], axis=0))
    half = _column(_at_bearing(radius, bearings[0]))
    share = np.clip((plane.across + half) / width, -0.5, 1.5)
    mitral = septal + (lateral - septal) * share - plane.along
    # the free wall's end of the tricuspid ring moves most of all
    swing = _column(0.14 - 0.36 * heart.contraction * heart.patient.others.rv_ef / 0.57)
    ring = septal - TRICUSPID_OFFSET_MM + swing * np.clip(-plane.across - half, 0, 60)
    return mitral.astype(np.float32), (ring - plane.along).astype(np.float32)


def _atria(heart: Heart, plane: _Plane, cut: _LongCut) -> tuple[Image, Image]:
    """Return the distances inside the left and the right atrium, which a septum parts."""
    base = _base_mm(heart)
    bearing = FOUR_CHAMBER_RAD + plane.turn_rad
    septal, middle = _at_bearing(base, bearing), base.mean(axis=1)
    across, _, along = heart.la_axes_mm.T
    left = _ellipse(plane, (np.full(PHASES, -3.0), middle + 0.74 * along), (across, along))
    for side in (-0.85, 0.85):  # pulmonary veins
        vein = (side * across - 3, middle + 1.15 * along)
        left = np.maximum(left, _ellipse(plane, vein, (np.full(PHASES, 8.0), np.full(PHASES, 5.0))))
    left = np.minimum(left, -cut.mitral)
    edge = _at_bearing(heart.epicardium_mm[:, -1], bearing)
    across, _, along = heart.ra_axes_mm.T
    tricuspid = septal - TRICUSPID_OFFSET_MM
    right = _ellipse(plane, (-edge - 0.72 * across, tricuspid + 0.66 * along), (across, along))
    right = np.minimum(right, -cut.tricuspid)
    return left, np.minimum(right, -left - np.float32(2.2))


def _paint_papillary(image: Image, heart: Heart, plane: _Plane, cut: _LongCut, rng: np.random.Generator) -> None:
    """Paint the part of a papillary muscle that the plane happens to cut."""
    bearing = FOUR_CHAMBER_RAD + plane.turn_rad - np.pi
    level = 7
    height, radius = (_at_bearing(values[:, level], bearing) for values in (heart.height_mm, heart.endocardium_mm))
    thick = np.full(PHASES, rng.uniform(1.5, 4.0)) * (1 + 0.2 * heart.contraction)
    muscle = _ellipse(plane, (0.72 * radius, height), (thick, np.full(PHASES, rng.uniform(8, 14))))
    _paint(image, np.minimum(muscle, cut.cavity), HEART * 1.3)


def _paint_valves(image: Image, heart: Heart, cut: _LongCut) -> None:
    """Paint the leaflets, thin and dark, where contraction shuts them."""
    shut = _column(np.clip(4 * heart.contraction, 0.15, 1))
    for valve, chamber in ((cut.mitral, cut.wall), (cut.tricuspid, cut.right)):
        leaflet = np.maximum(1 - np.abs(valve) / np.float32(2.2), 0) * (chamber > -3)
        image *= 1 - np.float32(0.5) * shut * leaflet


# --------------------------------------------------------------------------------------------------------- short axis


def _short_plane(rng: np.random.Generator) -> _Plane:
    right, down = _grid()
    tilt = np.radians(rng.normal(28, 7))
    middle = np.array([22.0, 6.0]) + rng.normal(0, 4, 2)
    x, y = right - np.float32(middle[0]), down - np.float32(middle[1])
    to_septum, to_front = -x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) - y * np.cos(tilt)
    miss = 0.5 + float(rng.normal(0, 0.03))
    return _Plane(right, down, to_septum.astype(np.float32), to_front.astype(np.float32), miss, 0.0)


def _paint_short_heart(image: Image, heart: Heart, plane: _Plane, rng: np.random.Generator) -> None:
    """Paint rings round the long axis, by bearing, where the moving wall crosses the plane, which stays."""
    height = plane.miss_mm * float(_base_mm(heart)[0].mean())
    distance = np.hypot(plane.across, plane.along)
    bearing = np.arctan2(plane.along, plane.across) % (2 * np.pi)
    place = (bearing / (2 * np.pi) * BEARINGS).astype(np.intp) % BEARINGS
    cavity, wall, right = (
        _inside_ring(_ring_at(heart, radius, height), place, distance)
        for radius in (heart.endocardium_mm, heart.epicardium_mm, heart.rv_mm)
    )
    right = np.minimum(right, -wall)
    rim = np.maximum(wall, right + np.float32(heart.patient.others.rv_wall_mm))
    _paint_sac(image, heart, plane, rim, rng)
    _paint(image, rim, HEART)
    blood = _flow(rng, plane.box)
    _paint(image, right, blood * _trabeculae(rng, 0.25, plane.box))
    _paint(image, wall, HEART)
    _paint(image, cavity, blood)
    _paint_papillaries(image, heart, plane, cavity, height)


def _ring_at(heart: Heart, radius: NDArray[np.float64], height: float) -> NDArray[np.float64]:
    """Return (PHASES, SECTORS): the radius of a surface at a height over the apex."""
    above = np.clip((heart.height_mm < height).sum(axis=1), 1, LEVELS - 1)[:, None]
    low, high = (np.take_along_axis(heart.height_mm, above + shift, 1)[:, 0] for shift in (-1, 0))
    inner, outer = (np.take_along_axis(radius, above + shift, 1)[:, 0] for shift in (-1, 0))
    return np.asarray(inner + (outer - inner) * np.clip((height - low) / (high - low), 0, 1))


def _inside_ring(ring: NDArray[np.float64], place: NDArray[np.intp], distance: Image) -> Image:
    """Return the distance inside a ring (PHASES, SECTORS) at bearings (96, 96)."""
    fine = np.arange(BEARINGS) * 2 * np.pi / BEARINGS
    around = np.concatenate([ANGLE[-1:] - 2 * np.pi, ANGLE, ANGLE[:1] + 2 * np.pi])
    closed = np.concatenate([ring[:, -1:], ring, ring[:, :1]], axis=1)
    radius = np.stack([np.interp(fine, around, values) for values in closed])
    radius = gaussian_filter(radius, (0, 3), mode="wrap").astype(np.float32)
    slope = np.gradient(radius, fine[1], axis=1) / radius
    steep = 1 / np.sqrt(1 + slope**2)
    return np.asarray((np.take(radius, place, axis=1) - distance) * np.take(steep, place, axis=1), np.float32)


def _paint_papillaries(image: Image, heart: Heart, plane: _Plane, cavity: Image, height: float) -> None:
    ring = _ring_at(heart, heart.endocardium_mm, height)
    thick = 3.2 * (1 + 0.2 * heart.contraction)
    for bearing in (np.radians(140), np.radians(235)):
        far = 0.72 * _at_bearing(ring, bearing)
        muscle = _ellipse(plane, (far * np.cos(bearing), far * np.sin(bearing)), (thick, thick))
        _paint(image, np.minimum(muscle, cavity), HEART * 1.2)


# -------------------------------------------------------------------------------------------------- what lies about it


def _paint_sac(image: Image, heart: Heart, plane: _Plane, rim: Image, rng: np.random.Generator) -> None:
    """Paint what lies between the heart and its sac: fluid, and fat of uneven thickness."""
    fluid_mm, fat_mm = sac_thickness_mm(heart.patient.conditions, heart.patient.person.bmi)
    uneven = np.clip(1 + 0.8 * _smooth(rng, 9.0)[plane.box], 0, MOST_UNEVEN)
    _paint(image, rim + np.float32(fluid_mm) + np.float32(fat_mm) * uneven, FAT * 0.85)
    if fluid_mm > 1:
        _paint(image, rim + np.float32(fluid_mm + 1.2), HEART)
        _paint(image, rim + np.float32(fluid_mm), FLUID)


def _chest(heart: Heart, plane: _Plane, rng: np.random.Generator) -> Image:
    """Return (96, 96): lungs with their vessels, spine, liver and the wall in front; they do not move."""
    right, down = plane.right, plane.down
    _, fat_mm = sac_thickness_mm(heart.patient.conditions, heart.patient.person.bmi)
    apex = np.unravel_index(np.argmin(np.hypot(plane.across, plane.along)), plane.across.shape)
    apex_right, apex_down = float(right[apex]), float(down[apex])
    floor = apex_down + 12 + rng.uniform(0, 5)
    inside = (floor + 40 - np.hypot(right * 0.72 - 4, down + 40)).astype(np.float32)
    image = np.full((PIXELS, PIXELS), LUNG, np.float32)
    _vessels(image, plane, rng)
    _paint(image, 52 - np.hypot((right + 112) * 0.75, down - 62), LIVER * (1 + 0.15 * _smooth(rng, 2.0)))
    _paint(image, 25 - np.hypot(right + 24, (down + 78) * 1.15), WALL * (1 + 0.2 * _smooth(rng, 1.5)))
    _paint(image, 10 - np.hypot(right + 24, down + 90), BLOOD * 0.7)
    _paint(image, 5.5 - np.hypot(right + 24, down + 90), WALL)
    pad = 8 + 3.2 * fat_mm  # between the apex, the diaphragm and the wall in front
    _paint(image, pad - np.hypot((right - apex_right - 4) * 0.62, down - floor), FAT * 0.8)
    _chest_wall(image, inside, heart.patient.person.bmi, rng, muscle_mm=13, waviness_mm=4)
    return image


def _chest_across(heart: Heart, plane: _Plane, rng: np.random.Generator) -> Image:
    """Return (96, 96): what lies about the ventricles in the short axis, the wall in front of the chest above."""
    right, down = plane.right, plane.down
    ceiling = float(-np.max(heart.rv_mm[0, LEVELS // 2])) - rng.uniform(10, 16)
    inside = (110 - np.hypot((right - 10) * 0.7, down - ceiling - 110)).astype(np.float32)
    image = np.full((PIXELS, PIXELS), LUNG, np.float32)
    _vessels(image, plane, rng)
    _paint(image, 66 - np.hypot((right + 70) * 0.62, down - 92), LIVER * (1 + 0.15 * _smooth(rng, 2.0)))
    _paint(image, 26 - np.hypot(right + 20, down - 108), WALL)
    _chest_wall(image, inside, heart.patient.person.bmi, rng, muscle_mm=12, waviness_mm=3)
    return image


def _chest_wall(
    image: Image, inside: Image, bmi: float, rng: np.random.Generator, *, muscle_mm: int, waviness_mm: int
) -> None:
    """Paint muscle, fat and the air beyond the skin, outwards from where `inside` (mm) is 0."""
    _paint(image, -inside, WALL * (1 + 0.25 * _smooth(rng, 1.5)))
    _paint(image, -inside - muscle_mm - waviness_mm * _smooth(rng, 8.0), FAT)
    fat_mm = 10 + 2.2 * (bmi - 18)
    _paint(image, -inside - (muscle_mm + 3) - np.float32(fat_mm), LUNG * 0.5)


def _vessels(image: Image, plane: _Plane, rng: np.random.Generator) -> None:
    for _ in range(14):
        side = rng.choice([-1, 1])
        middle = (side * rng.uniform(45, 100), rng.normal(-35, 28))
        size = rng.uniform(0.6, 3.0)
        _paint(image, size - np.hypot(plane.right - middle[0], plane.down - middle[1]), rng.uniform(40, 110))


# ---------------------------------------------------------------------------------------------------------- the brush


def _repeat(still: Image) -> Image:
    return np.repeat(still[None], PHASES, axis=0)


def _column(by_phase: NDArray[np.float64]) -> Image:
    return by_phase.astype(np.float32)[:, None, None]


def _paint(image: Image, inside_mm: Image | NDArray[np.float64], intensity: Image | float) -> None:
    """Blend a tissue into the image by the share of each pixel that it fills."""
    image += _share(inside_mm) * (np.asarray(intensity, np.float32) - image)


def _share(inside_mm: Image | NDArray[np.float64]) -> Image:
    share = np.asarray(inside_mm, np.float32) * np.float32(1 / (1.15 * PIXEL_MM))
    share += np.float32(0.5)
    return np.clip(share, 0, 1, out=share)


def _disc(plane: _Plane, radius_mm: NDArray[np.float64], middle: tuple[float, float]) -> Image:
    away = np.hypot(plane.right - np.float32(middle[0]), plane.down - np.float32(middle[1]))
    return np.asarray(_column(radius_mm) - away, np.float32)


def _ellipse(
    plane: _Plane,
    middle: tuple[NDArray[np.float64], NDArray[np.float64]],
    axes: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Image:
    """Return the distance inside an ellipse that moves, by its place and semi-axes (PHASES,) across and along."""
    x = (plane.across - _column(middle[0])) / _column(axes[0])
    y = (plane.along - _column(middle[1])) / _column(axes[1])
    radius = np.sqrt(x * x + y * y)
    return np.asarray((1 - radius) * _column(np.sqrt(axes[0] * axes[1])), np.float32)


def _smooth(rng: np.random.Generator, pixels: float) -> Image:
    """Return (96, 96) of noise of mean 0 and deviation 1, smooth over so many pixels."""
    noise = gaussian_filter(rng.standard_normal((PIXELS, PIXELS), np.float32), pixels)
    return np.asarray((noise - noise.mean()) / noise.std(), np.float32)


def _flow(rng: np.random.Generator, box: Box) -> Image:
    """Return the brightness of blood, which swirls, in a part of (50, 96, 96)."""
    turn = (np.arange(PHASES) / PHASES * 2 * np.pi).astype(np.float32)[:, None, None]
    fields = [_smooth(rng, pixels)[box] for pixels in (4.0, 4.0, 2.0)]
    swirl = fields[0] * np.cos(turn) + fields[1] * np.sin(turn) + fields[2] * np.cos(3 * turn) * np.float32(0.5)
    return np.asarray(BLOOD * (1 + np.float32(0.045) * swirl), np.float32)


def _trabeculae(rng: np.random.Generator, depth: float, box: Box) -> Image:
    """Return a factor for blood between fine strands of muscle, in a part of (96, 96)."""
    return np.asarray(1 - np.float32(depth) * np.clip(_smooth(rng, 0.9)[box] - 0.3, 0, 1.5), np.float32)


def _scan(image: Image, rng: np.random.Generator) -> Cine:
    """Return what the scanner makes of it: coil shading, Rician noise, 8 bits."""
    right, down = _grid()
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
