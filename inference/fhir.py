"""A report as FHIR R4: a Bundle of a DiagnosticReport, one Observation for each number, and a Device for the model.

Rate, intervals and axes are Observations too, or say why they have no value.

Everything is "preliminary", since no physician has looked yet. Where LOINC, SNOMED CT or UCUM has a code that means
exactly the number, that code is used; all other numbers have codes of our own system `CODES`. A risk has only our own
code. The SNOMED CT code of its disease is in a component: as the code of the Observation it would say that the patient
has the disease.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from schemas.identity import resource_id
from schemas.messages import CardiomyopathySubtype, Disease, EcgMeasurement, Phenotype, Probability, Risk, RiskReport
from schemas.shown_text import shown_id, shown_text

from .ecg_measurements import NOT_MEASURABLE
from .site_policy import excluded_by, not_assessable, reasons_in_words

FHIR_JSON = "application/fhir+json"

CODES = "urn:cardiacnets:codes"
PATIENTS = "urn:cardiacnets:patient"
RECORDS = "urn:cardiacnets:record"
REPORTS = "urn:cardiacnets:report"
LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
UCUM = "http://unitsofmeasure.org"
INTERPRETATIONS = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
SERVICE_SECTIONS = "http://terminology.hl7.org/CodeSystem/v2-0074"
CATEGORIES = "http://terminology.hl7.org/CodeSystem/observation-category"
ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
ABSENT_REASONS = "http://terminology.hl7.org/CodeSystem/data-absent-reason"

METHOD = "Estimated from a 12-lead ECG by a neural network; not measured."
MEASURED = "Measured in the average beat of a 12-lead ECG, by rules; no neural network."
FLAGGED = "At or above the model's threshold."
NOT_FLAGGED = "Below the model's threshold, which does not rule the disease out."
SAYS_NOTHING = "An ECG says about nothing of this measurement: the value is little more than the mean of people."
TITLE = "Cardiac function and risks as estimated from an ECG"

SNOMED_DISEASES: dict[Disease, tuple[str, str]] = {
    "coronary_artery_disease": ("53741008", "Coronary arteriosclerosis"),
    "cardiomyopathy": ("85898001", "Cardiomyopathy"),
    "heart_failure": ("84114007", "Heart failure"),
    "pulmonary_hypertension": ("70995007", "Pulmonary hypertension"),
    "pericarditis": ("3238004", "Pericarditis"),
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

FIRST_INSTANT, LAST_INSTANT = "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00"

CODE = re.compile(r"[A-Za-z0-9_.-]+")

Json: TypeAlias = dict[str, Any]


def encode_bundle(report: RiskReport) -> bytes:
    """Return the Bundle as JSON on one line."""
    return msgspec.json.encode(compose_bundle(report))


def compose_bundle(report: RiskReport) -> Json:
    """Return the Bundle (type `collection`), ready for JSON. Equal reports give equal Bundles, including the ids."""
    subtype = report.cardiomyopathy_subtype
    numbers = [
        *map(_risk, report.risks),
        *([] if excluded_by(report.risks) else map(_phenotype, report.phenotypes)),
        *map(_measurement, report.ecg_measurements),
        *([_subtype(subtype)] if subtype else []),
    ]
    observations = [_shared(report, f"observation-{place}") | number for place, number in enumerate(numbers)]
    resources = [_diagnostic_report(report, observations), _device(report), *observations]
    return {
        "resourceType": "Bundle",
        "id": resource_id(report.report_id, "bundle"),
        "identifier": {"system": REPORTS, "value": _visible(report.report_id)},
        "type": "collection",
        "timestamp": _instant(report.created_at),
        "entry": [{"fullUrl": _url(resource["id"]), "resource": resource} for resource in resources],
    }


def _diagnostic_report(report: RiskReport, observations: list[Json]) -> Json:
    results = [_reference(observation["id"]) for observation in observations]
    return {
        "resourceType": "DiagnosticReport",
        "id": resource_id(report.report_id, "report"),
        "identifier": [{"system": REPORTS, "value": _visible(report.report_id)}],
        "status": "preliminary",
        "category": [_concept(_coding(SERVICE_SECTIONS, "EC", "Electrocardiac (e.g., EKG, EEC, Holter)"))],
        "code": _concept(_coding(CODES, "ecg-screening", TITLE), _coding(LOINC, "11524-6", "EKG study"), text=TITLE),
        **_subject_and_time(report),
        "issued": _instant(report.created_at),
        **({"result": results} if results else {}),  # FHIR knows no empty list
        "conclusion": _conclusion(report),
    }


def _conclusion(report: RiskReport) -> str:
    """Return the result in words, with everything that a reader must know."""
    excluded = dict.fromkeys(risk.reasons for risk in report.risks if risk.reasons)
    flagged = [
        f"{_words(risk.disease)} {risk.probability:.2f} (threshold {risk.threshold:.2f})"
        for risk in report.risks
        if risk.flagged
    ]
    model = report.model
    sentences = [
        f"Flagged: {', '.join(flagged)}." if flagged else "No risk is flagged.",
        *(_not_assessable(reasons, report.risks) for reasons in excluded),
        *(f"Signal: {shown_text(warning.detail)}" for warning in report.quality.warnings),
        f"Model {shown_id(model.name)} {shown_id(model.version)}; weights: {shown_text(model.weights)}.",
        *([] if model.trained else ["The weights are untrained: these numbers mean nothing."]),
        shown_text(report.notice),
    ]
    return " ".join(sentences)


def _not_assessable(reasons: tuple[str, ...], risks: Iterable[Risk]) -> str:
    diseases = [_words(risk.disease) for risk in risks if risk.reasons == reasons]
    return f"Not assessable for {', '.join(diseases)}: {shown_text(reasons_in_words(reasons))}."


def _device(report: RiskReport) -> Json:
    model = report.model
    return {
        "resourceType": "Device",
        "id": resource_id(report.report_id, "device"),
        "identifier": [{"system": "urn:cardiacnets:model", "value": _visible(f"{model.name} {model.version}")}],
        "status": "active",
        "manufacturer": "CardiacNets",
        "deviceName": [{"name": _visible(model.name), "type": "model-name"}],
        "type": {"text": "Neural network that reads 12-lead ECGs (software)"},
        "version": [{"value": _visible(model.version)}],
        "note": [{"text": shown_text(f"Weights: {model.weights}. {report.notice}")}],
    }


def _shared(report: RiskReport, part: str) -> Json:
    """Return the part that all Observations of a report have in common."""
    return {
        "resourceType": "Observation",
        "id": resource_id(report.report_id, part),
        "status": "preliminary",
        "category": [_concept(_coding(CATEGORIES, "procedure", "Procedure"))],
        **_subject_and_time(report),
        "issued": _instant(report.created_at),
        "method": {"text": METHOD},
        "device": _reference(resource_id(report.report_id, "device")),
        "derivedFrom": [
            {
                "type": "Observation",
                "identifier": {"system": RECORDS, "value": _visible(report.record_id)},
                "display": "The 12-lead ECG",
            }
        ],
    }


def _risk(risk: Risk) -> Json:
    name = f"Risk of {_words(risk.disease)}"
    return {
        "code": _concept(_coding(CODES, f"risk-{risk.disease}", name), text=name),
        **(_assessed(risk) if risk.is_assessable else _excluded(risk.reasons)),
        "component": [
            {
                "code": _concept(_coding(CODES, "disease", "The disease that the risk is of")),
                "valueCodeableConcept": _concept(_coding(SNOMED, *SNOMED_DISEASES[risk.disease])),
            }
        ],
    }


def _assessed(risk: Risk) -> Json:
    flag, words = (("H", "High"), FLAGGED) if risk.flagged else (("N", "Normal"), NOT_FLAGGED)
    return {
        "valueQuantity": _probability(risk.probability),
        "interpretation": [_concept(_coding(INTERPRETATIONS, *flag), text=words)],
        "referenceRange": [
            {"high": _probability(risk.threshold), "text": "Below the threshold from which the model flags the disease"}
        ],
    }


def _excluded(reasons: tuple[str, ...]) -> Json:
    """Return why a risk has no value. Its probability is left out: somebody would read it as the patient's."""
    codings = [_coding(CODES, reason, _words(reason)) for reason in reasons]
    absent = _coding(ABSENT_REASONS, "not-applicable", "Not Applicable")
    return {"dataAbsentReason": _concept(absent, *codings, text=not_assessable(reasons))}


