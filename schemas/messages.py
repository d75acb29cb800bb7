"""The JSON messages that leave the engine; their JSON Schemas lie in `schemas/json/`.

A reader should let pass what it does not know: later versions of v1 may add fields, and codes where the schema lists
none, and will take none away. The lists that a schema does give (diseases, states, priorities) are closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Literal, TypeAlias, TypeVar, get_args

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
CardiomyopathySubtype: TypeAlias = Literal["restrictive", "dilated", "hypertrophic"]
AlertStatus: TypeAlias = Literal["raised", "escalated", "expired", "acknowledged"]
Verdict: TypeAlias = Literal["detected", "not_detected", "not_assessable"]

# In the order of the networks' outputs.
DISEASES: tuple[Disease, ...] = get_args(Disease)
SUBTYPES: tuple[CardiomyopathySubtype, ...] = get_args(CardiomyopathySubtype)

# Of two messages about one alert the one that stands further on holds, whichever came first.
ALERT_STATUSES: tuple[AlertStatus, ...] = get_args(AlertStatus)

EMBEDDING_SIZE = 256

Probability: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Identifier: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
Instant: TypeAlias = Annotated[datetime, Meta(tz=True)]
Code: TypeAlias = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")]
Embedding: TypeAlias = Annotated[tuple[float, ...], Meta(min_length=EMBEDDING_SIZE, max_length=EMBEDDING_SIZE)]
Seed: TypeAlias = Annotated[int, Meta(ge=0, lt=2**32)]

NOTICE = "Not a medical device. An estimate from an ECG alone, to be read by a physician."
SYNTHETIC_NOTICE = "synthetic: drawn from an ECG, not a measurement"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the contract: immutable, and written with all its fields."""


class ModelReference(Message, frozen=True, kw_only=True):
    """Which model answered, and whether its weights were trained at all."""

    name: Identifier
    version: Identifier
    trained: bool
    """Whether the weights learned from data; if not, the numbers mean nothing."""
    weights: str
    """What the weights are, in words: 'untrained', 'demonstration weights, …'."""


class Risk(Message, frozen=True, kw_only=True):
    """The probability of one disease, against the threshold that flags it."""

    disease: Disease
    probability: Probability
    threshold: Probability
    flagged: bool
    """Whether the verdict is `detected`: the probability reaches the threshold, and the ECG may be assessed."""
    verdict: Verdict | None = None
    """None in a message from before there were verdicts."""
    reasons: tuple[Code, ...] = ()
    """Why the ECG is not assessable for this disease: 'paced', 'paediatric', …; empty where it is."""

    @property
    def is_assessable(self) -> bool:
        """Whether the model may be asked. A message from before there were verdicts says nothing against it."""
        return self.verdict != "not_assessable"


def reasons_of(risks: Iterable[Risk]) -> tuple[str, ...]:
    """Return why the ECG is not assessable for some of the diseases: each reason once."""
    return tuple(dict.fromkeys(reason for risk in risks for reason in risk.reasons))


class Phenotype(Message, frozen=True, kw_only=True):
    """One CMR measurement as estimated from the ECG; names and units as in UK Biobank fields 24100-24181."""

    name: str
    value: float
    unit: str
    half_width: Annotated[float, Meta(ge=0)] | None = None
    """Half of the interval around the value that holds a scan's value for 90 of 100 people such as the model learned
    from; None where the model does not say."""
    informative: bool = True
    """False where an ECG says about nothing of this measurement, so that the value is little more than the mean of
    people, and where the model is not for this ECG. Show that, and not the value."""


class EcgMeasurement(Message, frozen=True, kw_only=True):
    """One measurement of the ECG itself, such as an electrocardiograph prints, or why it has no value."""

    name: Code
    value: float | None
    """None where the signal does not allow the measurement."""
    unit: str
    not_measurable: Code | None
    """Why there is no value, for a program: 'paced', 'no_p_wave', …; None where there is one."""


class QualityWarning(Message, frozen=True, kw_only=True):
    """A doubt about the signal that did not prevent its screening."""

    code: Code
    """For a program."""
    detail: str
    """One sentence for a person."""
    numbers: dict[str, Number] = {}
    """The evidence: measurements by name, units in the names."""


Pacing: TypeAlias = Literal["seen", "not_seen", "not_assessable"]


