"""The codes of our own that FHIR resources carry. `fhir_code_system.py` publishes them.

A code stands here once, with LOINC's code and UK Biobank's field beside it where they mean the same, and SNOMED CT's
code of the disease. No resource carries a code of ours that is not here: a name that a later version writes is given in
words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from schemas.messages import DISEASES, SUBTYPES, CardiomyopathySubtype, Disease

from .ecg_measurements import NOT_MEASURABLE
from .ecg_measurements import UNITS as ECG_UNITS
from .phenotypes import MEASUREMENTS
from .site_policy import IN_WORDS

Json: TypeAlias = dict[str, Any]
Kind: TypeAlias = Literal["reports", "observations", "risks", "reasons"]

CODES: Final = "urn:cardiacnets:codes"
LOINC: Final = "http://loinc.org"
SNOMED: Final = "http://snomed.info/sct"
UCUM: Final = "http://unitsofmeasure.org"

SNOMED_DISEASES: dict[Disease, tuple[str, str]] = {
    "coronary_artery_disease": ("53741008", "Coronary arteriosclerosis"),
    "cardiomyopathy": ("85898001", "Cardiomyopathy"),
    "heart_failure": ("84114007", "Heart failure"),
    "pulmonary_hypertension": ("70995007", "Pulmonary hypertension"),
    "pericarditis": ("3238004", "Pericarditis"),
}
SNOMED_SUBTYPES: dict[CardiomyopathySubtype, tuple[str, str]] = {
    "restrictive": ("415295002", "Restrictive cardiomyopathy"),
    "dilated": ("399020009", "Dilated cardiomyopathy"),
    "hypertrophic": ("233873004", "Hypertrophic cardiomyopathy"),
}
LOINC_PHENOTYPES = {"LVEF": ("10230-1", "Left ventricular Ejection fraction")}
"""LOINC's only code without a method. The codes of other phenotypes name ultrasound, or are ambiguous."""
LOINC_MEASUREMENTS = {
    "heart_rate": (("8867-4", "Heart rate"),),
    "pr_interval": (("8625-6", "P-R Interval"),),
    "qrs_duration": (("8633-0", "QRS duration"),),
    "qt_interval": (("8634-8", "Q-T interval"),),
    "qtc_fridericia": (
        ("76634-5", "Q-T interval corrected based on Fridericia formula"),
        ("8636-3", "Q-T interval corrected"),
    ),
    "p_axis": (("8626-4", "P wave axis"),),
    "qrs_axis": (("8632-2", "QRS axis"),),
    "t_axis": (("8638-9", "T wave axis"),),
}
"""The first code means exactly the number; a second one means it too, and says less."""
UCUM_UNITS = {
    "/min": "/min",
    "ms": "ms",
    "°": "deg",
    "mL": "mL",
    "%": "%",
    "L/min": "L/min",
    "g": "g",
    "mm": "mm",
    "mm²": "mm2",
    "10⁻³ mmHg⁻¹": "10*-3/mm[Hg]",
}

SCREENING, RISKS, PHENOTYPES, SUBTYPE = "ecg-screening", "risks", "phenotypes", "cardiomyopathy-subtype"
DETECTED, NOT_DETECTED, NOT_ASSESSABLE = "detected", "not_detected", "not_assessable"
NO_VALUE, UNKNOWN = "no-value", "unknown"
AI_ASSERTED = "AIAST"
"""As HL7 calls it."""
TITLES: dict[Kind, str] = {
    "reports": "What a report or an assessment is, and who made it",
    "observations": "What is estimated or measured",
    "risks": "Diseases, what a model said of them, and alerts",
    "reasons": "Why a number is not there",
}


@dataclass(frozen=True, slots=True)
class OwnCode:
    """A code of ours.

    Attributes:
        display: what it is, in words.
        means: the same in a sentence.
        kind: of the ValueSet that it is in.
        loinc: LOINC's codes that mean the same, the most exact one first.
        snomed: SNOMED CT's code of the disease that it is, or is the probability of.
        unit: of its values, by UCUM.
        field: UK Biobank's, whose definition is that of the measurement.
    """

    display: str
    means: str
    kind: Kind
    loinc: tuple[tuple[str, str], ...] = ()
    snomed: tuple[str, str] | None = None
    unit: str | None = None
    field: int | None = None


def in_words(name: str) -> str:
    """Return a name of a message in words."""
    return name.replace("_", " ")


def phenotype_code(name: str) -> str:
    """Return the code of a measurement of cardiac MR as it is estimated."""
    return f"phenotype-{name}"


def interval_code(name: str) -> str:
    """Return the code of the interval that holds a scan's value for 90 of 100 people."""
    return f"interval-90-{name}"


def ecg_code(name: str) -> str:
    """Return the code of a measurement of the ECG itself."""
    return f"ecg-{name}"


def subtype_code(name: str) -> str:
    """Return the code of the probability of a kind of cardiomyopathy."""
    return f"cardiomyopathy-{name}"


