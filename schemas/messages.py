"""The JSON messages that leave the engine; their JSON Schemas lie in `schemas/json/`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from .errors import MalformedRecord, Number

Disease: TypeAlias = Literal[
    "coronary_artery_disease",
    "cardiomyopathy",
    "heart_failure",
    "pulmonary_hypertension",
    "pericarditis",
]
DISEASES: tuple[Disease, ...] = (
    "coronary_artery_disease",
    "cardiomyopathy",
    "heart_failure",
    "pulmonary_hypertension",
    "pericarditis",
)
CardiomyopathySubtype: TypeAlias = Literal["restrictive", "dilated", "hypertrophic"]
SUBTYPES: tuple[CardiomyopathySubtype, ...] = ("restrictive", "dilated", "hypertrophic")

Probability: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Identifier: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
Instant: TypeAlias = Annotated[datetime, Meta(tz=True)]

NOTICE = "Not a medical device. An estimate from an ECG alone, to be read by a physician."
SYNTHETIC_NOTICE = "synthetic: drawn from an ECG, not a measurement"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the contract: immutable, and written with all its fields."""


class ModelReference(Message, frozen=True, kw_only=True):
    """Which model answered, and whether its weights were trained at all."""

    name: Identifier
    version: Identifier
    trained: bool
    weights: str
    """What the weights are, in words: 'untrained', 'demonstration weights, …'."""


class Risk(Message, frozen=True, kw_only=True):
    """The probability of one disease, against the threshold that flags it."""

    disease: Disease
    probability: Probability
    threshold: Probability
    flagged: bool


class Phenotype(Message, frozen=True, kw_only=True):
    """One CMR measurement as estimated from the ECG; names and units as in UK Biobank fields 24100-24181."""

    name: str
    value: float
    unit: str


class QualityWarning(Message, frozen=True, kw_only=True):
    """A doubt about the signal that did not prevent its screening."""

    code: str
    detail: str
    numbers: dict[str, Number] = {}


class Quality(Message, frozen=True, kw_only=True):
    """What the gate saw of a record that was screened."""

    warnings: tuple[QualityWarning, ...]
    sample_rate_hz: float
    duration_s: float
    derived_leads: tuple[str, ...]
    """Leads that were computed from I and II because the record lacks them."""


class RiskReport(Message, frozen=True, kw_only=True):
    """The answer to one ECG: `ecg.risk.v1`."""

    report_id: Identifier
    record_id: Identifier
    patient_id: Identifier | None
    model: ModelReference
    risks: tuple[Risk, ...]
    phenotypes: tuple[Phenotype, ...]
    cardiomyopathy_subtype: dict[CardiomyopathySubtype, Probability] | None
    """Probabilities by subtype, when cardiomyopathy is flagged."""
    quality: Quality
    created_at: Instant
    recorded_at: Instant | None = None
    notice: str = NOTICE


class Alert(Message, frozen=True, kw_only=True):
    """A flagged report, for people: `ecg.alerts.v1`. The names follow FHIR DeviceAlert."""

    identifier: Identifier
    status: Literal["raised"]
    priority: Literal["high", "medium", "low"]
    derived_from: Identifier
    """The report's id."""
    record_id: Identifier
    subject: Identifier | None
    """The patient's pseudonym."""
    risks: tuple[Risk, ...]
    """The flagged ones, most urgent first."""
    model: ModelReference
    onset: Instant
    notice: str = NOTICE


class Rejection(Message, frozen=True, kw_only=True):
    """A record that could not be screened, and why: `ecg.rejected.v1`."""

    rejection_id: Identifier
    record_id: Identifier | None
    """None where the bytes could not even be read that far."""
    code: str
    detail: str
    numbers: dict[str, Number]
    source: str
    """topic/partition/offset of the record, so that nothing is lost."""
    created_at: Instant


class CmrRequest(Message, frozen=True, kw_only=True):
    """A flagged ECG's embedding, for the cine generator: `cmr.requests.v1`."""

    request_id: Identifier
    report_id: Identifier
    record_id: Identifier
    patient_id: Identifier | None
    model: ModelReference
    embedding: Annotated[tuple[float, ...], Meta(min_length=256, max_length=256)]
    """256 numbers, the aligned ECG embedding."""
    seed: Annotated[int, Meta(ge=0, lt=2**32)]
    created_at: Instant


class CmrResult(Message, frozen=True, kw_only=True):
    """A pointer to a generated cine, or why there is none: `cmr.results.v1`."""

    request_id: Identifier
    report_id: Identifier
    record_id: Identifier
    status: Literal["generated", "failed"]
    redis_key: str | None
    size_bytes: Annotated[int, Meta(ge=0)] | None
    seconds: Annotated[float, Meta(ge=0)] | None
    code: str | None
    detail: str | None
    model: ModelReference
    created_at: Instant
    notice: str = SYNTHETIC_NOTICE


class Acknowledgement(Message, frozen=True, kw_only=True):
    """A person took note of an alert: `ecg.alerts.ack.v1`."""

    identifier: Identifier
    """The alert's."""
    record_id: Identifier
    acknowledged_by: Identifier
    comment: Annotated[str, Meta(max_length=2000)]
    acknowledged_at: Instant


MESSAGES: tuple[type[Message], ...] = (RiskReport, Alert, Rejection, CmrRequest, CmrResult, Acknowledgement)

MessageT = TypeVar("MessageT", bound=Message)
_encoder = msgspec.json.Encoder()


def encode_message(message: Message) -> bytes:
    """Return the message as JSON."""
    return _encoder.encode(message)


def decode_message(kind: type[MessageT], value: bytes) -> MessageT:
    """Return the message that `value` holds.

    Raises:
        MalformedRecord: `value` is not JSON of that kind.
    """
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.DecodeError as error:
        raise MalformedRecord(f"not a {kind.__name__}: {error}") from error
