"""The parts that FHIR resources are made of: concepts, quantities, references, times, and whose work a resource is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from schemas.identity import resource_id
from schemas.messages import ModelReference
from schemas.shown_text import shown_id, shown_text

from .fhir_codes import AI_ASSERTED, UCUM, UCUM_UNITS, Json, coding, own_codings

RESOURCES = "urn:cardiacnets:resource"
"""The system of the identifier that each resource has of us: by it a server finds what it has taken already."""
PATIENTS = "urn:cardiacnets:patient"
RECORDS = "urn:cardiacnets:record"
SITES = "urn:cardiacnets:site"
MODELS = "urn:cardiacnets:model"
ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
LABELS = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
BY_DEVICE = coding(LABELS, "DEVAST", "device asserted")
"""The security label of what a machine has said, of those that R4 knows."""
BY_AI = coding(LABELS, "AIAST", "Artificial Intelligence asserted")
"""That of HL7's guide to AI transparency. HL7 added it after R4: who checks codes by R4's own list refuses it."""

FIRST_INSTANT, LAST_INSTANT = "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00"

UNTRAINED = "The weights are untrained: these numbers mean nothing."
UNKNOWN_PATIENT = "The ECG names no patient"
BLANK = "(blank)"
NO_SITE = "Whoever runs CardiacNets: the ECG names no site"


def new_resource(kind: str, owner: str, part: str) -> Json:
    """Return the beginning of a resource that a machine made: its ids, which follow from the owner, and the labels.

    A Provenance has no identifier in R4, so a tag of that system stands for it.
    """
    known = resource_id(owner, part)
    if kind == "Provenance":
        tags, named = [{"system": RESOURCES, "code": known}], {}
    else:
        tags, named = [], {"identifier": [{"system": RESOURCES, "value": known}]}
    meta = {"security": [BY_DEVICE], "tag": [*tags, *own_codings(AI_ASSERTED)]}
    return {"resourceType": kind, "id": known, "meta": meta, **named}


def with_hl7_label(node: Any) -> Any:
    """Return resources, or Bundles of them, with the label of HL7's guide to AI transparency in the place of R4's."""
    if node == BY_DEVICE:
        return BY_AI
    if isinstance(node, dict):
        return {name: with_hl7_label(value) for name, value in node.items()}
    return [with_hl7_label(each) for each in node] if isinstance(node, list) else node


def device(model: ModelReference, notice: str) -> Json:
    """Return the software that answered, with its model: one Device for all answers of a model."""
    known = device_id(model)
    return {
        "resourceType": "Device",
        "id": known,
        "identifier": [
            {"system": RESOURCES, "value": known},
            {"system": MODELS, "value": visible(f"{model.name} {model.version}")},
        ],
        "status": "active",
        "manufacturer": "CardiacNets",
        "deviceName": [{"name": visible(model.name), "type": "model-name"}],
        "type": {"text": "Neural network that reads 12-lead ECGs (software)"},
        "version": [{"value": visible(model.version)}],
        "note": [{"text": caveat(model, notice)}],
    }


def device_id(model: ModelReference) -> str:
    """Return the id of the model's Device."""
    return resource_id(f"{model.name}\n{model.version}", "device")


def caveat(model: ModelReference, notice: str) -> str:
    """Return what a reader of any number of the model must know."""
    untrained = [] if model.trained else [UNTRAINED]
    return " ".join([f"Weights: {shown_text(model.weights)}.", *untrained, shown_text(notice)])


def patient(patient_id: str | None) -> Json:
    """Return the reference to the patient, who is known by a pseudonym; where nobody is named, it says so."""
    if patient_id is None:
        return {"extension": [{"url": ABSENT, "valueCode": "unknown"}], "display": UNKNOWN_PATIENT}
    return {"type": "Patient", "identifier": {"system": PATIENTS, "value": visible(patient_id)}}


def performer(site: str | None) -> Json:
    """Return who answers for the numbers. R4 lets no Device do that, so it is the organisation that runs one."""
    if site is None:
        return {"type": "Organization", "display": NO_SITE}
    return {
        "type": "Organization",
        "identifier": {"system": SITES, "value": visible(site)},
        "display": visible(site),
    }


def ecg(record_id: str) -> Json:
    """Return the reference to the ECG, of which a server need not know."""
    return {
        "type": "Observation",
        "identifier": {"system": RECORDS, "value": visible(record_id)},
        "display": "The 12-lead ECG",
    }


def concept(*codings: Json, text: str | None = None) -> Json:
    """Return a concept by its codes and in words."""
    return ({"coding": list(codings)} if codings else {}) | ({"text": text} if text else {})


def quantity(value: float, unit: str) -> Json:
    """Return a number in a unit of the messages."""
    code = UCUM_UNITS.get(unit)
    known = {"system": UCUM, "code": code} if code else {}
    return {"value": value, "unit": visible(unit), **known}


def probability(value: float) -> Json:
    """Return a probability between 0 and 1."""
    return {"value": value, "unit": "probability", "system": UCUM, "code": "1"}


def reference(known: str) -> Json:
    """Return the reference to a resource of the same Bundle."""
    return {"reference": url(known)}


def url(known: str) -> str:
    """Return the address of a resource within its Bundle."""
    return f"urn:uuid:{known}"


def visible(text: str) -> str:
    """Return an id or a name that FHIR accepts: it has at least one visible character, and no control."""
    return shown_id(text) if text.strip() else BLANK


def visible_text(text: str) -> str:
    """Return a text that FHIR accepts."""
    return shown_text(text) if text.strip() else BLANK


def instant(at: datetime) -> str:
    """Return a time in UTC: FHIR knows no offset beyond 14 hours."""
    try:
        return at.astimezone(UTC).isoformat()
    except OverflowError:  # the first or the last day of the calendar
        return FIRST_INSTANT if at.year == 1 else LAST_INSTANT
