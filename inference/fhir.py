"""A report as FHIR R4: a DiagnosticReport, a RiskAssessment, Observations, a Provenance, and a Device for the model.

Everything is "preliminary", since no physician has looked yet, and labelled as said by a machine. Where LOINC, SNOMED
CT or UCUM has a code that means exactly the number, that code is used; all other numbers have codes of our own
(`fhir_codes.py`). A disease is coded as the outcome of a RiskAssessment alone: as the code of an Observation it would
say that the patient has it. What has a LOINC code is an Observation of its own, which a receiver finds by that code;
the other estimates are components of one Observation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from schemas.identity import resource_id
from schemas.messages import CardiomyopathySubtype, EcgMeasurement, Phenotype, Probability, Risk, RiskReport
from schemas.shown_text import shown_id, shown_text

from .ecg_measurements import NOT_MEASURABLE
from .fhir_codes import (
    DETECTED,
    LOINC,
    LOINC_PHENOTYPES,
    NO_VALUE,
    NOT_ASSESSABLE,
    NOT_DETECTED,
    PHENOTYPES,
    RISKS,
    SCREENING,
    SNOMED,
    SUBTYPE,
    UNKNOWN,
    Json,
    coding,
    ecg_code,
    in_words,
    interval_code,
    own_codings,
    phenotype_code,
    subtype_code,
    with_same,
)
from .fhir_narrative import with_narrative
from .fhir_parts import (
    ABSENT,
    caveat,
    concept,
    device,
    device_id,
    ecg,
    instant,
    new_resource,
    patient,
    performer,
    probability,
    quantity,
    reference,
    url,
    visible,
    visible_text,
)
from .phenotypes import MEASUREMENTS
from .reference_values import REFERENCE_VALUES, ReferenceValue
from .site_policy import excluded_by, not_assessable, reasons_in_words

FHIR_JSON = "application/fhir+json"

REPORTS = "urn:cardiacnets:report"
SERVICE_SECTIONS = "http://terminology.hl7.org/CodeSystem/v2-0074"
CATEGORIES = "http://terminology.hl7.org/CodeSystem/observation-category"
ABSENT_REASONS = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
RANGE_MEANINGS = "http://terminology.hl7.org/CodeSystem/referencerange-meaning"
PARTICIPANTS = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
OPERATIONS = "http://terminology.hl7.org/CodeSystem/v3-DataOperation"
RISK_OF_A_REPORT = "http://hl7.org/fhir/StructureDefinition/diagnosticReport-risk"

METHOD = "Estimated from a 12-lead ECG by a neural network; not measured."
MEASURED = "Measured in the average beat of a 12-lead ECG, by rules; no neural network."
SAYS_NOTHING = "An ECG says about nothing of this measurement, so its value is left out."
TITLE = "Cardiac function and risks as estimated from an ECG"
PANEL = "Cardiac MR measurements as estimated from an ECG"
PEOPLE = {True: ("248152002", "Female", "women"), False: ("248153007", "Male", "men")}
NamedT = TypeVar("NamedT", EcgMeasurement, Phenotype)
UNITS = {each.name: each.unit for each in MEASUREMENTS}


def encode_bundle(report: RiskReport) -> bytes:
    """Return the Bundle as JSON on one line."""
    return msgspec.json.encode(compose_bundle(report))


def compose_bundle(report: RiskReport) -> Json:
    """Return the Bundle (type `collection`), ready for JSON. Equal reports give equal Bundles, including the ids."""
    return bundle_of(report, compose_resources(report))


def bundle_of(report: RiskReport, resources: Sequence[Json]) -> Json:
    """Return the Bundle of a report's resources, the report first."""
    *others, head, provenance = resources
    return {
        "resourceType": "Bundle",
        "id": resource_id(report.report_id, "bundle"),
        "identifier": {"system": REPORTS, "value": visible(report.report_id)},
        "type": "collection",
        "timestamp": instant(report.created_at),
        "entry": [{"fullUrl": url(each["id"]), "resource": each} for each in (head, *others, provenance)],
    }


