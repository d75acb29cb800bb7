"""The moving heart of a simulated patient: both ventricles, both atria and the aorta over one beat.

The left ventricle is a truncated ellipsoid that shortens as `Ventricle` says, segment by segment; its wall keeps its
volume (but for the blood squeezed out of it), so thickening, ejection and the descent of the base follow and are not
prescribed. The right ventricle is a crescent round the septum, the atria are ellipsoids on the base, the aorta two
areas. What CMR measures (`measures.py`) and shows (`four_chamber.py`, `short_axis.py`) is taken from this geometry.

Modelled on:
- systole's length: Weissler, Harris and Schoenfeld, Circulation 1968
- near incompressibility of the wall, 5-10 % of whose volume is blood: Judd and Levy, Circulation 1991
- reservoir, conduit and booster of the atria: Hoit, JACC 2014
- central pulse pressure below the brachial one: McEniery et al., Hypertension 2008
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.arrays import Floats

from .patient import Conditions, OtherChambers, Patient, Ventricle

PHASES = 50
LEVELS = 16
"""Of the left ventricle, from apex to base."""
SECTORS = 24
"""Round the left ventricle: from the middle of the septum, where the right ventricle lies, by way of the front."""

LEVEL = (np.arange(LEVELS) + 0.5) / LEVELS
ANGLE = (np.arange(SECTORS) + 0.5) * 2 * np.pi / SECTORS
SEGMENT_ANGLE_DEG = {1: 90, 2: 30, 3: 330, 4: 270, 5: 210, 6: 150, 13: 90, 14: 0, 15: 270, 16: 180}
"""Where the middle of each basal and apical AHA segment lies; the middle ones lie as the basal ones."""
RING_LEVEL = (0.20, 0.53, 0.85)
"""Where the apical, middle and basal rings of segments have their middle."""

TRUNCATION = 1.55
"""Height of the base over the ellipsoid's apex, in its long semi-axes."""
WALL_BLOOD = 0.06
"""Share of the wall's volume that contraction squeezes out."""
TRABECULAE_MM = 2.0
"""UK Biobank's contours leave trabeculae to the cavity: its walls are thinner than those of Kawel et al. 2012."""
SEPTAL_HALF_ANGLE = np.radians(65)
RV_HALF_ANGLE = np.radians(74)
CENTRAL_PULSE = 0.88
"""Central pulse pressure over the brachial one."""
LA_SHAPE, RA_SHAPE = np.array([1.0, 0.92, 1.05]), np.array([0.95, 1.05, 1.0])
"""Semi-axes of the atria: across in the four-chamber plane, out of it, along the long axis; relative."""


@dataclass(frozen=True, slots=True)
class Heart:
    """A heart over PHASES frames of equal length; the first is end-diastole.

    Surfaces are given by their distance from the left ventricle's long axis, at LEVELS × SECTORS points of the wall
    that move along with it.

    Attributes:
        endocardium_mm, epicardium_mm: (PHASES, LEVELS, SECTORS) radii of the left ventricle's two surfaces.
        rv_mm: (PHASES, LEVELS, SECTORS) radius of the right ventricle's cavity at its free wall; the epicardium's own
            where there is no right ventricle.
        height_mm: (PHASES, LEVELS, SECTORS) above the cavity's apex.
        step_mm: (PHASES, LEVELS, SECTORS) height of the ring to which the point belongs.
        apex_mm: (PHASES,) thickness of the wall below the cavity's apex.
        la_axes_mm, ra_axes_mm: (PHASES, 3) semi-axes of the atria: across, out of the four-chamber plane, along.
        ascending_mm2, descending_mm2: (PHASES,) areas of the aorta.
        contraction: (PHASES,) mean of the wall, 0 at rest, 1 when all contracts.
        pulse_pressure_mmhg: central.
    """

    patient: Patient
    endocardium_mm: Floats
    epicardium_mm: Floats
    rv_mm: Floats
    height_mm: Floats
    step_mm: Floats
    apex_mm: Floats
    la_axes_mm: Floats
    ra_axes_mm: Floats
    ascending_mm2: Floats
    descending_mm2: Floats
    contraction: Floats
    pulse_pressure_mmhg: float

    @property
    def base_mm(self) -> Floats:
        """Return (PHASES, SECTORS): the height of the mitral ring."""
        return np.asarray(self.height_mm[:, -1] + self.step_mm[:, -1] / 2)