def _phenotype(phenotype: Phenotype) -> Json:
    name = _visible(_words(phenotype.name))
    codings = [_coding(CODES, f"phenotype-{phenotype.name}", name)] if CODE.fullmatch(phenotype.name) else []
    if loinc := LOINC_PHENOTYPES.get(phenotype.name):
        codings.append(_coding(LOINC, *loinc))
    return {
        "code": _concept(*codings, text=name),
        "valueQuantity": _quantity(phenotype),
        **({"component": _interval(phenotype, reach)} if (reach := phenotype.half_width) is not None else {}),
        **({} if phenotype.informative else {"note": [{"text": SAYS_NOTHING}]}),
    }


def _interval(phenotype: Phenotype, reach: float) -> list[Json]:
    """Return the ends of the prediction interval, which reaches so far to either side."""
    return [
        {
            "code": _concept(_coding(CODES, code, text), text=text),
            "valueQuantity": _quantity(msgspec.structs.replace(phenotype, value=round(end, 4))),
        }
        for code, text, end in (
            ("interval-90-low", "Lower end of the 90 % prediction interval", phenotype.value - reach),
            ("interval-90-high", "Upper end of the 90 % prediction interval", phenotype.value + reach),
        )
    ]


def _measurement(measurement: EcgMeasurement) -> Json:
    name = _words(measurement.name)
    known = LOINC_MEASUREMENTS.get(measurement.name, ())
    codings = [_coding(CODES, f"ecg-{measurement.name}", name), *(_coding(LOINC, *loinc) for loinc in known)]
    return {
        "code": _concept(*codings, text=name),
        "method": {"text": MEASURED},
        **(_absent(measurement) if measurement.value is None else {"valueQuantity": _quantity(measurement)}),
    }


