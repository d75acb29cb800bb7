"""A simulated patient: what heart and ECG have in common, and what only one of them shows.

`physiology.py` draws it. The torso, the electrodes and the ion channels of the ECG are `Habitus` and `Electrics`, which
the heart's simulation does not read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from schemas.messages import CardiomyopathySubtype, Disease
from training.arrays import Floats

Artery: TypeAlias = Literal["LAD", "RCA", "LCX"]

TERRITORIES: dict[Artery, tuple[int, ...]] = {
    "LAD": (1, 2, 7, 8, 13, 14),
    "RCA": (3, 4, 9, 10, 15),
    "LCX": (5, 6, 11, 12, 16),
}
"""AHA segments, counted from 1, by the artery that feeds them."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who the patient is."""

    age_years: float
    female: bool
    height_cm: float
    weight_kg: float
    systolic_mmhg: float
    diastolic_mmhg: float

    @property
    def bsa_m2(self) -> float:
        """Body surface area (Mosteller)."""
        return float(np.sqrt(self.height_cm * self.weight_kg / 3600))

    @property
    def bmi(self) -> float:
        """Body mass index, kg/m²."""
        return self.weight_kg / (self.height_cm / 100) ** 2


@dataclass(frozen=True, slots=True)
class Conditions:
    """The patient's conditions, each graded from 0 (absent) to 1 (severe).

    Attributes:
        ischaemia: subendocardial, at rest: depresses ST, without scar.
        infarct_artery: the territory of an old infarct, or None.
        infarct_size: share of the territory that is scar.
        transmurality: depth of the scar, 0 to 1.
        hypertension: chronic pressure load: concentric hypertrophy.
        effusion: pericardial fluid: low voltage.
        congestion: how much filling pressures are raised: atrial size, heart rate.
    """

    coronary: float
    ischaemia: float
    infarct_artery: Artery | None
    infarct_size: float
    transmurality: float
    hypertension: float
    dilated: float
    hypertrophic: float
    restrictive: float
    pericarditis: float
    effusion: float
    pulmonary_hypertension: float
    congestion: float


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The rhythm of the heart.

    Attributes:
        variability: standard deviation of the intervals over their mean, of sinus rhythm.
        ventricular_ectopy, atrial_ectopy: premature beats a minute.
    """

    heart_rate_bpm: float
    atrial_fibrillation: bool
    variability: float
    ventricular_ectopy: float
    atrial_ectopy: float


@dataclass(frozen=True, slots=True)
class Ventricle:
    """The left ventricle at end-diastole and how it contracts.

    Attributes:
        edv_ml: end-diastolic volume of the cavity.
        sphericity: short over long axis of the cavity, about 0.5; 0.8 in severe dilation.
        thickness_mm: (16,) end-diastolic, by AHA segment.
        shortening: (16,) peak circumferential shortening, by AHA segment; 0 in a full scar, negative when it bulges.
        longitudinal: peak longitudinal shortening, about 0.18.
        delay_ms: (16,) how late each segment contracts; the lateral wall in left bundle branch block.
        relaxation: speed of early filling, 1 normal, 0.5 much delayed.
    """

    edv_ml: float
    sphericity: float
    thickness_mm: Floats
    shortening: Floats
    longitudinal: float
    delay_ms: Floats
    relaxation: float


@dataclass(frozen=True, slots=True)
class OtherChambers:
    """The right ventricle, the atria and the aorta.

    Attributes:
        septal_flattening: 0 round, 1 a D-shaped left ventricle under right-sided pressure.
        distensibility: of the aorta, 10⁻³ mmHg⁻¹.
    """

    rv_edv_ml: float
    rv_ef: float
    rv_wall_mm: float
    septal_flattening: float
    la_max_ml: float
    la_ef: float
    ra_max_ml: float
    ra_ef: float
    ascending_aorta_min_mm2: float
    ascending_distensibility: float
    descending_aorta_min_mm2: float
    descending_distensibility: float


@dataclass(frozen=True, slots=True)
class Habitus:
    """How the chest lies around the heart; CMR measurements do not depend on it.

    Attributes:
        axis_rotation_deg: turn of the heart's electrical axis in the frontal plane by build and breathing.
        tilt_deg: turn out of the frontal plane.
        attenuation: factor on all voltages by chest wall, lungs and breast.
        chest_attenuation: further factor on V1-V6.
        electrode_shift: (6, 2) displacement of V1-V6, in units of the distance to the heart: across, along the body.
    """

    axis_rotation_deg: float
    tilt_deg: float
    attenuation: float
    chest_attenuation: float
    electrode_shift: Floats


@dataclass(frozen=True, slots=True)
class Electrics:
    """Conduction and repolarisation.

    Attributes:
        left_bundle_block, right_bundle_block: 0 to 1; 1 is complete.
        repolarisation: factor on the T waves by ion channels, electrolytes and drugs.
        early_repolarisation: 0 to 1, a harmless ST elevation.
        noise: how noisy the recording is; 1 is typical, 3 poor.
    """

    pr_ms: float
    qrs_ms: float
    qtc_ms: float
    left_bundle_block: float
    right_bundle_block: float
    left_anterior_hemiblock: float
    repolarisation: float
    early_repolarisation: float
    noise: float


@dataclass(frozen=True, slots=True)
class Patient:
    """One simulated patient.

    Attributes:
        diseases: the five diseases, as a physician would code them.
        subtype: of the cardiomyopathy, where there is one.
        ecg_seed, scan_seed: of the random parts of the ECG and of the scan.
    """

    number: int
    person: Person
    conditions: Conditions
    rhythm: Rhythm
    ventricle: Ventricle
    others: OtherChambers
    habitus: Habitus
    electrics: Electrics
    diseases: dict[Disease, bool]
    subtype: CardiomyopathySubtype | None
    ecg_seed: tuple[int, ...] = field(default=(0,))
    scan_seed: tuple[int, ...] = field(default=(0,))