def build_heart(patient: Patient) -> Heart:
    """Return the heart of a patient, over one beat; nothing of it is random."""
    person, others, ventricle = patient.person, patient.others, patient.ventricle
    beat = _Beat.of(patient)
    contraction = beat.contraction(_spread(ventricle.delay_ms) / 1e3, ventricle.relaxation)
    left = _left_ventricle(patient, contraction)
    pulse = CENTRAL_PULSE * (person.systolic_mmhg - person.diastolic_mmhg)
    wave = beat.pulse_wave()
    return Heart(
        patient=patient,
        endocardium_mm=left.endocardium,
        epicardium_mm=left.epicardium,
        rv_mm=_right_ventricle(left, others, beat.contraction(np.zeros(1), 0.95)[:, 0]),
        height_mm=left.height,
        step_mm=left.step,
        apex_mm=0.7 * (left.epicardium - left.endocardium)[:, 0].mean(axis=1),
        la_axes_mm=_atrium(others.la_max_ml, others.la_ef, beat.filling(ventricle.relaxation), LA_SHAPE),
        ra_axes_mm=_atrium(others.ra_max_ml, others.ra_ef, beat.filling(0.9), RA_SHAPE),
        ascending_mm2=others.ascending_aorta_min_mm2 * (1 + others.ascending_distensibility * 1e-3 * pulse * wave),
        descending_mm2=others.descending_aorta_min_mm2 * (1 + others.descending_distensibility * 1e-3 * pulse * wave),
        contraction=contraction.mean(axis=(1, 2)),
        pulse_pressure_mmhg=pulse,
    )


def at_bearing(of_wall: Floats, bearing: float) -> Floats:
    """Return (..., LEVELS) of (..., SECTORS): what lies at an angle round the long axis."""
    exact = bearing / (2 * np.pi) * SECTORS - 0.5
    low = int(np.floor(exact))
    share = exact - low
    return np.asarray((1 - share) * of_wall[..., low % SECTORS] + share * of_wall[..., (low + 1) % SECTORS])


# ---------------------------------------------------------------------------------------------------------- the beat


@dataclass(frozen=True, slots=True)
class _Beat:
    """The times of one beat, in seconds.

    Attributes:
        time: (PHASES,) of the frames.
        kick: 1 where the atria contract, 0 where they fibrillate.
    """

    time: Floats
    interval: float
    systole: float
    kick: float

    @classmethod
    def of(cls, patient: Patient) -> _Beat:
        rate, interval = patient.rhythm.heart_rate_bpm, 60 / patient.rhythm.heart_rate_bpm
        systole = min((546 - 2.1 * rate + 8 * patient.person.female) / 1e3, 0.6 * interval)
        return cls(np.arange(PHASES) / PHASES * interval, interval, systole, 1.0 - patient.rhythm.atrial_fibrillation)

    def contraction(self, delay_s: Floats, relaxation: float) -> Floats:
        """Return (PHASES, *delay's shape): 0 at rest, 1 at the height of contraction, for parts that start late."""
        time = self.time.reshape(-1, *[1] * delay_s.ndim)
        end = self.systole + np.minimum(delay_s, 0.25 * (self.interval - self.systole))
        raised = _ease((time - delay_s - 0.03) / (self.systole - 0.03))
        early = 1 - self.kick * (1 - np.clip(0.78 * relaxation**0.5, 0.4, 0.9))
        return np.asarray(raised - self._emptying(time, end, early, 0.20 / relaxation))

    def filling(self, relaxation: float) -> Floats:
        """Return (PHASES,): how full an atrium is, 0 after its own contraction, 1 when the ventricle's ends."""
        passive = 1 - self.kick * (1 - np.clip(0.55 * relaxation**0.5, 0.3, 0.65))
        return _ease(self.time / self.systole) - self._emptying(self.time, self.systole, passive, 0.18 / relaxation)

    def pulse_wave(self) -> Floats:
        """Return (PHASES,): 0 before the pressure in the aorta rises, 1 at its height."""
        rise = _ease((self.time - 0.06) / (0.55 * self.systole))
        since = np.clip(self.time - 0.06 - 0.55 * self.systole, 0, None)
        return np.asarray(rise * np.exp(-2.2 * since / (self.interval - 0.5 * self.systole)))

    def _emptying(self, time: Floats, end: Floats | float, early: float, length_s: float) -> Floats:
        """Return what is undone since the end of systole: `early` of it at once, the rest as the atria contract."""
        available = self.interval - end
        first = _ease((time - end) / np.minimum(length_s, 0.92 * available))
        kick_s = np.minimum(0.14, 0.5 * available)
        return np.asarray(early * first + (1 - early) * _ease((time - self.interval + kick_s) / kick_s))


