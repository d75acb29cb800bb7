"""The errors of the project, sorted by whose fault they are; `code` goes on the wire.

    CardiacNetsError
    ├── RecordError           the record: rejected with its code, the work goes on
    │   ├── MalformedRecord       the bytes are not an ECG record
    │   │   ├── EmptyValue            there are no bytes
    │   │   └── ForeignFraming        they are something else, which the sentence names
    │   ├── OversizedRecord       a size it has, or claims, is over a bound
    │   ├── UnreadableRecord      its bytes on the topic are no record of Kafka's
    │   ├── OversizedBatch        the batch that it came in unfolds to more than a bound
    │   ├── UnknownSchema         the schema that the record names cannot be had
    │   ├── UnusableSchema        the schema that the record names cannot be resolved into ours
    │   ├── IdOfAnotherEcg        the record's id was used for another ECG before
    │   ├── UnreadableFile        an ECG file that no reader understands
    │   └── UnusableSignal        the gate's verdict; its code is the gate's
    ├── TransientError        the moment: retried within bounds, then rejected
    │   ├── EngineFailed          an engine raised, or answered in the wrong shape
    │   ├── Overloaded            a bounded queue is full
    │   ├── RegistryUnavailable   the schema registry does not answer
    │   └── ShuttingDown          the work was still queued when serving stopped
    └── DeploymentError       the installation: refuse to start, or stop
        ├── InvalidSettings       an unknown name or an impossible value
        ├── CorruptBundle         a model file is missing, altered or contradicts its manifest
        ├── ForeignEmbedding      a cine generator was given another model's embedding
        ├── UnreadableCohort      a cohort's file, or its source, is missing, unfinished or contradicts itself
        ├── EngineUnavailable     the engine's library is not installed, or cannot load the graph
        └── EngineMismatch        an engine disagrees with the reference beyond its tolerance

The store of cines has its own (`stream/cines/store.py`, `stream/commands/cine.py`): Redis is away or full, which is the
moment's fault, and a cine that is torn or not there. Anything else that is raised is a bug, and stops the process.
"""

# ruff: noqa: N818 -- bases end in Error; leaves name the condition

from __future__ import annotations

import math
from typing import ClassVar, TypeAlias

Number: TypeAlias = float | int | str
"""What a rejection may carry as evidence: a measurement, or the name of a lead."""


class CardiacNetsError(Exception):
    """The root: an error that the project foresees.

    Attributes:
        wire_code: the code that a rejection carries; the class's own unless a finer one is given.
        numbers: the evidence, for a program: measurements by name, units in the names.
    """

    code: ClassVar[str] = "error"

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.wire_code = self.code
        self.numbers: dict[str, Number] = {}


class RecordError(CardiacNetsError):
    """The record cannot be screened, and trying again would not help.

    Attributes:
        detail: one sentence for a person.
        record_id: the record's id, where its bytes could be read that far.
        device_id: the device that recorded it, where that is known.
        site: where it was recorded, where that is known.
        subject: what the id of the rejection is derived from, where the record's id is not enough.
    """

    def __init__(
        self, detail: str, *, code: str | None = None, record_id: str | None = None, **numbers: Number
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.wire_code = code or self.code
        self.record_id = record_id
        self.device_id: str | None = None
        self.site: str | None = None
        self.subject: str | None = None
        self.numbers = {name: _as_evidence(value) for name, value in numbers.items()}


def _as_evidence(value: Number) -> Number:
    """Return a value that JSON can carry: it has no NaN, no infinity, and knows no kind of float but one."""
    if not isinstance(value, float):
        return value
    return float(value) if math.isfinite(value) else str(float(value))


class MalformedRecord(RecordError):
    """The bytes are not an ECG record of our schema, or contradict themselves."""

    code = "malformed_record"


class EmptyValue(MalformedRecord):
    """The message has no value, or one of no bytes."""

    code = "empty_value"


class ForeignFraming(MalformedRecord):
    """The value is something else than a record in a framing that we take; the sentence says what, and what to do."""

    code = "foreign_framing"


class OversizedRecord(RecordError):
    """A size that the record has, or claims to have once decompressed, is over a bound."""

    code = "oversized_record"


class UnreadableRecord(RecordError):
    """Its bytes on the topic are no record of Kafka's: a length, a checksum or a header's name is impossible."""

    code = "unreadable_record"


class OversizedBatch(RecordError):
    """It came in a batch of too many records, or that unfolds to too many bytes. None of its records was read."""

    code = "oversized_batch"


class UnknownSchema(RecordError):
    """The schema that the record names cannot be had: no registry is set, or the registry does not have it."""

    code = "unknown_schema"


class UnusableSchema(RecordError):
    """The schema that the record names cannot be resolved into ours: a field is missing, or has another type."""

    code = "unusable_schema"


class IdOfAnotherEcg(RecordError):
    """The record's id was used for another ECG before: its report would have the id of that one's report."""

    code = "id_of_another_ecg"


class UnreadableFile(RecordError):
    """The file holds no ECG that a reader understands."""

    code = "unreadable_file"


class UnusableSignal(RecordError):
    """The gate refused the signal; `wire_code` says why."""

    code = "unusable_signal"


class TransientError(CardiacNetsError):
    """The moment is bad: worth a bounded number of further tries."""

    code = "transient"


class EngineFailed(TransientError):
    """An engine raised, or answered in the wrong shape."""

    code = "engine_failed"


class Overloaded(TransientError):
    """A bounded queue is full."""

    code = "overloaded"


class RegistryUnavailable(TransientError):
    """The schema registry does not answer, or not as a registry does.

    Attributes:
        outage: the number of the outage. The number changes when the registry has answered in between.
    """

    code = "schema_registry_unavailable"

    def __init__(self, message: str, *, outage: int = 0) -> None:
        super().__init__(message)
        self.outage = outage


class ShuttingDown(TransientError):
    """Serving stopped while the work was still queued."""

    code = "shutting_down"


class DeploymentError(CardiacNetsError):
    """The installation is wrong: refuse to start, or stop."""

    code = "deployment"


class InvalidSettings(DeploymentError):
    """A setting has an unknown name or an impossible value."""

    code = "invalid_settings"


class CorruptBundle(DeploymentError):
    """A model file is missing, altered, or contradicts its manifest."""

    code = "corrupt_bundle"


class ForeignEmbedding(DeploymentError):
    """A cine generator was given the embedding of another model than the one whose embeddings it learned to read.

    A command stops; a cmr-worker, which reads requests of any model, fails this request and goes on.
    """

    code = "foreign_embedding"


class UnreadableCohort(DeploymentError):
    """A file of a cohort, or of the data that one is made from, is missing, unfinished or contradicts itself."""

    code = "unreadable_cohort"


class EngineUnavailable(DeploymentError):
    """The engine's library is not installed, or it cannot load the graph."""

    code = "engine_unavailable"


class EngineMismatch(DeploymentError):
    """An engine disagrees with the reference beyond its tolerance."""

    code = "engine_mismatch"
