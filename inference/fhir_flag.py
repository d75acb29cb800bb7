"""An alert as FHIR R4: a Flag. R4 has no DeviceAlert, whose names our alerts have; the Flag says what it can of them.

`priority`, `derivedFrom` and `device` of a DeviceAlert are two extensions that R4 has for a Flag, and its author.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.identity import resource_id
from schemas.messages import Alert
from schemas.shown_text import shown_id, shown_text

from .fhir import REPORTS
from .fhir_codes import Json, alert_code, coding, in_words, own_codings
from .fhir_narrative import with_narrative
from .fhir_parts import caveat, concept, device, device_id, instant, new_resource, patient, reference, url, visible

ALERTS = "urn:cardiacnets:alert"
FLAG_CATEGORIES = "http://terminology.hl7.org/CodeSystem/flag-category"
FLAG_PRIORITIES = "http://hl7.org/fhir/flag-priority-code"
PRIORITY = "http://hl7.org/fhir/StructureDefinition/flag-priority"
DETAIL = "http://hl7.org/fhir/StructureDefinition/flag-detail"
PRIORITIES = {
    "high": ("PH", "High priority"),
    "medium": ("PM", "Medium priority"),
    "low": ("PL", "Low priority"),
}
STILL_OPEN = frozenset({"raised", "escalated"})


def compose_flag_bundle(alert: Alert) -> Json:
    """Return the Bundle (type `collection`) of an alert."""
    return flag_bundle_of(alert, compose_flag_resources(alert))


def flag_bundle_of(alert: Alert, resources: Sequence[Json]) -> Json:
    """Return the Bundle of an alert's resources."""
    return {
        "resourceType": "Bundle",
        "id": resource_id(alert.identifier, "flag-bundle"),
        "type": "collection",
        "timestamp": instant(alert.onset),
        "entry": [{"fullUrl": url(each["id"]), "resource": each} for each in resources],
    }


def compose_flag_resources(alert: Alert) -> list[Json]:
    """Return the Device and the Flag, which refers to it. All states of an alert are one Flag."""
    return [*map(with_narrative, [device(alert.model, alert.notice), _flag(alert)])]


def _flag(alert: Alert) -> Json:
    named = new_resource("Flag", alert.identifier, "flag")
    named["identifier"].append({"system": ALERTS, "value": visible(alert.identifier)})
    report = {"type": "DiagnosticReport", "identifier": {"system": REPORTS, "value": visible(alert.derived_from)}}
    priority = concept(coding(FLAG_PRIORITIES, *PRIORITIES[alert.priority]))
    return {
        **named,
        "extension": [{"url": PRIORITY, "valueCodeableConcept": priority}, {"url": DETAIL, "valueReference": report}],
        "status": "active" if alert.status in STILL_OPEN else "inactive",
        "category": [concept(coding(FLAG_CATEGORIES, "clinical", "Clinical"))],
        "code": concept(*own_codings(alert_code(alert.code)), text=_words(alert)),
        "subject": patient(alert.subject),
        "period": _period(alert),
        "author": reference(device_id(alert.model)),
    }


def _period(alert: Alert) -> Json:
    """Return since when, and until when somebody took note. When an alert expired, its message does not say."""
    end = {"end": instant(alert.acknowledgement.at)} if alert.acknowledgement else {}
    return {"start": instant(alert.onset), **end}


def _words(alert: Alert) -> str:
    """Return what the Flag says to whoever sees it alone: a Flag has no note."""
    percents = [
        f"probability {100 * risk.probability:.4g} % (threshold {100 * risk.threshold:.4g} %)" for risk in alert.risks
    ]
    by = f" by {shown_id(alert.acknowledgement.name)}" if alert.acknowledgement else ""
    said = ", ".join([f"A model flags {in_words(alert.code)} on an ECG", *percents])
    doubts = alert.ecg_quality.warnings if alert.ecg_quality else ()
    signal = [f"Signal: {shown_text(doubt.detail)}" for doubt in doubts]
    return " ".join([f"{said}; {alert.status}{by}.", *signal, caveat(alert.model, alert.notice)])