def _ease(x: Floats) -> Floats:
    """Return 0 before 0, 1 after 1, and a smooth rise between."""
    x = np.clip(x, 0, 1)
    return np.asarray(x * x * (3 - 2 * x))


# ------------------------------------------------------------------------------------------------- the left ventricle


@dataclass(frozen=True, slots=True)
class _Left:
    """The left ventricle: (PHASES, LEVELS, SECTORS) each, in mm."""

    endocardium: Floats
    epicardium: Floats
    height: Floats
    step: Floats

    def stroke_ml(self) -> float:
        volume = np.sum(self.step * self.endocardium**2, axis=(1, 2)) * np.pi / SECTORS / 1e3
        return float(volume[0] - volume.min())


def _left_ventricle(patient: Patient, contraction: Floats) -> _Left:
    ventricle = patient.ventricle
    flattening = _flattening(patient.others.septal_flattening, contraction)
    thickness = _spread(np.maximum(ventricle.thickness_mm - TRABECULAE_MM, ventricle.thickness_mm / 2))
    length = _length_mm(ventricle, thickness, flattening[0])
    inner, outer = _rest(ventricle, thickness, length)
    step = length / LEVELS * _longitudinal_stretch(ventricle, contraction)
    middle = (inner + outer) / 2
    wall = (outer**2 - inner**2) / 2 * (1 - WALL_BLOOD * contraction) * (length / LEVELS) / step
    shortened = middle * (1 - _spread(ventricle.shortening) * contraction)
    endocardium = np.maximum(shortened - wall / shortened / 2, 0.12 * inner)
    epicardium = np.sqrt(endocardium**2 + 2 * wall)
    dent = flattening * endocardium
    return _Left(endocardium - dent, epicardium - dent, np.cumsum(step, axis=1) - step / 2, step)


def _rest(ventricle: Ventricle, thickness: Floats, length_mm: float) -> tuple[Floats, Floats]:
    """Return the radii (LEVELS, SECTORS) of endocardium and epicardium at end-diastole, septum round.

    Both are ellipsoids whose semi-axes differ by the wall's thickness, so that a wall measured across the long axis
    is thicker near the apex, where that cuts it askew.
    """
    along, across = length_mm / TRUNCATION, ventricle.sphericity * length_mm / 2
    height = LEVEL[:, None] * length_mm - along
    inner = across * np.sqrt(1 - (height / along) ** 2)
    outer = (across + thickness) * np.sqrt(1 - (height / (along + thickness)) ** 2)
    return np.broadcast_to(inner, outer.shape), outer


def _length_mm(ventricle: Ventricle, thickness: Floats, flattening: Floats) -> float:
    """Return the length of the cavity that gives it its end-diastolic volume, after the septum is flattened."""
    inner, _ = _rest(ventricle, thickness, 1.0)
    volume = np.sum((inner * (1 - flattening)) ** 2) * np.pi / SECTORS / LEVELS
    return float(np.cbrt(ventricle.edv_ml * 1e3 / volume))


def _longitudinal_stretch(ventricle: Ventricle, contraction: Floats) -> Floats:
    """Return (PHASES, LEVELS, SECTORS): height over height at rest; weak segments shorten less, or bulge."""
    regional = _spread(ventricle.shortening)
    sound = max(0.92 * float(np.quantile(ventricle.shortening, 0.75)), 0.02)
    share = 0.35 + 0.65 * regional / sound
    return np.asarray(1 - ventricle.longitudinal * np.clip(share, -0.3, 1.8) * contraction)


