"""The acknowledgements of one alert: all are kept, the first one on the topic closes the alert, and some are doubted.

A time that an acknowledgement names is its writer's claim. So the topic's order decides which was the first one, and an
acknowledgement that cannot belong to its alert closes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, TypeAlias

from schemas.messages import Acknowledgement, Alert

from .arrival import CLOCKS_AGREE

KEPT = 8
"""How many acknowledgements of one alert are kept."""

Doubt: TypeAlias = Literal["other_record", "before_alert", "doubtful_time"]
CLOSES_NOTHING: frozenset[Doubt] = frozenset({"other_record", "before_alert"})


class Place(NamedTuple):
    """Where a message lies on its topic. What somebody clicked has no place until it comes back from there."""

    partition: int
    offset: int


NOWHERE = Place(2**31, 0)


@dataclass(frozen=True, slots=True)
class KeptAcknowledgement:
    """An acknowledgement, and how it came.

    Attributes:
        key: of its Kafka message. It should be the alert's.
        arrived: when it arrived, if that is known.
        size: bytes that it takes, about.
    """

    message: Acknowledgement
    key: bytes | None = None
    place: Place = NOWHERE
    arrived: datetime | None = None
    size: int = 0


class Acknowledged(Protocol):
    """An alert as far as this module looks at it."""

    @property
    def alert(self) -> Alert:
        """The alert."""

    @property
    def key(self) -> bytes | None:
        """The key of its Kafka message."""

    @property
    def raised_at(self) -> datetime:
        """When it was raised."""


def doubt_of(kept: KeptAcknowledgement, entry: Acknowledged) -> Doubt | None:
    """Return why an acknowledgement is doubted; None if it is not."""
    at = kept.message.acknowledged_at
    if kept.message.record_id != entry.alert.record_id:
        return "other_record"
    if at < min(entry.alert.onset, entry.raised_at) - CLOCKS_AGREE:
        return "before_alert"
    if kept.arrived is not None and abs(kept.arrived - at) > CLOCKS_AGREE:
        return "doubtful_time"
    return None


def closes(kept: KeptAcknowledgement, entry: Acknowledged) -> bool:
    """Return whether an acknowledgement can close the alert."""
    return doubt_of(kept, entry) not in CLOSES_NOTHING


def in_order(all_: Iterable[KeptAcknowledgement], entry: Acknowledged) -> list[KeptAcknowledgement]:
    """Return the acknowledgements, the one that closes the alert first.

    One under the alert's key comes before others: these may lie on another partition, where offsets say nothing of the
    order.
    """
    return sorted(all_, key=lambda one: (not closes(one, entry), one.key != entry.key, *_order(one)))


def with_another(known: Iterable[KeptAcknowledgement], another: KeptAcknowledgement) -> tuple[KeptAcknowledgement, ...]:
    """Return them all. The same message a second time is one, at the place where it came first."""
    by_message = {one.message: one for one in known}
    same = by_message.get(another.message)
    by_message[another.message] = another if same is None else _first(same, another)
    return tuple(sorted(by_message.values(), key=_order))


def bounded(ordered: Iterable[KeptAcknowledgement], max_bytes: int) -> tuple[KeptAcknowledgement, ...]:
    """Return those that are kept: the first one, and of the others as many as there is room for."""
    first, *others = ordered
    kept = [first]
    for one in others[: KEPT - 1]:
        max_bytes -= one.size
        if max_bytes >= 0:
            kept.append(one)
    return tuple(kept)


def _first(one: KeptAcknowledgement, other: KeptAcknowledgement) -> KeptAcknowledgement:
    first = min(one, other, key=_order)
    return replace(first, arrived=first.arrived or max(one, other, key=_order).arrived)


def _order(one: KeptAcknowledgement) -> tuple[Place, datetime, str, str]:
    """Return the order of the topic. Before two have come back from there, their own clock has to do."""
    return one.place, one.message.acknowledged_at, one.message.acknowledged_by, one.message.comment