def compose_resources(report: RiskReport) -> list[Json]:
    """Return the resources of a report. One refers to those before it alone, and the last two are the report itself."""
    observations = list(_observations(report))
    risks = [_risk_assessment(report)] if report.risks else []
    head = _diagnostic_report(report, observations, risks)
    said = [*observations, *risks, head]
    return [*map(with_narrative, [device(report.model, report.notice), *said, _provenance(report, said)])]


def _observations(report: RiskReport) -> Iterator[Json]:
    """Yield what was measured, then what was estimated; of several measurements of one name the first."""
    notice, estimate = [{"text": visible_text(report.notice)}], [{"text": caveat(report.model, report.notice)}]
    for measured in _first_of_each(report.ecg_measurements):
        yield _observation(report, ecg_code(measured.name), notice) | _measurement(measured)
    phenotypes = () if excluded_by(report.risks) else report.phenotypes
    for phenotype in _first_of_each(each for each in phenotypes if each.name in LOINC_PHENOTYPES):
        yield _observation(report, phenotype_code(phenotype.name), estimate) | _phenotype(phenotype)
    if others := [each for each in phenotypes if each.name not in LOINC_PHENOTYPES]:
        yield _observation(report, PHENOTYPES, estimate) | _panel(others)
    if report.cardiomyopathy_subtype:
        yield _observation(report, SUBTYPE, estimate) | _subtype(report.cardiomyopathy_subtype)


def _first_of_each(named: Iterable[NamedT]) -> Iterable[NamedT]:
    """Return the first one of each name, in order: each is an Observation, found by its name."""
    first: dict[str, NamedT] = {}
    for each in named:
        first.setdefault(each.name, each)
    return first.values()


def _diagnostic_report(report: RiskReport, observations: list[Json], risks: list[Json]) -> Json:
    results = [reference(each["id"]) for each in observations]
    extensions = [{"url": RISK_OF_A_REPORT, "valueReference": reference(each["id"])} for each in risks]
    head = new_resource("DiagnosticReport", report.report_id, "report")
    head["identifier"].append({"system": REPORTS, "value": visible(report.report_id)})
    return {
        **head,
        **({"extension": extensions} if extensions else {}),  # FHIR knows no empty list
        "status": "preliminary",
        "category": [concept(coding(SERVICE_SECTIONS, "EC", "Electrocardiac (e.g., EKG, EEC, Holter)"))],
        "code": concept(*own_codings(SCREENING), coding(LOINC, "11524-6", "EKG study"), text=TITLE),
        **_subject_and_time(report),
        "issued": instant(report.created_at),
        "performer": [performer(report.site)],
        **({"result": results} if results else {}),
        "conclusion": _conclusion(report),
    }


def _conclusion(report: RiskReport) -> str:
    """Return the result in words, with everything that a reader must know."""
    excluded = dict.fromkeys(risk.reasons for risk in report.risks if risk.reasons)
    flagged = [
        f"{in_words(risk.disease)} {risk.probability:.2f} (threshold {risk.threshold:.2f})"
        for risk in report.risks
        if risk.flagged
    ]
    model = report.model
    sentences = [
        f"Flagged: {', '.join(flagged)}." if flagged else "No risk is flagged.",
        *(_excluded_words(reasons, report.risks) for reasons in excluded),
        *(f"Signal: {shown_text(warning.detail)}" for warning in report.quality.warnings),
        f"Model {shown_id(model.name)} {shown_id(model.version)}.",
        caveat(model, report.notice),
    ]
    return " ".join(sentences)


def _excluded_words(reasons: tuple[str, ...], risks: Iterable[Risk]) -> str:
    diseases = [in_words(risk.disease) for risk in risks if risk.reasons == reasons]
    return f"Not assessable for {', '.join(diseases)}: {shown_text(reasons_in_words(reasons))}."