def _flattening(degree: float, contraction: Floats) -> Floats:
    """Return (PHASES, 1, SECTORS): the share of its radius by which the septum is pushed in, most in systole."""
    from_septum = np.abs((ANGLE + np.pi) % (2 * np.pi) - np.pi)
    chord = np.cos(SEPTAL_HALF_ANGLE) / np.maximum(np.cos(from_septum), np.cos(SEPTAL_HALF_ANGLE))
    strength = 0.75 * degree * (0.65 + 0.35 * contraction.mean(axis=(1, 2)))
    return np.asarray(strength[:, None, None] * (1 - chord))


def _blend() -> Floats:
    """Return (LEVELS, SECTORS, 16): by how much each AHA segment, smoothly, determines each point of the wall."""
    blend = np.zeros((LEVELS, SECTORS, 16))
    apical, middle, basal = (np.interp(LEVEL, RING_LEVEL, row) for row in np.eye(3))
    for segment, centre in SEGMENT_ANGLE_DEG.items():
        width = np.radians(60 if segment <= 6 else 90)
        apart = np.abs((ANGLE - np.radians(centre) + np.pi) % (2 * np.pi) - np.pi)
        around = np.clip(1 - apart / width, 0, 1)
        if segment > 12:
            blend[:, :, segment - 1] = np.outer(apical, around)
        else:
            blend[:, :, segment - 1] = np.outer(basal, around)
            blend[:, :, segment + 5] = np.outer(middle, around)
    return blend


BLEND = _blend()


def _spread(by_segment: Floats) -> Floats:
    """Return (LEVELS, SECTORS) of what is given (16,) by AHA segment."""
    return np.asarray(BLEND @ by_segment)


# ------------------------------------------------------------------------------------------------- the other chambers


def _rv_profile() -> Floats:
    """Return (LEVELS, SECTORS): how far the right ventricle stands off the septum, relative to its widest."""
    from_septum = np.abs((ANGLE + np.pi) % (2 * np.pi) - np.pi)
    around = np.clip(1 - (from_septum / RV_HALF_ANGLE) ** 2, 0, None) ** 0.8
    along = np.clip((LEVEL - 0.05) / 0.95, 0, None) ** 0.9
    return np.outer(along, around)


RV_PROFILE = _rv_profile()


def _right_ventricle(left: _Left, others: OtherChambers, contraction: Floats) -> Floats:
    """Return the radius of the free wall, such that the cavity has its volume in each phase.

    Between radii r and r + w p, of profile p, the volume is the sum of (2 r w p + w² p²) / 2: solved for w.
    """
    largest, ejected = _balanced(others, left.stroke_ml())
    volume = 1e3 * largest * (1 - ejected * contraction)
    area = left.step * 2 * np.pi / SECTORS
    linear = np.sum(area * left.epicardium * RV_PROFILE, axis=(1, 2))
    square = np.sum(area * RV_PROFILE**2, axis=(1, 2)) / 2
    width = (np.sqrt(linear**2 + 4 * square * volume) - linear) / (2 * square)
    return np.asarray(left.epicardium + width[:, None, None] * RV_PROFILE)


def _balanced(others: OtherChambers, left_stroke_ml: float) -> tuple[float, float]:
    """Return the right ventricle's end-diastolic volume (mL) and EF, drawn towards the left one's stroke volume.

    What one ventricle ejects the other must; what is left between them is leaking valves and the error of reading.
    """
    ratio = left_stroke_ml / (others.rv_edv_ml * others.rv_ef)
    return others.rv_edv_ml * ratio**0.3, float(np.clip(others.rv_ef * ratio**0.3, 0.1, 0.8))


def _atrium(largest_ml: float, emptied: float, fullness: Floats, shape: Floats) -> Floats:
    """Return (PHASES, 3): the semi-axes of an atrium."""
    volume = 1e3 * largest_ml * (1 - emptied * (1 - fullness))
    return np.asarray(np.cbrt(volume / (4 / 3 * np.pi * shape.prod()))[:, None] * shape)


def sac_thickness_mm(conditions: Conditions, bmi: float) -> tuple[float, float]:
    """Return the thickness of fluid, and of fat, between the heart and its sac."""
    return 16 * conditions.effusion, float(np.clip(1.0 + 0.16 * (bmi - 20), 0.8, 5))
