"""ECGs of more kinds of hearts than a population has: what a judge of electrodes must have seen to doubt no sick heart.

Blocks, infarcts, pacing, ectopic atrial rhythms and turned hearts are as frequent here as normal ones. Norms of the
axes: those of the P wave in adults lie between 0 and 75 degrees, about 50 (Macfarlane and Lawrie, Comprehensive
Electrocardiology).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from inference.geometry import RECORDED_SAMPLES
from training.arrays import Floats

from .activation import APEX, Activation, Wall, build_wall, conduct, conduct_from_focus
from .ecg import add_wave, place_heart, see
from .electrodes import LIMBS, Sources, leads, potentials, record_noise
from .patient import Artery, Patient
from .physiology import draw_patient
from .rhythm import ATRIAL_PREMATURE, SINUS, VENTRICULAR_PREMATURE, draw_beats
from .waves import (
    BEFORE_MS,
    atrial_sources,
    fibrillation_sources,
    plan_recovery,
    turn_about,
    ventricular_sources,
)

VARIED = 0.7
"""So many patients are varied; the others are those of the population."""
BLOCKED = {"left_bundle_block": 0.06, "right_bundle_block": 0.1, "left_anterior_hemiblock": 0.08}
WIDENED_MS = {"left_bundle_block": 55.0, "right_bundle_block": 38.0, "left_anterior_hemiblock": 8.0}
INFARCTED, CHILDREN, LOADED = 0.2, 0.08, 0.08
PACED, AT_APEX, WITHOUT_P = 0.06, 0.6, 0.5
"""Share of the patients with a pacemaker, and of these: with the electrode at the apex, without P waves in time."""
TURN_DEG = (6.0, 8.0, 5.0)
"""How much further hearts are turned: in the frontal, the horizontal and the sagittal plane."""
T_TURN_DEG = (6.0, 6.0, 6.0)
JITTER_MS, JITTER = 4.0, 0.25
"""How much a region's time and the logarithm of its strength scatter further."""
LOWER, LOWERED = (0.20, 0.16), np.array((0.3, 0.3, 0.6, 1.0, 1.0, 1.0))
"""How much lower the chest electrodes lie than where they should: mean and standard deviation, and each one's share."""
P_AXES: tuple[tuple[float, float, float], ...] = (
    (0.88, 48.0, 16.0),
    (0.05, 25.0, 25.0),
    (0.05, -75.0, 30.0),
    (0.02, 0.0, 180.0),
)
"""Share, mean and standard deviation in degrees: sinus rhythm, an atrial rhythm, one from low in the atria, any."""


def simulate_varied_ecg(seed: int, number: int) -> Floats:
    """Return an ECG (12, 5000) in mV at 500 Hz, leads in the order of `schemas.ecg_record.LEADS`."""
    rng = np.random.default_rng([seed, number, 2])
    patient = draw_patient(seed, number)
    varied = bool(rng.random() < VARIED)
    if varied:
        patient = _vary(rng, patient)
    beats = draw_beats(rng, patient.rhythm)
    torso, turn = place_heart(rng, patient)
    if varied:
        turn = turn_about(rng.normal(0, TURN_DEG)) @ turn
    electrodes = np.zeros((9, RECORDED_SAMPLES))
    for kind, sources, before_ms in _waves(rng, patient, turn):
        at_ms = 1e3 * beats.onsets_s[beats.kinds == kind] - before_ms
        add_wave(electrodes, see(sources, torso, turn), at_ms, beats.breathing[beats.kinds == kind])
    if patient.rhythm.atrial_fibrillation:
        electrodes += potentials(fibrillation_sources(rng, RECORDED_SAMPLES), torso)
    electrodes += record_noise(rng, patient.electrics.noise, beats.breathing_hz)
    return leads(electrodes)


