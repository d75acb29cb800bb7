"""Our codes as FHIR resources: a CodeSystem, and ValueSets of all codes and of each kind."""

from __future__ import annotations

from typing import Final, get_args

from schemas.identity import resource_id

from .fhir_codes import CODES, LOINC, OWN_CODES, SNOMED, TITLES, Json, Kind, OwnCode, coding
from .fhir_narrative import with_narrative

CODES_VERSION: Final = "1.0.0"
"""Grows with each code: a server that has the codes of a version need not take them again."""
CODES_DATE: Final = "2026-11-29"


def code_resources() -> list[Json]:
    """Return the CodeSystem, and its ValueSets: of all codes, and of each kind."""
    kinds = [_value_set(kind, TITLES[kind]) for kind in get_args(Kind)]
    return [*map(with_narrative, [_code_system(), _value_set("all", "All codes"), *kinds])]


def _code_system() -> Json:
    return {
        "resourceType": "CodeSystem",
        "id": resource_id(CODES, "code-system"),
        "url": CODES,
        **_head("CardiacNetsCodes", "Codes of CardiacNets"),
        "description": "What a report of CardiacNets says of an ECG, where no other system has a code for it.",
        "caseSensitive": True,
        "valueSet": f"{CODES}:all",
        "content": "complete",
        "count": len(OWN_CODES),
        "property": [
            {"code": "kind", "description": "Of the ValueSet that the code is in", "type": "string"},
            {"code": "loinc", "description": "A code of LOINC that means the same", "type": "Coding"},
            {"code": "snomed", "description": "The disease in SNOMED CT", "type": "Coding"},
            {"code": "ucum", "description": "The unit of the values, by UCUM", "type": "string"},
            {"code": "uk-biobank-field", "description": "The field whose definition holds", "type": "integer"},
        ],
        "concept": [_concept(code, known) for code, known in OWN_CODES.items()],
    }


def _concept(code: str, known: OwnCode) -> Json:
    properties: list[Json] = [{"code": "kind", "valueString": known.kind}]
    properties += [{"code": "loinc", "valueCoding": coding(LOINC, *each)} for each in known.loinc]
    if known.snomed:
        properties.append({"code": "snomed", "valueCoding": coding(SNOMED, *known.snomed)})
    if known.unit:
        properties.append({"code": "ucum", "valueString": known.unit})
    if known.field:
        properties.append({"code": "uk-biobank-field", "valueInteger": known.field})
    return {"code": code, "display": known.display, "definition": known.means, "property": properties}


def _value_set(kind: str, title: str) -> Json:
    include: Json = {"system": CODES}
    if kind != "all":
        include["concept"] = [{"code": code} for code, known in OWN_CODES.items() if known.kind == kind]
    return {
        "resourceType": "ValueSet",
        "id": resource_id(CODES, kind),
        "url": f"{CODES}:{kind}",
        **_head(f"CardiacNets{kind.capitalize()}", f"CardiacNets: {title}"),
        "description": title,
        "compose": {"include": [include]},
    }


def _head(name: str, title: str) -> Json:
    return {
        "version": CODES_VERSION,
        "name": name,
        "title": title,
        "status": "active",
        "experimental": False,
        "date": CODES_DATE,
        "publisher": "The CardiacNets developers",
    }
