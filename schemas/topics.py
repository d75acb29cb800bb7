"""The topics: what each carries, its key, and how we suggest to set it up."""

from __future__ import annotations

import msgspec

from .ecg_record import EcgRecord
from .errors import MalformedRecord
from .messages import Acknowledgement, Alert, CmrRequest, CmrResult, Rejection, RiskReport, Shelving
from .record_limits import MAX_VALUE_BYTES, is_identifier

ECG_RECORDS = "ecg.records.v1"
ECG_BACKFILL = "ecg.backfill.v1"
ECG_RISK = "ecg.risk.v1"
ECG_ALERTS = "ecg.alerts.v1"
ECG_REJECTED = "ecg.rejected.v1"
CMR_REQUESTS = "cmr.requests.v1"
CMR_RESULTS = "cmr.results.v1"
ECG_ALERTS_ACK = "ecg.alerts.ack.v1"
ECG_ALERTS_SHELVED = "ecg.alerts.shelved.v1"

KIB = 2**10
DAY_MS = 24 * 60 * 60 * 1000
MAX_ECG_MESSAGE_BYTES = MAX_VALUE_BYTES + 2**16
"""Of the largest record, with its key, its headers and what Kafka adds."""


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """One topic, with the settings that we suggest for it.

    Attributes:
        content: the type of its messages: Avro for `EcgRecord`, JSON for the rest.
        partitions: at most so many workers share it.
        retention_days: Kafka's `retention.ms`, in days.
        max_message_bytes: Kafka's `max.message.bytes`, where its default of a mebibyte is too little.
        largest: bytes of the largest value that a reader takes; who writes stays below it. An answer takes 1 to 8 kB.
    """

    name: str
    content: type[msgspec.Struct]
    partitions: int = 8
    retention_days: int
    max_message_bytes: int | None = None
    largest: int

    @property
    def configuration(self) -> dict[str, str]:
        """Return the topic's settings by Kafka's names. Every topic is a log of events, so no topic is compacted."""
        named = {"cleanup.policy": "delete", "retention.ms": str(self.retention_days * DAY_MS)}
        return named | ({"max.message.bytes": str(self.max_message_bytes)} if self.max_message_bytes else {})


def _ecg_topic(name: str, *, retention_days: int) -> Topic:
    return Topic(
        name=name,
        content=EcgRecord,
        retention_days=retention_days,
        max_message_bytes=MAX_ECG_MESSAGE_BYTES,
        largest=MAX_VALUE_BYTES,
    )


TOPICS: tuple[Topic, ...] = (
    _ecg_topic(ECG_RECORDS, retention_days=7),
    _ecg_topic(ECG_BACKFILL, retention_days=3),
    Topic(name=ECG_RISK, content=RiskReport, retention_days=30, largest=32 * KIB),
    Topic(name=ECG_ALERTS, content=Alert, retention_days=30, largest=32 * KIB),
    Topic(name=ECG_REJECTED, content=Rejection, retention_days=30, largest=16 * KIB),
    Topic(name=CMR_REQUESTS, content=CmrRequest, retention_days=1, largest=32 * KIB),
    Topic(name=CMR_RESULTS, content=CmrResult, retention_days=7, largest=16 * KIB),
    Topic(name=ECG_ALERTS_ACK, content=Acknowledgement, retention_days=90, largest=24 * KIB),
    Topic(name=ECG_ALERTS_SHELVED, content=Shelving, retention_days=90, largest=24 * KIB),
)
LARGEST: dict[str, int] = {topic.name: topic.largest for topic in TOPICS}
ALL_TOPICS: tuple[str, ...] = tuple(topic.name for topic in TOPICS)


def record_key(record: EcgRecord) -> bytes:
    """Return the Kafka key of a record and of all that follows from it: one patient, one partition, in order."""
    return (record.patient_id or record.device_id or record.record_id).encode()


def bounded_value(topic: str, value: bytes | None) -> bytes:
    """Return the value of a message, if a reader of its topic takes so many bytes.

    Raises:
        MalformedRecord: it has none, or too many.
    """
    if value is None or len(value) > LARGEST[topic]:
        raise MalformedRecord("no message of this topic is empty, or as large as this one")
    return value


def sound_key(key: bytes | None) -> bytes | None:
    """Return the Kafka key that a message came with, None if it is none of ours.

    A device that swaps key and value sends megabytes for a key, and what follows from it would not fit its topic.
    """
    try:
        return key if key is not None and is_identifier(key.decode()) else None
    except UnicodeDecodeError:
        return None