def alert_code(disease: str) -> str:
    """Return the code of an alert about a disease."""
    return f"alert-{disease}"


def _reports() -> dict[str, OwnCode]:
    return {
        SCREENING: OwnCode("ECG screening", "A report on cardiac function and risks, from an ECG alone.", "reports"),
        RISKS: OwnCode("Risks as estimated from an ECG", "The probabilities of five diseases, now.", "reports"),
        AI_ASSERTED: OwnCode(
            "Artificial intelligence asserted",
            "A label of what a machine has said: AIAST of HL7's v3-ObservationValue, which R4's own list lacks.",
            "reports",
        ),
    }


def _phenotypes() -> dict[str, OwnCode]:
    codes = {
        PHENOTYPES: OwnCode(
            "Cardiac MR measurements as estimated from an ECG",
            "What cardiac MR would have measured, as a neural network estimates it from an ECG: a panel.",
            "observations",
        )
    }
    for each in MEASUREMENTS:
        words, unit = in_words(each.name), UCUM_UNITS[each.unit]
        codes[phenotype_code(each.name)] = OwnCode(
            words,
            f"{words} as in UK Biobank's field {each.field}, estimated from an ECG and not measured.",
            "observations",
            loinc=(LOINC_PHENOTYPES[each.name],) if each.name in LOINC_PHENOTYPES else (),
            unit=unit,
            field=each.field,
        )
        codes[interval_code(each.name)] = OwnCode(
            f"90 % prediction interval of {words}",
            f"Holds a scan's {words} for 90 of 100 people such as the model learned from.",
            "observations",
            unit=unit,
        )
    return codes


def _measurements() -> dict[str, OwnCode]:
    return {
        ecg_code(name): OwnCode(
            in_words(name),
            f"{in_words(name)}, measured in the average beat of a 12-lead ECG, without a neural network.",
            "observations",
            loinc=LOINC_MEASUREMENTS[name],
            unit=UCUM_UNITS[unit],
        )
        for name, unit in ECG_UNITS.items()
    }


def _subtypes() -> dict[str, OwnCode]:
    panel = "Kind of cardiomyopathy, given that there is one"
    return {SUBTYPE: OwnCode(panel, "The probabilities of three kinds, which add up to 1.", "observations")} | {
        subtype_code(subtype): OwnCode(
            f"{subtype.capitalize()} cardiomyopathy",
            f"The probability of {subtype} cardiomyopathy, given that there is a cardiomyopathy.",
            "observations",
            snomed=SNOMED_SUBTYPES[subtype],
            unit="1",
        )
        for subtype in SUBTYPES
    }


def _risks() -> dict[str, OwnCode]:
    codes: dict[str, OwnCode] = {}
    for disease in DISEASES:
        words = in_words(disease)
        codes[disease] = OwnCode(
            words.capitalize(),
            f"{words.capitalize()}, as an outcome whose probability a model estimates.",
            "risks",
            snomed=SNOMED_DISEASES[disease],
        )
        codes[alert_code(disease)] = OwnCode(
            f"Alert: {words} is flagged", f"A model flags {words} on an ECG. It is no diagnosis.", "risks"
        )
    below = "The probability is below the model's threshold, which does not rule the disease out."
    return codes | {
        DETECTED: OwnCode("Flagged", "The probability reaches the model's threshold. It is no diagnosis.", "risks"),
        NOT_DETECTED: OwnCode("Not flagged", below, "risks"),
    }


def _reasons() -> dict[str, OwnCode]:
    known = {
        code: OwnCode(in_words(code), f"No number, because {words}.", "reasons")
        for code, words in {**NOT_MEASURABLE, **IN_WORDS}.items()
    }
    return {
        NOT_ASSESSABLE: OwnCode("Not assessable", "The model is not for this ECG, so there is no number.", "reasons"),
        NO_VALUE: OwnCode("Why there is no value", "The reason by a code, beside the one in FHIR's words.", "reasons"),
        **known,
        UNKNOWN: OwnCode("Unknown", "No number, and no reason is given.", "reasons"),
    }


OWN_CODES = _reports() | _phenotypes() | _measurements() | _subtypes() | _risks() | _reasons()
"""Every code of ours, in order."""


def coding(system: str, code: str, display: str) -> Json:
    """Return a code of a system."""
    return {"system": system, "code": code, "display": display}


def own_codings(*codes: str) -> list[Json]:
    """Return those of the codes that are ours; a later version's codes are left out."""
    return [coding(CODES, code, OWN_CODES[code].display) for code in codes if code in OWN_CODES]


def with_same(code: str) -> list[Json]:
    """Return a code of ours, and the codes of LOINC and SNOMED CT that mean the same."""
    known = OWN_CODES.get(code)
    if known is None:
        return []
    loinc = [coding(LOINC, *each) for each in known.loinc]
    return [*own_codings(code), *loinc, *([coding(SNOMED, *known.snomed)] if known.snomed else [])]