def _risk_assessment(report: RiskReport) -> Json:
    return {
        **new_resource("RiskAssessment", report.report_id, RISKS),
        "status": "preliminary",
        "method": {"text": METHOD},
        "code": concept(*own_codings(RISKS), text="Risks as estimated from an ECG"),
        "subject": patient(report.patient_id),
        "occurrenceDateTime": instant(report.created_at),
        "performer": reference(device_id(report.model)),
        "basis": [ecg(report.record_id)],
        "prediction": [_prediction(risk, report) for risk in report.risks],
        "note": [{"text": caveat(report.model, report.notice)}],
    }


def _prediction(risk: Risk, report: RiskReport) -> Json:
    """Return the risk of a disease at the time of the ECG: without a time FHIR reads it as of the whole life."""
    return {
        "outcome": concept(*with_same(risk.disease), text=in_words(risk.disease)),
        **(_assessed(risk) if risk.is_assessable else _excluded(risk.reasons)),
        "whenPeriod": _period(report),
    }


def _assessed(risk: Risk) -> Json:
    """Return the probability, which FHIR wants in percent here, and what the model's threshold makes of it."""
    verdict, words = (DETECTED, "at or above") if risk.flagged else (NOT_DETECTED, "below")
    rules_out = "" if risk.flagged else ", which does not rule the disease out"
    text = f"The probability is {words} the model's threshold of {100 * risk.threshold:.4g} %{rules_out}."
    return {
        "probabilityDecimal": round(100 * risk.probability, 6),
        "qualitativeRisk": concept(*own_codings(verdict), text=text),
        "rationale": f"Probability {100 * risk.probability:.4g} %. {text}",
    }


def _excluded(reasons: tuple[str, ...]) -> Json:
    """Return why a risk has no value. Its probability is left out: somebody would read it as the patient's."""
    text = shown_text(not_assessable(reasons))
    return {"qualitativeRisk": concept(*own_codings(NOT_ASSESSABLE, *reasons), text=text), "rationale": text}


def _period(report: RiskReport) -> Json:
    if report.recorded_at is None:
        return {"extension": [{"url": ABSENT, "valueCode": "unknown"}]}
    at = instant(report.recorded_at)
    return {"start": at, "end": at}


def _provenance(report: RiskReport, said: list[Json]) -> Json:
    at = instant(report.created_at)
    return {
        **new_resource("Provenance", report.report_id, "provenance"),
        "target": [reference(each["id"]) for each in said],
        "occurredDateTime": at,
        "recorded": at,
        "activity": concept(coding(OPERATIONS, "CREATE", "create"), text=TITLE),
        "agent": [
            {"type": concept(coding(PARTICIPANTS, "author", "Author")), "who": reference(device_id(report.model))}
        ],
        "entity": [{"role": "source", "what": ecg(report.record_id)}],
    }


def _observation(report: RiskReport, code: str, notes: list[Json]) -> Json:
    """Return the part that all Observations of a report have in common."""
    return {
        **new_resource("Observation", report.report_id, code),
        "status": "preliminary",
        "category": [concept(coding(CATEGORIES, "procedure", "Procedure"))],
        "code": concept(*with_same(code)),
        **_subject_and_time(report),
        "issued": instant(report.created_at),
        "performer": [performer(report.site)],
        "note": notes,
        "method": {"text": METHOD},
        "device": reference(device_id(report.model)),
        "derivedFrom": [ecg(report.record_id)],
    }


def _phenotype(phenotype: Phenotype) -> Json:
    component = {"component": [_interval(phenotype)]} if _has_interval(phenotype) else {}
    return _estimate(phenotype) | component


def _panel(phenotypes: Iterable[Phenotype]) -> Json:
    components = []
    for phenotype in phenotypes:
        components.append(_estimate(phenotype))
        if _has_interval(phenotype):
            components.append(_interval(phenotype))
    return {
        "code": concept(*with_same(PHENOTYPES), text=PANEL),
        "component": components,
    }