class Quality(Message, frozen=True, kw_only=True):
    """What the gate saw of a record that was screened."""

    warnings: tuple[QualityWarning, ...]
    sample_rate_hz: float
    """Of the record, before resampling."""
    duration_s: float
    """Of the whole record, at least 9 s; only the first 10 s are screened, or others if samples are missing there."""
    derived_leads: tuple[str, ...]
    """Leads that were computed from I and II because the record lacks them."""
    pacing: Pacing = "not_assessable"
    """Whether pacing spikes were seen in the signal. Below 500 Hz nobody can tell. Some recorders remove them, so
    `not_seen` does not mean that there is no pacemaker."""


class RiskReport(Message, frozen=True, kw_only=True):
    """The answer to one ECG: `ecg.risk.v1`."""

    report_id: Identifier
    """Derived from the record's id and the model: a repetition has the same one."""
    record_id: Identifier
    patient_id: Identifier | None
    """The patient's pseudonym, as the record had it."""
    device_id: Identifier | None = None
    """The device that recorded the ECG, as the record had it."""
    site: Identifier | None = None
    """Where the ECG was recorded, such as a hospital and its ward, as the record had it."""
    model: ModelReference
    risks: tuple[Risk, ...]
    """One a disease."""
    phenotypes: tuple[Phenotype, ...]
    """All 82."""
    cardiomyopathy_subtype: dict[CardiomyopathySubtype, Probability] | None
    """Probabilities by subtype, when cardiomyopathy is flagged."""
    quality: Quality
    ecg_measurements: tuple[EcgMeasurement, ...] = ()
    """Rate, intervals and axes of the ECG itself, measured without the network."""
    created_at: Instant
    recorded_at: Instant | None = None
    notice: str = NOTICE
    """Show it wherever a number of this report is shown."""


class AcknowledgedBy(Message, frozen=True, kw_only=True):
    """Who took note of an alert, as the acknowledgement says it that closed the alert."""

    name: Identifier
    """Anybody may have typed it, unless `authenticated` is true."""
    authenticated: bool
    """Whether a reverse proxy said who the person is."""
    at: Instant
    """When, by the clock of whoever wrote the acknowledgement."""


class Alert(Message, frozen=True, kw_only=True):
    """A flagged disease, for people: `ecg.alerts.v1`. The names follow FHIR DeviceAlert."""

    identifier: Identifier
    """Derived from the report's id and the disease: a repetition, and every later state, has the same one."""
    status: AlertStatus
    """Of two messages with one identifier the later in this order holds: raised, escalated, expired, acknowledged."""
    priority: Literal["high", "medium", "low"]
    derived_from: Identifier
    """The report's id."""
    record_id: Identifier
    subject: Identifier | None
    """The patient's pseudonym."""
    device_id: Identifier | None = None
    """The device that recorded the ECG, as the record had it."""
    site: Identifier | None = None
    """Where the ECG was recorded, such as a hospital and its ward, as the record had it."""
    code: Disease
    """The disease that the alert is about."""
    risks: tuple[Risk, ...]
    """The risk of that disease alone."""
    model: ModelReference
    onset: Instant
    """When the alert was raised."""
    recorded_at: Instant | None = None
    """When the ECG was recorded, where that is known: it may have been long before."""
    ecg_quality: Quality | None = None
    """What the gate saw of the ECG, as in its report: show the warnings and the pacing beside the alert. None in a
    message from before alerts carried it."""
    acknowledgement: AcknowledgedBy | None = None
    """Who took note first. None until the alert is acknowledged, and in a message from before alerts carried it."""
    notice: str = NOTICE
    """Show it wherever the alert is shown."""


class Rejection(Message, frozen=True, kw_only=True):
    """A record that could not be screened, and why: `ecg.rejected.v1`."""

    rejection_id: Identifier
    """Derived from the record's id (or its source) and the code: a repetition has the same one."""
    record_id: Identifier | None
    """None where the bytes could not even be read that far."""
    device_id: Identifier | None = None
    """The device that recorded the ECG; None where the bytes could not be read that far."""
    site: Identifier | None = None
    """Where the ECG was recorded, such as a hospital and its ward; None where that is not known."""
    code: Code
    """For a program: 'malformed_record', 'missing_lead', …"""
    detail: str
    """One sentence for a person."""
    numbers: dict[str, Number]
    """The evidence: measurements by name, units in the names."""
    source: str
    """topic/partition/offset of the record, so that nothing is lost."""
    created_at: Instant


class CmrRequest(Message, frozen=True, kw_only=True):
    """A flagged ECG's embedding, for the cine generator: `cmr.requests.v1`."""

    request_id: Identifier
    """Derived from the report's id: a repetition has the same one."""
    report_id: Identifier
    record_id: Identifier
    patient_id: Identifier | None
    model: ModelReference
    embedding: Embedding
    """The ECG's place in the space that ECGs and CMR share, of length 1."""
    seed: Seed
    """Derived from the record's id and the model: the same cine each time."""
    created_at: Instant