def _absent(measurement: EcgMeasurement) -> Json:
    why = measurement.not_measurable or "unknown"
    coding = _coding(ABSENT_REASONS, "not-performed", "Not Performed")
    return {"dataAbsentReason": _concept(coding, _coding(CODES, why, _words(why)), text=_reason(why))}


def _reason(why: str) -> str:
    return f"Not measurable: {NOT_MEASURABLE.get(why, _words(why))}."


def _subtype(probabilities: dict[CardiomyopathySubtype, Probability]) -> Json:
    name = "Kind of cardiomyopathy, given that there is one"
    return {
        "code": _concept(_coding(CODES, "cardiomyopathy-subtype", name), text=name),
        "component": [
            {
                "code": _concept(_coding(CODES, f"cardiomyopathy-{subtype}", f"{subtype.capitalize()} cardiomyopathy")),
                "valueQuantity": _probability(probability),
            }
            for subtype, probability in probabilities.items()
        ],
    }


def _subject_and_time(report: RiskReport) -> Json:
    """Return the patient and the time of the ECG. If the time is unknown, the resource says so."""
    patient = {"type": "Patient", "identifier": {"system": PATIENTS, "value": _visible(report.patient_id or "")}}
    unknown = {"extension": [{"url": ABSENT, "valueCode": "unknown"}]}
    at = report.recorded_at
    return {
        **({} if report.patient_id is None else {"subject": patient}),
        **({"_effectiveDateTime": unknown} if at is None else {"effectiveDateTime": _instant(at)}),
    }


def _quantity(number: Phenotype | EcgMeasurement) -> Json:
    quantity: Json = {"value": number.value, "unit": _visible(number.unit)}
    code = UCUM_UNITS.get(number.unit)
    return quantity | ({"system": UCUM, "code": code} if code else {})


def _probability(value: float) -> Json:
    return {"value": value, "unit": "probability", "system": UCUM, "code": "1"}


def _concept(*codings: Json, text: str | None = None) -> Json:
    return ({"coding": list(codings)} if codings else {}) | ({"text": text} if text else {})


def _coding(system: str, code: str, display: str) -> Json:
    return {"system": system, "code": code, "display": display}


def _reference(identifier: str) -> Json:
    return {"reference": _url(identifier)}


def _url(identifier: str) -> str:
    return f"urn:uuid:{identifier}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _visible(text: str) -> str:
    """Return a text that FHIR accepts: it has at least one visible character, and no control."""
    return shown_id(text) if text.strip() else "(blank)"


def _instant(at: datetime) -> str:
    """Return a time in UTC: FHIR knows no offset beyond 14 hours."""
    try:
        return at.astimezone(UTC).isoformat()
    except OverflowError:  # the first or the last day of the calendar
        return FIRST_INSTANT if at.year == 1 else LAST_INSTANT
