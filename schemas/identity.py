"""Deterministic ids: a replay of the same record by the same model gives the same ids, so repetitions show."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

import msgspec

if TYPE_CHECKING:
    from .ecg_record import EcgRecord
    from .messages import Alert, CmrResult, ModelReference

NAMESPACE = UUID("c6d2a8a4-2f0b-5d0e-9a55-3a1b7c7f9e11")
"""Ours alone, and for ever: another one would give every record new ids."""
ECG_DIGEST_BYTES = 16


def report_id(record_id: str, model: ModelReference) -> str:
    """Return the id of the report that `model` makes of a record."""
    return str(_uuid("report", record_id, model.name, model.version))


def alert_id(report_id: str, disease: str) -> str:
    """Return the id of the alert that a report raises about a disease."""
    return str(_uuid("alert", report_id, disease))


def contradicting_alert_id(alert: Alert) -> str:
    """Return the id of an alert that contradicts another one under its identifier: it follows from what it says."""
    at = None if alert.recorded_at is None else alert.recorded_at.isoformat()
    said = (alert.record_id, alert.subject, at, alert.derived_from, alert.code)
    return str(_uuid("contradicting-alert", alert.identifier, *map(str, said)))


def alert_event_id(alert: Alert) -> str:
    """Return the id of the event that an alert came to its state: the alert's own is the same in every state."""
    return f"{alert.identifier}/{alert.status}"


def webhook_id(alert: Alert) -> str:
    """Return the id of the message to a webhook that an alert came to its state: no dot may stand in it."""
    return f"msg_{_uuid('webhook', alert.identifier, alert.status)}"


def request_id(report_id: str) -> str:
    """Return the id of the request for the cine that belongs to a report."""
    return str(_uuid("cmr-request", report_id))


def result_event_id(result: CmrResult) -> str:
    """Return the id of the event that a request came to its result: one that failed may be asked for again."""
    return f"{result.request_id}/{result.status}"


def resource_id(report_id: str, part: str) -> str:
    """Return the id of a FHIR resource that holds a part of a report."""
    return str(_uuid("fhir", report_id, part))


def rejection_id(subject: str, code: str) -> str:
    """Return the id of a rejection of `subject`: the record's id or, where it has none, its place in the topic."""
    return str(_uuid("rejection", subject, code))


def ecg_digest(record: EcgRecord) -> bytes:
    """Return 16 bytes that tell ECGs apart: the patient, the leads, the rate, the step and the samples.

    How the samples were encoded makes no difference, nor does what is known of the recording beside them. The digest is
    SHA-256's beginning, since processors have instructions for it.
    """
    what = (record.patient_id, record.leads, record.sample_rate_hz, record.microvolts_per_step)
    digest = sha256(msgspec.json.encode(what), usedforsecurity=False)
    digest.update(record.samples)
    return digest.digest()[:ECG_DIGEST_BYTES]


def embedding_digest(embedding: Iterable[float]) -> str:
    """Return 32 hexadecimal digits that tell embeddings apart."""
    numbers = msgspec.json.encode([float(number) for number in embedding])
    return sha256(numbers, usedforsecurity=False).hexdigest()[: 2 * ECG_DIGEST_BYTES]


def cine_seed(record_id: str, model: ModelReference) -> int:
    """Return the seed (uint32) from which the cine of a record is drawn."""
    return _uuid("cine", record_id, model.name, model.version).int & 0xFFFF_FFFF


def _uuid(*parts: str) -> UUID:
    """Return a UUIDv5 of the parts as a JSON array, which no other parts share."""
    return uuid5(NAMESPACE, msgspec.json.encode(parts).decode())
