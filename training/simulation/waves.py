"""The waves of one beat of a simulated patient, as dipoles in the heart: P, QRS, ST, T and U.

Modelled on: Wilson's ventricular gradient (Am Heart J 1934; Draisma et al., Biophys J 2006) for T waves that oppose a
QRS complex of slow conduction; the third universal definition of infarction (Circulation 2012) and Selvester for ST and
T by territory; Surawicz and Knilans, Chou's Electrocardiography, for strain, pericarditis, early repolarisation and
the atria; Fridericia (1920) for QT against rate: QT = QTc (RR / 1 s)^(1/3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference.geometry import RECORDED_RATE_HZ
from training.arrays import Floats

from .activation import APEX, NORMAL_EDV_ML, REGIONS, RIGHT_WALL, SEGMENTS, Activation, Wall
from .electrodes import Sources
from .patient import TERRITORIES, Patient

MS = 1000 / RECORDED_RATE_HZ
BEFORE_MS = 60.0
"""A template of the ventricles begins this long before the QRS complex: its foot is not cut."""
TAIL = 2.6
"""Standard deviations from the peak of a T wave to its end, the last in any lead."""
ROOT = float(np.sqrt(2 * np.pi))

GRADIENT = np.array(
    [
        *(0.80, 0.10, 0.10, 0.40, 1.60, 1.60),
        *(0.95, 0.70, 0.25, 0.85, 1.80, 1.45),
        *(0.70, 1.15, 1.40, 0.95, 0.90),
        *(0, 0, 0, 0.05, 0.10, 0.35, 0.05),
    ]
)
"""How strongly each region's recovery, from the outside inwards, makes the T wave."""
GRADIENT_MV = 0.092
OPPOSITION = 0.55
"""Of the QRS complex's area that comes back in the T wave with the opposite sign."""
ST_NORMAL_MV = np.array((0.014, 0.003, 0.055))
EARLY_MV = np.array((0.075, 0.075, 0.08))
PERICARDITIS_MV = np.array((0.17, 0.15, 0.10))
ISCHAEMIA_MV = np.array((-0.15, -0.10, -0.06))
STRAIN_MV = np.array((-0.09, -0.03, 0.05))
U_MV = np.array((0.012, 0.008, 0.018))
RIGHT_ATRIUM = np.array((-0.45, -0.5, -0.1))
LEFT_ATRIUM = np.array((-0.35, -0.5, -0.4))
RIGHT_P_MV = np.array((0.054, 0.050, 0.014))
LEFT_P_MV = np.array((0.112, 0.020, -0.085))
MIDDLE = np.zeros(3)


@dataclass(frozen=True, slots=True)
class Recovery:
    """How the ventricles of a patient recover; the same in every beat.

    Attributes:
        gradient: (regions,) strength of each region's own T wave, negative where it is inverted.
        lags_ms: (regions,) how much later than the others a region recovers.
        turn: (3, 3) of the T wave against the heart.
        st: (kinds, 3) mV, and where they arise.
        end_ms: of the T wave, since the beginning of the QRS complex.
    """

    gradient: Floats
    lags_ms: Floats
    turn: Floats
    st_moments: Floats
    st_positions: Floats
    end_ms: float
    falling_ms: float
    rising_ms: float
    u_share: float
    notch_mv: float


def turn_about(angles_deg: Floats) -> Floats:
    """Return the matrix (3, 3) of a turn in the frontal, the horizontal and the sagittal plane.

    Positive is from left to down, from left to the front, and from down to the front.
    """
    (c1, c2, c3), (s1, s2, s3) = np.cos(np.radians(angles_deg)), np.sin(np.radians(angles_deg))
    frontal = np.array(((c1, -s1, 0), (s1, c1, 0), (0, 0, 1)))
    horizontal = np.array(((c2, 0, -s2), (0, 1, 0), (s2, 0, c2)))
    sagittal = np.array(((1, 0, 0), (0, c3, -s3), (0, s3, c3)))
    return np.asarray(frontal @ horizontal @ sagittal)


def plan_recovery(rng: np.random.Generator, wall: Wall, patient: Patient) -> Recovery:
    """Return how the ventricles recover."""
    rr_s = 60 / patient.rhythm.heart_rate_bpm
    end_ms = patient.electrics.qtc_ms * rr_s ** (1 / 3) + 18 * hypertrophy(wall, patient)
    falling_ms = float(np.clip(rng.normal(38, 4), 28, 52)) * (end_ms / 395)
    st_moments, st_positions = _st(rng, wall, patient)
    return Recovery(
        gradient=_gradient(rng, wall, patient),
        lags_ms=rng.normal(0, 7, REGIONS) + 25 * _diseased(wall, patient),
        turn=turn_about(rng.normal((-0.3 * patient.habitus.axis_rotation_deg - 5, 0, 0), (6, 8, 7))),
        st_moments=st_moments,
        st_positions=st_positions,
        end_ms=end_ms,
        falling_ms=falling_ms,
        rising_ms=falling_ms * float(np.clip(rng.normal(1.45, 0.2), 1.0, 2.0)),
        u_share=float(rng.lognormal(0, 0.6)),
        notch_mv=patient.electrics.early_repolarisation * 0.12 * float(rng.random() < 0.6),
    )