def _vary(rng: np.random.Generator, patient: Patient) -> Patient:
    """Return the patient with disorders that the population seldom has."""
    blocks = {name: float(rng.random() < share) * rng.uniform(0.5, 1) for name, share in BLOCKED.items()}
    wider = sum(WIDENED_MS[name] * grade for name, grade in blocks.items())
    child = bool(rng.random() < CHILDREN)
    electrics = replace(
        patient.electrics,
        **{name: max(grade, getattr(patient.electrics, name)) for name, grade in blocks.items()},
        qrs_ms=float(np.clip((rng.normal(75, 8) if child else patient.electrics.qrs_ms) + wider, 60, 200)),
        pr_ms=float(rng.normal(120, 12) if child else np.clip(patient.electrics.pr_ms + rng.normal(0, 20), 100, 320)),
        noise=patient.electrics.noise * float(rng.lognormal(0, 0.4)),
    )
    fibrillating = not child and (patient.rhythm.atrial_fibrillation or bool(rng.random() < 0.06))
    fast = float(rng.uniform(80, 170)) if child else patient.rhythm.heart_rate_bpm * float(rng.lognormal(0.05, 0.2))
    rhythm = replace(patient.rhythm, heart_rate_bpm=float(np.clip(fast, 40, 180)), atrial_fibrillation=fibrillating)
    conditions, infarct = patient.conditions, rng.random() < INFARCTED
    if infarct:
        arteries: tuple[Artery, ...] = ("LAD", "RCA", "LCX")
        artery = arteries[int(rng.integers(3))]
        size, depth = rng.uniform(0.35, 1, 2)
        conditions = replace(conditions, infarct_artery=artery, infarct_size=float(size), transmurality=float(depth))
    if child or rng.random() < LOADED:
        conditions = replace(conditions, pulmonary_hypertension=float(rng.uniform(0.2, 1)))
    shift = patient.habitus.electrode_shift * 1.5
    shift[:, 1] += rng.normal(*LOWER) * LOWERED
    steadier = patient.habitus.axis_rotation_deg * rng.uniform(0, 1)
    habitus = replace(patient.habitus, electrode_shift=shift, axis_rotation_deg=float(steadier))
    return replace(patient, electrics=electrics, rhythm=rhythm, conditions=conditions, habitus=habitus)


def _waves(rng: np.random.Generator, patient: Patient, turn: Floats) -> Iterator[tuple[int, Sources, float]]:
    """Yield kinds of beats, a wave that they have, and how long before the QRS complex its course begins (ms)."""
    wall = build_wall(rng, patient)
    recovery = plan_recovery(rng, wall, patient)
    recovery = replace(recovery, turn=turn_about(rng.normal(0, T_TURN_DEG)) @ recovery.turn)
    paced = rng.random() < PACED
    normal = ventricular_sources(wall, _excite(rng, wall, patient, paced=paced), recovery)
    premature = ventricular_sources(wall, conduct_from_focus(rng, wall), recovery)
    yield SINUS, normal, BEFORE_MS
    yield VENTRICULAR_PREMATURE, premature, BEFORE_MS
    yield ATRIAL_PREMATURE, normal, BEFORE_MS
    if not (patient.rhythm.atrial_fibrillation or (paced and rng.random() < WITHOUT_P)):
        sources, before_ms = atrial_sources(rng, patient)
        yield SINUS, _with_axis(sources, turn, _draw_p_axis(rng)), before_ms
        yield ATRIAL_PREMATURE, *atrial_sources(rng, patient, premature=True)


def _excite(rng: np.random.Generator, wall: Wall, patient: Patient, *, paced: bool) -> Activation:
    """Return how the ventricles are excited: by the bundles, or by a pacemaker from some region."""
    excited = conduct(rng, wall, patient)
    if paced:
        excited = conduct_from_focus(rng, wall, APEX if rng.random() < AT_APEX else None)
    regions = len(excited.times_ms)
    return replace(
        excited,
        times_ms=excited.times_ms + rng.normal(0, JITTER_MS, regions),
        moments=excited.moments * np.exp(rng.normal(0, JITTER, (regions, 1))),
    )


def _draw_p_axis(rng: np.random.Generator) -> float:
    shares = [share for share, _, _ in P_AXES]
    _, mean, sd = P_AXES[int(rng.choice(len(P_AXES), p=shares))]
    return float(rng.normal(mean, sd))


def _with_axis(sources: Sources, turn: Floats, axis_deg: float) -> Sources:
    """Return the sources turned in the frontal plane such that the limb leads show this axis."""
    right, left, foot = LIMBS @ turn @ sources.moments[:2].sum(axis=0)
    now = np.degrees(np.arctan2((2 * (foot - right) - (left - right)) / np.sqrt(3), left - right))
    needed = turn_about(np.array((axis_deg - now, 0.0, 0.0)))
    return sources.turned(turn.T @ needed @ turn)
