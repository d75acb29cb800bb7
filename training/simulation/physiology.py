"""Draws the latent physiology of a simulated patient, which drives the heart that CMR sees and the ECG.

A patient depends on a seed and a number alone. What one ECG or scan adds (electrodes, noise, the plane) is drawn where
it is used.

Modelled on:
- ages, body sizes: the UK Biobank imaging study (45-82 years; Littlejohns et al., Nature Communications 2020)
- volumes, mass and their dependence on sex, age and body surface: Petersen et al., JCMR 2017 (UK Biobank reference
  ranges); wall thickness by segment: Kawel et al., Circ Cardiovasc Imaging 2012
- atria: Petersen 2017; aorta: Bai et al., Nature Medicine 2020
- prevalences: those of a hospital population that gets an ECG (MIMIC-IV-ECG-Ext-ICD lies higher, the UK Biobank lower)
- infarct territories: Cerqueira et al., Circulation 2002 (AHA segments by artery)
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from schemas.messages import CardiomyopathySubtype, Disease
from training.arrays import Floats

from .patient import (
    TERRITORIES,
    Artery,
    Conditions,
    Electrics,
    Habitus,
    OtherChambers,
    Patient,
    Person,
    Rhythm,
    Ventricle,
)

Choice = TypeVar("Choice")

SEPTUM = (2, 3, 8, 9, 14)
"""AHA segments, counted from 1, that the ventricles share."""

PREVALENCE: dict[Disease, float] = {
    "coronary_artery_disease": 0.14,
    "cardiomyopathy": 0.045,
    "pulmonary_hypertension": 0.04,
    "pericarditis": 0.02,
}
"""Before overlap. Heart failure is not drawn: it follows from the heart, see `_fails`."""

SUBTYPE_SHARES: dict[CardiomyopathySubtype, float] = {"restrictive": 0.15, "dilated": 0.5, "hypertrophic": 0.35}

NORMAL_THICKNESS_MM = np.array([7.4, 8.2, 8.4, 7.9, 7.4, 7.3, 6.6, 7.1, 7.6, 7.2, 6.8, 6.7, 6.1, 6.6, 6.2, 6.0])
"""End-diastolic, by AHA segment, mean of the sexes."""
NORMAL_SHORTENING = np.array(
    [0.19, 0.18, 0.18, 0.19, 0.21, 0.21, 0.21, 0.20, 0.20, 0.21, 0.22, 0.22, 0.24, 0.23, 0.23, 0.24]
)
"""Peak circumferential shortening in the middle of the wall, by AHA segment."""


def draw_patient(seed: int, number: int) -> Patient:
    """Return patient `number` of the population of `seed`; the same two give the same patient everywhere."""
    rng = np.random.default_rng([seed, number])
    person = _person(rng)
    conditions = _conditions(rng, person)
    electrics = _electrics(rng, person, conditions)
    ventricle = _ventricle(rng, person, conditions, electrics)
    rhythm = _rhythm(rng, person, conditions)
    others = _other_chambers(rng, person, conditions, rhythm, ventricle)
    return Patient(
        number=number,
        person=person,
        conditions=conditions,
        rhythm=rhythm,
        ventricle=ventricle,
        others=others,
        habitus=_habitus(rng, person),
        electrics=electrics,
        diseases=_diseases(rng, conditions, ventricle, others),
        subtype=_subtype(conditions),
        ecg_seed=(seed, number, 1),
        scan_seed=(seed, number, 2),
    )


def _person(rng: np.random.Generator) -> Person:
    female = bool(rng.random() < 0.5)
    age = float(np.clip(rng.normal(63, 10), 35, 90))
    height = rng.normal(163, 6.2) if female else rng.normal(176.5, 6.6)
    bmi = np.clip(rng.lognormal(np.log(26.3), 0.15), 17, 45)
    systolic = np.clip(rng.normal(132 + 0.5 * (age - 63), 16), 95, 210)
    diastolic = np.clip(0.45 * systolic + rng.normal(20, 7), 50, 120)
    weight = bmi * (height / 100) ** 2
    return Person(age, female, float(height), float(weight), float(systolic), float(diastolic))


def _conditions(rng: np.random.Generator, person: Person) -> Conditions:
    risk = 1.045 ** (person.age_years - 63) * (0.7 if person.female else 1.3)
    coronary = _grade(rng, PREVALENCE["coronary_artery_disease"] * risk)
    infarcted = coronary > 0 and rng.random() < 0.45 + 0.35 * coronary
    artery: Artery | None = _pick(rng, {"LAD": 0.42, "RCA": 0.38, "LCX": 0.20}) if infarcted else None
    kind = _pick(rng, SUBTYPE_SHARES)
    subtype = kind if rng.random() < PREVALENCE["cardiomyopathy"] else None
    severity = 0.25 + 0.75 * rng.beta(1.6, 1.6)
    hypertensive = (person.systolic_mmhg - 125) / 70 + rng.normal(0, 0.15)
    congestive = rng.random() < 0.06 * risk
    left_disease = severity if subtype else 0.5 * coronary
    pulmonary = _grade(rng, PREVALENCE["pulmonary_hypertension"] * (1 + 4 * left_disease))
    pericarditis = _grade(rng, PREVALENCE["pericarditis"])
    return Conditions(
        coronary=coronary,
        ischaemia=coronary * float(rng.random() < 0.5) * rng.uniform(0.3, 1),
        infarct_artery=artery,
        infarct_size=rng.uniform(0.35, 1) if artery else 0.0,
        transmurality=rng.uniform(0.4, 1) if artery else 0.0,
        hypertension=float(np.clip(hypertensive, 0, 1)),
        dilated=severity if subtype == "dilated" else 0.0,
        hypertrophic=severity if subtype == "hypertrophic" else 0.0,
        restrictive=severity if subtype == "restrictive" else 0.0,
        pericarditis=pericarditis,
        effusion=pericarditis * rng.uniform(0, 1) if pericarditis else 0.0,
        pulmonary_hypertension=pulmonary,
        congestion=float(np.clip(0.7 * left_disease * rng.random() + congestive * rng.uniform(0.4, 1), 0, 1)),
    )


def _electrics(rng: np.random.Generator, person: Person, conditions: Conditions) -> Electrics:
    age = person.age_years - 63
    scar = conditions.infarct_size * conditions.transmurality
    left_block = (
        rng.random() < 0.008 * 1.04**age + 0.4 * conditions.dilated + 0.06 * scar + 0.03 * conditions.congestion
    )
    right_block = not left_block and rng.random() < 0.025 * 1.04**age + 0.15 * conditions.pulmonary_hypertension
    hemiblock = not left_block and rng.random() < 0.03 * 1.03**age + 0.08 * scar
    widening = 55 * left_block + 38 * right_block + 12 * conditions.dilated + 8 * scar + 6 * conditions.hypertrophic
    return Electrics(
        pr_ms=float(np.clip(rng.normal(160 + 0.4 * age + 15 * conditions.restrictive, 20), 110, 320)),
        qrs_ms=float(np.clip(rng.normal(87 if person.female else 94, 7) + widening, 70, 200)),
        qtc_ms=float(rng.normal(407 if person.female else 397, 17) + 12 * conditions.hypertrophic + 0.3 * widening),
        left_bundle_block=rng.uniform(0.8, 1) if left_block else 0.0,
        right_bundle_block=rng.uniform(0.6, 1) if right_block else 0.0,
        left_anterior_hemiblock=rng.uniform(0.6, 1) if hemiblock else 0.0,
        repolarisation=float(rng.lognormal(0, 0.25)),
        early_repolarisation=float(rng.random() < (0.015 if person.female else 0.05)) * rng.uniform(0.3, 1),
        noise=float(rng.lognormal(0, 0.45)),
    )


def _ventricle(rng: np.random.Generator, person: Person, conditions: Conditions, electrics: Electrics) -> Ventricle:
    scar = scar_by_segment(conditions)
    extent = scar.mean()
    dilation = 0.75 * conditions.dilated + 0.9 * extent - 0.12 * conditions.hypertrophic - 0.15 * conditions.restrictive
    indexed = (71 if person.female else 83) - 0.30 * (person.age_years - 63)
    edv = indexed * person.bsa_m2 * np.exp(rng.normal(0, 0.13)) * (1 + dilation)
    contractility = (1.04 if person.female else 1.0) * np.exp(rng.normal(0, 0.075))
    contractility *= 1 - 0.62 * conditions.dilated - 0.1 * conditions.restrictive
    contractility *= 1 - 0.12 * electrics.left_bundle_block - 0.25 * extent + 0.05 * conditions.hypertrophic
    return Ventricle(
        edv_ml=float(np.clip(edv, 50, 420)),
        sphericity=float(np.clip(rng.normal(0.52, 0.03) + 0.22 * conditions.dilated + 0.25 * extent, 0.42, 0.85)),
        thickness_mm=_thickness(rng, person, conditions, scar),
        shortening=_shortening(rng, conditions, scar) * contractility,
        longitudinal=float(np.clip(rng.normal(0.185, 0.014) * contractility * _stiff_base(conditions), 0.02, 0.3)),
        delay_ms=_delay(electrics),
        relaxation=float(
            np.clip(
                rng.normal(1 - 0.008 * (person.age_years - 63), 0.08)
                - 0.3 * conditions.hypertension
                - 0.35 * max(conditions.hypertrophic, conditions.restrictive),
                0.3,
                1.3,
            )
        ),
    )


def scar_by_segment(conditions: Conditions) -> Floats:
    """Return (16,): the share of each AHA segment that is scar."""
    scar = np.zeros(16)
    if conditions.infarct_artery is not None:
        segments = np.array(TERRITORIES[conditions.infarct_artery]) - 1
        # an infarct reaches from the apex of its territory towards the base
        reach = np.linspace(1 - conditions.infarct_size, 1, len(segments)) * 2 * conditions.infarct_size
        scar[segments] = conditions.transmurality * np.clip(reach, 0, 1)
    return scar


def _thickness(rng: np.random.Generator, person: Person, conditions: Conditions, scar: Floats) -> Floats:
    size = (0.99 if person.female else 1.08) * np.exp(rng.normal(0, 0.08)) * (person.bsa_m2 / 1.85) ** 0.5
    load = 1 + 0.40 * conditions.hypertension + 0.30 * conditions.restrictive - 0.05 * conditions.dilated
    thickness = NORMAL_THICKNESS_MM * size * load * np.exp(rng.normal(0, 0.04, 16))
    septal = np.isin(np.arange(1, 17), SEPTUM)
    apical = np.arange(1, 17) > 12
    pattern = 1.0 * septal + 0.25 if rng.random() < 0.8 else 1.0 * apical + 0.2  # septal or apical hypertrophy
    thickness *= 1 + 2.0 * conditions.hypertrophic * pattern
    thickness *= 1 - 0.45 * scar  # an old scar is thin
    return np.asarray(np.clip(thickness, 2.5, 32))


def _shortening(rng: np.random.Generator, conditions: Conditions, scar: Floats) -> Floats:
    stunned = np.zeros(16)
    if conditions.ischaemia > 0 and conditions.infarct_artery is not None:
        stunned[np.array(TERRITORIES[conditions.infarct_artery]) - 1] = 0.25 * conditions.ischaemia
    regional = NORMAL_SHORTENING * np.exp(rng.normal(0, 0.05, 16)) * (1 - 1.1 * scar - stunned)
    septal = np.isin(np.arange(1, 17), SEPTUM)
    regional *= 1 - 0.35 * conditions.hypertrophic * septal
    return np.asarray(np.clip(regional, -0.05, 0.35))


def _stiff_base(conditions: Conditions) -> float:
    """Return the factor by which infiltration, load and hypertrophy spare the circumference but not the length."""
    return 1 - 0.4 * conditions.restrictive - 0.25 * conditions.hypertrophic - 0.12 * conditions.hypertension


def _delay(electrics: Electrics) -> Floats:
    lateral = np.isin(np.arange(1, 17), (5, 6, 11, 12, 16)) * 1.0
    inferior = np.isin(np.arange(1, 17), (4, 10, 15)) * 0.5
    return np.asarray(electrics.left_bundle_block * 110 * (lateral + inferior))


def _rhythm(rng: np.random.Generator, person: Person, conditions: Conditions) -> Rhythm:
    stress = 14 * conditions.congestion + 12 * conditions.pericarditis + 6 * conditions.pulmonary_hypertension
    age = person.age_years - 63
    odds = 0.02 * 1.07**age * (1 + 3 * conditions.congestion + 2 * conditions.restrictive + conditions.dilated)
    fibrillating = bool(rng.random() < min(odds, 0.6))
    rate = rng.normal(67 if person.female else 64, 10) + stress + (16 if fibrillating else 0)
    failing = max(conditions.dilated, conditions.congestion)
    return Rhythm(
        heart_rate_bpm=float(np.clip(rate, 42, 150)),
        atrial_fibrillation=fibrillating,
        variability=float(np.clip(rng.lognormal(np.log(0.035), 0.4) * (1 - 0.5 * failing), 0.005, 0.12)),
        ventricular_ectopy=float(rng.exponential(4) * (rng.random() < 0.05 + 0.25 * failing)),
        atrial_ectopy=float(rng.exponential(4) * (rng.random() < 0.07)),
    )


def _other_chambers(
    rng: np.random.Generator, person: Person, conditions: Conditions, rhythm: Rhythm, ventricle: Ventricle
) -> OtherChambers:
    bsa, age, fibrillation = person.bsa_m2, person.age_years - 63, float(rhythm.atrial_fibrillation)
    pressure, congestion = conditions.pulmonary_hypertension, conditions.congestion
    left_size = np.exp(0.5 * np.log(ventricle.edv_ml / (80 * bsa)))
    rv = (80 if person.female else 92) * bsa * np.exp(rng.normal(0, 0.10)) * left_size**0.8 * (1 + 0.55 * pressure)
    stiff = max(conditions.restrictive, conditions.hypertrophic, 0.5 * conditions.hypertension)
    la = 37 * bsa * np.exp(rng.normal(0, 0.17)) * left_size**0.6
    la *= 1 + 0.45 * fibrillation + 0.45 * congestion + 0.45 * stiff + 0.25 * conditions.dilated
    ra = 42 * bsa * np.exp(rng.normal(0, 0.17)) * (1 + 0.4 * fibrillation + 0.6 * pressure + 0.3 * congestion)
    ascending = (640 if person.female else 800) * np.exp(rng.normal(0, 0.15) + 0.006 * age)
    descending = (350 if person.female else 460) * np.exp(rng.normal(0, 0.12) + 0.006 * age)
    stiffness = np.exp(-0.030 * age - 0.005 * (person.systolic_mmhg - 132) + rng.normal(0, 0.28))
    return OtherChambers(
        rv_edv_ml=float(rv),
        rv_ef=float(np.clip(rng.normal(0.57, 0.045) - 0.24 * pressure - 0.14 * conditions.dilated, 0.15, 0.75)),
        rv_wall_mm=float(rng.normal(3.2, 0.3) + 4.5 * pressure),
        septal_flattening=float(np.clip(pressure * rng.uniform(0.5, 1), 0, 1)),
        la_max_ml=float(la),
        la_ef=float(
            np.clip(rng.normal(0.60, 0.055) - 0.24 * fibrillation - 0.18 * congestion - 0.15 * stiff, 0.12, 0.78)
        ),
        ra_max_ml=float(ra),
        ra_ef=float(np.clip(rng.normal(0.47, 0.07) - 0.16 * fibrillation - 0.14 * pressure, 0.1, 0.7)),
        ascending_aorta_min_mm2=float(ascending),
        ascending_distensibility=float(1.5 * stiffness),
        descending_aorta_min_mm2=float(descending),
        descending_distensibility=float(2.2 * stiffness * np.exp(rng.normal(0, 0.15))),
    )


def _habitus(rng: np.random.Generator, person: Person) -> Habitus:
    stoutness = person.bmi - 26.3
    return Habitus(
        axis_rotation_deg=float(rng.normal(-1.6 * stoutness - 0.25 * (person.age_years - 63), 16)),
        tilt_deg=float(rng.normal(0, 10)),
        attenuation=float(np.exp(rng.normal(-0.014 * stoutness, 0.16))),
        chest_attenuation=float(np.exp(rng.normal(-0.1 if person.female else 0.05, 0.15))),
        electrode_shift=rng.normal(0, 0.07, (6, 2)),
    )


def _diseases(
    rng: np.random.Generator, conditions: Conditions, ventricle: Ventricle, others: OtherChambers
) -> dict[Disease, bool]:
    return {
        "coronary_artery_disease": conditions.coronary > 0,
        "cardiomyopathy": _subtype(conditions) is not None,
        "heart_failure": _fails(rng, conditions, ventricle, others),
        "pulmonary_hypertension": conditions.pulmonary_hypertension > 0,
        "pericarditis": conditions.pericarditis > 0,
    }


def _fails(rng: np.random.Generator, conditions: Conditions, ventricle: Ventricle, others: OtherChambers) -> bool:
    """Return whether heart failure is diagnosed: with a reduced EF, or a preserved one and raised filling pressures.

    The odds rise steeply with either, and are not certain: a diagnosis needs symptoms too.
    """
    weakness = 0.19 - float(ventricle.shortening.mean())
    filling = conditions.congestion + 0.6 * conditions.restrictive + 0.3 * (1 - ventricle.relaxation)
    enlarged = others.la_max_ml / 70 - 1
    logit = -4.6 + 42 * weakness + 4.5 * filling + 0.8 * enlarged + 1.2 * conditions.pulmonary_hypertension
    return bool(rng.random() < 1 / (1 + np.exp(-logit)))


def _subtype(conditions: Conditions) -> CardiomyopathySubtype | None:
    graded: dict[CardiomyopathySubtype, float] = {
        "restrictive": conditions.restrictive,
        "dilated": conditions.dilated,
        "hypertrophic": conditions.hypertrophic,
    }
    return next((name for name, grade in graded.items() if grade > 0), None)


def _grade(rng: np.random.Generator, probability: float) -> float:
    """Return 0 mostly, else a severity of 0.2 to 1."""
    present, severity = rng.random() < min(probability, 0.7), 0.2 + 0.8 * rng.beta(1.5, 1.5)
    return float(severity) if present else 0.0


def _pick(rng: np.random.Generator, shares: dict[Choice, float]) -> Choice:
    names = list(shares)
    return names[int(rng.choice(len(names), p=list(shares.values())))]
