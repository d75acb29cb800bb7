"""The ECG of a simulated patient: beats, waves by physiology, electrodes, noise; 12 leads of 10 s at 500 Hz."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inference.geometry import MICROVOLTS_PER_STEP, RECORDED_RATE_HZ, RECORDED_SAMPLES
from schemas.ecg_record import LEADS, EcgRecord
from training.arrays import Floats

from .activation import build_wall, conduct, conduct_from_focus
from .electrodes import Sources, Torso, build_torso, leads, potentials, record_noise
from .patient import Patient
from .physiology import draw_patient
from .rhythm import ATRIAL_PREMATURE, SINUS, VENTRICULAR_PREMATURE, draw_beats
from .waves import (
    BEFORE_MS,
    MS,
    atrial_sources,
    fibrillation_sources,
    plan_recovery,
    turn_about,
    ventricular_sources,
)

BREATH_DEG = np.array((2.5, 2.0, 0.0))
"""How far the heart turns with a breath."""
UPRIGHT_DEG = 3.0
"""Makes up for the simulated population, which is stouter and older than the one the regions were set for."""
LUNGS = 0.18
"""Standard deviation of the logarithm of what lungs, fluids and blood let through, beyond the habitus."""
BREATH_GAIN = 0.035
LARGEST_STEP = 32000


@dataclass(frozen=True, slots=True)
class Wave:
    """What the electrodes see of a wave.

    Attributes:
        middle: (9, samples) mV, in mid-breath.
        breath: (9, samples) what a full breath adds.
    """

    middle: Floats
    breath: Floats


def simulate_ecg(patient: Patient) -> NDArray[np.int16]:
    """Return the ECG (12, 5000) in steps of 5 µV, leads in the order of `schemas.ecg_record.LEADS`."""
    rng = np.random.default_rng(patient.ecg_seed)
    beats = draw_beats(rng, patient.rhythm)
    torso, turn = place_heart(rng, patient)
    electrodes = np.zeros((9, RECORDED_SAMPLES))
    for kind, sources, before_ms in _waves(rng, patient):
        at_ms = 1e3 * beats.onsets_s[beats.kinds == kind] - before_ms
        add_wave(electrodes, see(sources, torso, turn), at_ms, beats.breathing[beats.kinds == kind])
    if patient.rhythm.atrial_fibrillation:
        electrodes += potentials(fibrillation_sources(rng, RECORDED_SAMPLES), torso)
    electrodes += record_noise(rng, patient.electrics.noise, beats.breathing_hz)
    steps = np.round(leads(electrodes) * 1e3 / MICROVOLTS_PER_STEP)
    return np.clip(steps, -LARGEST_STEP, LARGEST_STEP).astype(np.int16)


def generate_ecgs(n: int | None, seed: int) -> Iterator[EcgRecord]:
    """Yield the ECGs of `n` simulated patients, or of endlessly many; each depends on the seed and its number alone."""
    numbers = itertools.count() if n is None else range(n)
    return (_record(draw_patient(seed, number), seed) for number in numbers)


def _record(patient: Patient, seed: int) -> EcgRecord:
    return EcgRecord(
        record_id=f"synthetic-{seed}-{patient.number}",
        patient_id=f"synthetic-patient-{seed}-{patient.number}",
        device_id="synthetic",
        leads=LEADS,
        sample_rate_hz=float(RECORDED_RATE_HZ),
        microvolts_per_step=MICROVOLTS_PER_STEP,
        samples=simulate_ecg(patient).astype("<i2").tobytes(),
        paced=False,
    )


def place_heart(rng: np.random.Generator, patient: Patient) -> tuple[Torso, Floats]:
    """Return the torso, and how the heart lies in it (3, 3)."""
    conditions, habitus = patient.conditions, patient.habitus
    quiet = (1 - 0.45 * conditions.effusion) * (1 - 0.45 * conditions.restrictive)
    torso = build_torso(habitus, 1 - 0.25 * conditions.dilated)
    quiet *= rng.lognormal(0, LUNGS)
    frontal = (
        UPRIGHT_DEG
        + 0.65 * habitus.axis_rotation_deg
        - 22 * conditions.dilated
        + 22 * conditions.pulmonary_hypertension
    )
    frontal -= 12 * conditions.hypertension + 30 * patient.electrics.left_anterior_hemiblock
    horizontal = habitus.tilt_deg + rng.normal(0, 14) - 22 * conditions.dilated + 5 * conditions.pulmonary_hypertension
    return replace(torso, gain=torso.gain * quiet), turn_about(np.array((frontal, horizontal, rng.normal(0, 9))))


def _waves(rng: np.random.Generator, patient: Patient) -> Iterator[tuple[int, Sources, float]]:
    """Yield kinds of beats, a wave that they have, and how long before the QRS complex its course begins (ms)."""
    wall = build_wall(rng, patient)
    recovery = plan_recovery(rng, wall, patient)
    normal = ventricular_sources(wall, conduct(rng, wall, patient), recovery)
    yield SINUS, normal, BEFORE_MS
    if not patient.rhythm.atrial_fibrillation:
        yield SINUS, *atrial_sources(rng, patient)
    if patient.rhythm.ventricular_ectopy > 0:
        yield VENTRICULAR_PREMATURE, ventricular_sources(wall, conduct_from_focus(rng, wall), recovery), BEFORE_MS
    if patient.rhythm.atrial_ectopy > 0:
        yield ATRIAL_PREMATURE, normal, BEFORE_MS
        yield ATRIAL_PREMATURE, *atrial_sources(rng, patient, premature=True)


def see(sources: Sources, torso: Torso, turn: Floats) -> Wave:
    """Return what the electrodes see of a wave of the heart that is turned by the matrix `turn` (3, 3)."""
    middle = potentials(sources.turned(turn), torso)
    breathed = potentials(sources.turned(turn_about(BREATH_DEG) @ turn), torso)
    return Wave(middle, breathed * (1 + BREATH_GAIN) - middle)


def add_wave(electrodes: Floats, wave: Wave, at_ms: Floats, breathing: Floats) -> None:
    """Add a wave at these times, in place, as far as it is within the recording."""
    length = wave.middle.shape[1]
    for start, breath in zip(np.rint(at_ms / MS).astype(int), breathing, strict=True):
        first, last = max(start, 0), min(start + length, RECORDED_SAMPLES)
        if first < last:
            part = slice(first - start, last - start)
            electrodes[:, first:last] += wave.middle[:, part] + breath * wave.breath[:, part]
