"""What a FHIR resource says in words, for a viewer that shows no more than that (its narrative)."""

from __future__ import annotations

from html import escape

from .fhir_codes import Json

MOST_COMPONENTS = 4
"""Of an Observation whose components are told one by one."""


def with_narrative(resource: Json) -> Json:
    """Return the resource with its narrative, which is made of the resource alone."""
    words = escape(" ".join(_words(resource).split()))
    return resource | {
        "text": {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{words}</div>'}
    }


def _words(resource: Json) -> str:
    match resource:
        case (
            {"conclusion": str(text)}
            | {"description": str(text)}
            | {"resourceType": "Flag", "code": {"text": str(text)}}
        ):
            return text
        case {"resourceType": "RiskAssessment", "prediction": list(predictions)}:
            told = [f"{each['outcome']['text'].capitalize()}: {each['rationale']}" for each in predictions]
            return " ".join([*told, _note(resource)])
        case {"resourceType": "Observation"}:
            return f"{_observation(resource)}. {_note(resource)}"
        case {"resourceType": "Device", "deviceName": [{"name": str(name)}], "version": [{"value": str(version)}]}:
            return f"Model {name} {version}. {_note(resource)}"
    return "Which model said this of which ECG."


def _note(resource: Json) -> str:
    return " ".join(each["text"] for each in resource.get("note", ()))


def _observation(resource: Json) -> str:
    components = resource.get("component", ())
    if len(components) > MOST_COMPONENTS:
        return f"{_named(resource)} {len(components)} numbers, in its components"
    return "; ".join(map(_named, [resource, *components]))


def _named(part: Json) -> str:
    """Return what an Observation, or a component, is of, and its value or why there is none."""
    code = part["code"]
    name = code["text"] if "text" in code else code["coding"][0]["display"]
    match part:
        case {"valueQuantity": {"value": value, "unit": str(unit)}}:
            return f"{name}: {value:g} {unit}"
        case {"valueRange": {"low": {"value": low}, "high": {"value": high, "unit": str(unit)}}}:
            return f"{name}: {low:g} to {high:g} {unit}"
        case {"valueCodeableConcept": {"text": str(text)}} | {"dataAbsentReason": {"text": str(text)}}:
            return f"{name}: {text}"
    return f"{name}:"