class CmrResult(Message, frozen=True, kw_only=True):
    """A pointer to a generated cine, or why there is none: `cmr.results.v1`."""

    request_id: Identifier
    report_id: Identifier
    record_id: Identifier
    status: Literal["generated", "failed"]
    redis_key: str | None
    """Where the cine lies until it expires; None if it failed."""
    size_bytes: Annotated[int, Meta(ge=0)] | None
    seconds: Annotated[float, Meta(ge=0)] | None
    """How long the generation took."""
    code: Code | None
    """Why it failed, for a program; None if it did not."""
    detail: str | None
    """Why it failed, for a person; None if it did not."""
    model: ModelReference
    created_at: Instant
    notice: str = SYNTHETIC_NOTICE
    """Show it wherever the cine is shown."""


class Acknowledgement(Message, frozen=True, kw_only=True):
    """A person took note of an alert, or of all alerts of an ECG: `ecg.alerts.ack.v1`."""

    identifier: Identifier
    """The alert's. With `whole_record` that of any alert of the ECG."""
    record_id: Identifier
    """The alert's. An acknowledgement that names another record closes nothing."""
    whole_record: bool = False
    """Whether the person took note of the ECG: then all alerts of `record_id` are acknowledged."""
    acknowledged_by: Identifier
    """Who took note. Anybody may have typed this name, unless `authenticated` is true."""
    authenticated: bool = False
    """Whether a reverse proxy said who the person is. It is as true as the right to write to this topic is guarded."""
    comment: Annotated[str, Meta(max_length=2000)]
    acknowledged_at: Instant
    """An acknowledgement from before its alert closes nothing. Of several the first one on the topic counts."""


class Shelving(Message, frozen=True, kw_only=True):
    """A person wants no further alert about one disease of one patient for a while: `ecg.alerts.shelved.v1`."""

    shelving_id: Identifier
    """Chosen by whoever wrote it: a repetition has the same one."""
    subject: Identifier
    """The patient's pseudonym."""
    code: Disease
    """The disease."""
    until: Instant
    """When it ends by itself, seven days after `shelved_at` at the latest."""
    reason: Annotated[str, Meta(min_length=1, max_length=2000)]
    """Why, in words. Name no patient in it."""
    shelved_by: Identifier
    """Who wants it so. Anybody may have typed this name, unless `authenticated` is true."""
    authenticated: bool = False
    """Whether a reverse proxy said who the person is. It is as true as the right to write to this topic is guarded."""
    shelved_at: Instant
    """Of several messages about one patient and disease the one with the latest time holds: with an end that has passed
    it ends what was before."""


LONGEST_SHELVING = timedelta(days=7)
"""Whoever wants more says so again: nothing stays silent because somebody forgot it."""

MESSAGES: tuple[type[Message], ...] = (RiskReport, Alert, Rejection, CmrRequest, CmrResult, Acknowledgement, Shelving)

LATER_FIELDS = frozenset(
    {
        "device_id",
        "site",
        "authenticated",
        "ecg_measurements",
        "verdict",
        "reasons",
        "half_width",
        "informative",
        "ecg_quality",
        "acknowledgement",
        "whole_record",
    }
)
"""Fields that v1 gained later: we always write them, and a message from before lacks them."""

MessageT = TypeVar("MessageT", bound=Message)
_encoder = msgspec.json.Encoder()


def encode_message(message: Message) -> bytes:
    """Return the message as JSON, after reading it back: what breaks the contract never leaves.

    Reading back finds what an encoder lets pass: NaN and infinity (written as null), a probability above 1, a time
    without a zone.

    Raises:
        ValueError: the message breaks the contract, which is a bug of whoever composed it.
    """
    value = _encoder.encode(message)
    try:
        survives = msgspec.json.decode(value, type=type(message)) == message
    except msgspec.ValidationError as error:
        raise ValueError(f"{type(message).__name__} breaks the contract: {error}") from error
    if not survives:
        raise ValueError(f"{type(message).__name__} breaks the contract: a value is not what its JSON says")
    return value


def decode_message(kind: type[MessageT], value: bytes) -> MessageT:
    """Return the message that `value` holds.

    Raises:
        MalformedRecord: `value` is not JSON of that kind.
    """
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MalformedRecord(f"not a {kind.__name__}: {error}") from error