def _estimate(phenotype: Phenotype) -> Json:
    """Return a measurement's value and the ranges of healthy people, or that an ECG does not tell."""
    name = visible(in_words(phenotype.name))
    code = concept(*with_same(phenotype_code(phenotype.name)), text=name)
    if not phenotype.informative:
        unsupported = coding(ABSENT_REASONS, "unsupported", "Unsupported")
        return {"code": code, "dataAbsentReason": concept(unsupported, text=SAYS_NOTHING)}
    ranges = _ranges(phenotype)
    return {
        "code": code,
        "valueQuantity": quantity(phenotype.value, phenotype.unit),
        **({"referenceRange": ranges} if ranges else {}),
    }


def _has_interval(phenotype: Phenotype) -> bool:
    return phenotype.informative and phenotype.half_width is not None


def _interval(phenotype: Phenotype) -> Json:
    """Return the prediction interval: how sure the value is. It is no range of healthy people."""
    reach = phenotype.half_width or 0.0
    text = visible(f"90 % prediction interval of {in_words(phenotype.name)}")
    low, high = (quantity(round(end, 4), phenotype.unit) for end in (phenotype.value - reach, phenotype.value + reach))
    return {
        "code": concept(*own_codings(interval_code(phenotype.name)), text=text),
        "valueRange": {"low": low, "high": high},
    }


def _ranges(phenotype: Phenotype) -> list[Json]:
    """Return the ranges of healthy women and men. A report does not say which of them the patient is."""
    if UNITS.get(phenotype.name) != phenotype.unit:
        return []
    return [_range(each, phenotype.unit) for each in REFERENCE_VALUES if each.measurement == phenotype.name]


def _range(healthy: ReferenceValue, unit: str) -> Json:
    code, display, who = PEOPLE[healthy.female]
    return {
        "low": quantity(healthy.low, unit),
        "high": quantity(healthy.high, unit),
        "type": concept(coding(RANGE_MEANINGS, "normal", "Normal Range")),
        "appliesTo": [concept(coding(SNOMED, code, display))],
        "text": f"95 % of healthy {who}, measured by cardiac MR: {healthy.source}",
    }


def _measurement(measurement: EcgMeasurement) -> Json:
    name = visible(in_words(measurement.name))
    return {
        "code": concept(*with_same(ecg_code(measurement.name)), text=name),
        "method": {"text": MEASURED},
        **_value(measurement),
    }


def _value(measurement: EcgMeasurement) -> Json:
    """Return the value, or why there is none: in FHIR's words, and by our code in a component.

    Our code beside FHIR's in one reason would be right too. HAPI's validator then says that it knows neither.
    """
    if measurement.value is not None:
        return {"valueQuantity": quantity(measurement.value, measurement.unit)}
    why = measurement.not_measurable or UNKNOWN
    absent = coding(ABSENT_REASONS, "not-performed", "Not Performed")
    text = f"Not measurable: {NOT_MEASURABLE.get(why, in_words(why))}."
    reason = {"code": concept(*own_codings(NO_VALUE)), "valueCodeableConcept": concept(*own_codings(why), text=text)}
    return {"dataAbsentReason": concept(absent, text=text), "component": [reason]}


def _subtype(probabilities: dict[CardiomyopathySubtype, Probability]) -> Json:
    return {
        "component": [
            {"code": concept(*own_codings(subtype_code(subtype))), "valueQuantity": probability(value)}
            for subtype, value in probabilities.items()
        ]
    }


def _subject_and_time(report: RiskReport) -> Json:
    """Return the patient and the time of the ECG. If the time is unknown, the resource says so."""
    unknown = {"extension": [{"url": ABSENT, "valueCode": "unknown"}]}
    at = report.recorded_at
    return {
        "subject": patient(report.patient_id),
        **({"_effectiveDateTime": unknown} if at is None else {"effectiveDateTime": instant(at)}),
    }