def _diseased(wall: Wall, patient: Patient) -> Floats:
    """Return (regions,) 0 to 1: how much of each region has an inverted, late recovery by scar or ischaemia."""
    conditions = patient.conditions
    diseased = np.where(wall.scar > 0.05, 0.35 + 0.65 * wall.scar, 0.0)
    if conditions.ischaemia > 0:
        artery = conditions.infarct_artery or ("LAD", "RCA", "LCX")[patient.number % 3]
        diseased[np.array(TERRITORIES[artery]) - 1] += 0.6 * conditions.ischaemia
    return np.clip(diseased, 0, 1)


def hypertrophy(wall: Wall, patient: Patient) -> float:
    """Return 0 to 1: how far beyond normal the left ventricle's walls are thick, as strain has it."""
    normal = 0.99 if patient.person.female else 1.08
    load = wall.thickness[:SEGMENTS].mean() / normal * (patient.ventricle.edv_ml / NORMAL_EDV_ML) ** (1 / 3)
    return float(np.clip((load - 1.1) / 0.6, 0, 1))


def _gradient(rng: np.random.Generator, wall: Wall, patient: Patient) -> Floats:
    conditions, electrics, person = patient.conditions, patient.electrics, patient.person
    gradient = GRADIENT * np.exp(rng.normal(0, 0.12, REGIONS)) * GRADIENT_MV * electrics.repolarisation
    gradient *= (0.88 if person.female else 1.08) * np.exp(-0.006 * (person.age_years - 63))
    gradient *= 1 + 0.35 * electrics.early_repolarisation - 0.3 * conditions.effusion
    left = np.arange(REGIONS) < RIGHT_WALL.start
    inverted = 1.5 * _diseased(wall, patient) * rng.uniform(0.5, 1.3)
    inverted = inverted + left * 1.2 * hypertrophy(wall, patient) * rng.uniform(0.5, 1.3)
    failing = 0.3 * conditions.congestion + 0.55 * conditions.dilated + 0.65 * conditions.restrictive
    inverted = inverted + left * (failing + 0.5 * conditions.hypertension * rng.uniform(0.3, 1))
    thick = np.clip(wall.thickness - 1.6, 0, 1.5) * (conditions.hypertrophic > 0)
    inverted = inverted + left * 1.2 * thick + left * 1.7 * conditions.hypertrophic * rng.uniform(0.2, 1.4)
    inverted[RIGHT_WALL] += 3.5 * conditions.pulmonary_hypertension
    inverted[[1, 7, 12, 13]] += 0.7 * conditions.pulmonary_hypertension
    late_pericarditis = conditions.pericarditis * (1.6 if rng.random() < 0.3 else 0.0)
    return np.asarray(gradient * (1 - inverted - left * late_pericarditis))


def _st(rng: np.random.Generator, wall: Wall, patient: Patient) -> tuple[Floats, Floats]:
    """Return moments (kinds, 3) in mV and positions (kinds, 3) of what shifts the ST segment."""
    conditions, electrics = patient.conditions, patient.electrics
    natural = ST_NORMAL_MV * (0.7 if patient.person.female else 1.2) + rng.normal(0, 0.010, 3)
    natural = natural * electrics.repolarisation + EARLY_MV * electrics.early_repolarisation
    inflamed = PERICARDITIS_MV * conditions.pericarditis * rng.uniform(0.4, 1.3)
    ischaemic = ISCHAEMIA_MV * conditions.ischaemia * rng.uniform(0.4, 1.3)
    strained = STRAIN_MV * hypertrophy(wall, patient) * rng.uniform(0.3, 1.2)
    weight = wall.scar[: APEX + 1]
    bulge = weight @ wall.outward[: APEX + 1] / 4 * 0.16 * rng.uniform(0, 1)
    where = weight @ wall.positions[: APEX + 1] / max(float(weight.sum()), 0.1)
    return np.stack([natural + inflamed + ischaemic + strained, bulge]), np.stack([MIDDLE, where])


