"""What a message on an answer's topic is: a row of the table, or why it is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

import msgspec
import pyarrow as pa

from engines.batcher import Lane
from schemas.cloudevents import LANE_HEADER
from schemas.errors import MalformedRecord, OversizedRecord
from schemas.messages import Message, Rejection, RiskReport, decode_message
from schemas.topics import ECG_REJECTED, ECG_RISK, LARGEST
from stream.broker.clients import LANE_TOPICS
from stream.broker.unreadable_place import refusal_of

from .columns import REFUSED, SCREENED, refused_row, screened_row

WantedLane: TypeAlias = Literal["realtime", "backfill", "all"]
ALL: WantedLane = "all"

MessageT = TypeVar("MessageT", bound=Message)


class Delivered(Protocol):
    """A message as a consumer gives it."""

    partition: int
    offset: int
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Kind(Generic[MessageT]):
    """A kind of answers, and how it becomes a table.

    Attributes:
        topic: by the contract's name.
        table: the folder of its files.
        identifier: the column that has the message's own id.
        lane: which lane a message says that it is of, where its header does not; None: it does not say.
    """

    topic: str
    table: str
    message: type[MessageT]
    schema: pa.Schema
    identifier: str
    row: Callable[[MessageT], dict[str, Any]]
    lane: Callable[[MessageT], str | None]


def _lane_of_rejection(rejection: Rejection) -> str | None:
    """Return the lane of the topic that the ECG lay on. A prefix may stand before the topic's name."""
    topic = rejection.source.partition("/")[0]
    return next((lane.value for lane, name in LANE_TOPICS.items() if topic.endswith(name)), None)


REPORTS = Kind(ECG_RISK, "screened", RiskReport, SCREENED, "report_id", screened_row, lambda _: None)
REJECTIONS = Kind(ECG_REJECTED, "refused", Rejection, REFUSED, "rejection_id", refused_row, _lane_of_rejection)
KINDS: tuple[Kind[Any], ...] = (REPORTS, REJECTIONS)


class Counts(msgspec.Struct, kw_only=True):
    """What became of messages that are no row.

    Attributes:
        malformed: they are no answers, and nobody can read them.
        repeated: their id had come before.
        of_other_lanes: they answer ECGs of a lane that is not wanted.
        without_lane: they do not say their lane: a worker of version 0.1 wrote them.
    """

    malformed: int = 0
    repeated: int = 0
    of_other_lanes: int = 0
    without_lane: int = 0

    def add(self, other: Counts) -> None:
        """Add others."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


Passed: TypeAlias = Literal["of_other_lanes", "without_lane"]


def row_of(kind: Kind[Any], delivered: Delivered, wanted: WantedLane) -> dict[str, Any] | Passed:
    """Return the row of a message, or why it is passed over.

    Raises:
        RecordError: it is no answer.
    """
    said = lane_said(delivered)
    if said is not None and wanted not in (ALL, said):
        return "of_other_lanes"
    message = _decoded(kind, delivered)
    lane = said or kind.lane(message)
    if wanted not in (ALL, lane):
        return "without_lane" if lane is None else "of_other_lanes"
    place = {"lane": lane, "kafka_partition": delivered.partition, "kafka_offset": delivered.offset}
    return kind.row(message) | place


def lane_said(delivered: Delivered) -> str | None:
    """Return the lane that the message's header names; None if there is none, or none that we know."""
    value = next((value for name, value in delivered.headers if name == LANE_HEADER), None)
    return next((lane.value for lane in Lane if value == lane.value.encode()), None)


def _decoded(kind: Kind[Any], delivered: Delivered) -> Any:
    if refusal := refusal_of(delivered.value):
        raise refusal
    if delivered.value is None:
        raise MalformedRecord(f"not a {kind.message.__name__}: the message has no value")
    if len(delivered.value) > LARGEST[kind.topic]:
        raise OversizedRecord(
            f"the message has {len(delivered.value)} bytes, and an answer at most {LARGEST[kind.topic]}"
        )
    return decode_message(kind.message, delivered.value)