def ventricular_sources(wall: Wall, activation: Activation, recovery: Recovery) -> Sources:
    """Return QRS, ST, T and U of one beat; the courses begin `BEFORE_MS` before the QRS complex."""
    later_ms = max(activation.qrs_ms - 100, 0) * 0.5
    length_ms = BEFORE_MS + recovery.end_ms + later_ms + 280
    times = np.arange(0, length_ms, MS) - BEFORE_MS
    peak = recovery.end_ms + later_ms - TAIL * recovery.falling_ms
    qrs = np.zeros((REGIONS, len(times)))
    early = times < activation.qrs_ms + BEFORE_MS
    qrs[:, early] = _bells(times[early], activation.times_ms, activation.widths_ms, activation.widths_ms)
    t = _bells(times, peak + recovery.lags_ms, recovery.rising_ms, recovery.falling_ms)
    area = activation.moments * activation.widths_ms[:, None]
    opposed = OPPOSITION * (1 + 0.5 * activation.aberrance) * area / (recovery.rising_ms + recovery.falling_ms) * 2
    repolarisation = recovery.gradient[:, None] * wall.outward @ recovery.turn.T - opposed
    shift = _st_course(times, activation.qrs_ms, peak, recovery.falling_ms)
    aberrant = -activation.aberrance * area.sum(0) * ROOT * 1.3e-3
    st_moments = np.concatenate([recovery.st_moments, [aberrant, EARLY_MV * recovery.notch_mv * 10]])
    notch = _bells(times, np.array([activation.qrs_ms + 2]), 7.0, 7.0)
    u = _bells(times, np.array([peak + TAIL * recovery.falling_ms + 60]), 30.0, 38.0)
    return Sources(
        np.concatenate([activation.moments, repolarisation, st_moments, [U_MV * recovery.u_share]]),
        np.concatenate([wall.positions, wall.positions, recovery.st_positions, [MIDDLE, MIDDLE, MIDDLE]]),
        np.concatenate([qrs, t, np.repeat(shift[None], 3, axis=0), notch, u]),
    )


def _bells(times: Floats, centres: Floats, rising: Floats | float, falling: Floats | float) -> Floats:
    """Return (centres, times): bells with a standard deviation of their own on each side."""
    since = times - centres[:, None]
    rising, falling = (np.broadcast_to(side, centres.shape)[:, None] for side in (rising, falling))
    return np.asarray(np.exp(-0.5 * (since / np.where(since < 0, rising, falling)) ** 2))


def _st_course(times: Floats, start_ms: float, peak_ms: float, falling_ms: float) -> Floats:
    """Return (times,): a step at the J point that climbs a little and is gone with the T wave."""
    step = 1 / (1 + np.exp(-np.clip((times - start_ms) / 5, -40, 40)))
    climb = 0.45 + 0.55 * np.clip((times - start_ms) / 80, 0, 1)
    fading = np.exp(-0.5 * (np.maximum(times - peak_ms, 0) / falling_ms) ** 2)
    return np.asarray(step * climb * fading)


def atrial_sources(rng: np.random.Generator, patient: Patient, *, premature: bool = False) -> tuple[Sources, float]:
    """Return the P wave, and how long before the QRS complex its course begins (ms)."""
    others, conditions, person = patient.others, patient.conditions, patient.person
    left = others.la_max_ml / (37 * person.bsa_m2)
    right = others.ra_max_ml / (42 * person.bsa_m2)
    duration = float(np.clip(rng.normal(106, 8) * left**0.22, 75, 160))
    moments = np.stack([RIGHT_P_MV * right**0.9, LEFT_P_MV * left**0.8])
    moments *= rng.lognormal(0, 0.2) * rng.lognormal(0, 0.2, (2, 1))
    moments[0] *= 1 + 0.6 * conditions.pulmonary_hypertension
    pressure = 0.5 * conditions.hypertension + 0.4 * conditions.congestion
    moments[1] *= np.array((1, 1, 0.5 + 0.6 * left + pressure))
    if premature:
        moments = moments @ turn_about(rng.normal(0, 50, 3)).T
    moments = moments @ turn_about(rng.normal(0, (12, 10, 10))).T
    pr = float(patient.electrics.pr_ms) - 25 * premature
    start = 30.0
    times = np.arange(0, start + pr + 160, MS) - start
    centres = duration * np.array((0.33, 0.62 + 0.04 * (left - 1)))
    courses = _bells(times, centres, duration * 0.165, duration * 0.165)
    after = _bells(times, np.array([duration + 60]), 60.0, 70.0)
    backward = -(0.10 + 0.35 * conditions.pericarditis) * moments.sum(0, keepdims=True)
    sources = Sources(
        np.concatenate([moments, backward]),
        np.stack([RIGHT_ATRIUM, LEFT_ATRIUM, MIDDLE]),
        np.concatenate([courses, after]),
    )
    return sources, pr + start


def fibrillation_sources(rng: np.random.Generator, samples: int) -> Sources:
    """Return f waves over a whole recording: two wandering circuits, the nearer one in the right atrium."""
    times = np.arange(samples) / RECORDED_RATE_HZ
    knots = np.linspace(0, times[-1], 12)
    rate = rng.uniform(4.5, 8) + np.stack([np.interp(times, knots, rng.normal(0, 0.5, 12)) for _ in range(2)])
    phase = 2 * np.pi * (np.cumsum(rate, axis=1) / RECORDED_RATE_HZ + rng.random((2, 1)))
    swelling = np.stack([np.interp(times, knots, rng.lognormal(0, 0.3, 12)) for _ in range(2)])
    courses = swelling * (np.sin(phase) + 0.35 * np.sin(2 * phase + 0.8))
    size = 0.032 * rng.lognormal(0, 0.5)
    moments = size * np.stack([(-0.5, 0.5, 1.3), (0.5, 0.4, -0.3)]) * rng.lognormal(0, 0.3, (2, 1))
    return Sources(moments, np.stack([RIGHT_ATRIUM, LEFT_ATRIUM]), courses)
