"""The value of a message that stands for what could not be read on a topic."""

from __future__ import annotations

from schemas.errors import OversizedBatch, RecordError, UnreadableRecord

from .record_batches import Gap


class UnreadablePlace(bytes):
    """A value of no bytes, which no message has: who does not look at it takes the message for an empty one.

    A producer cannot make one: the class is not of the wire.

    Attributes:
        error: why the place is refused.
    """

    error: RecordError


def unreadable_place(gap: Gap, *, is_oversized: bool) -> UnreadablePlace:
    """Return the value of a message at the last offset of the gap."""
    place = UnreadablePlace()
    sentence = f"{_subject(gap)} cannot be read: {gap.reason}"
    place.error = OversizedBatch(sentence) if is_oversized else UnreadableRecord(sentence)
    if gap.first != gap.last:
        place.error.numbers |= {"first_offset": gap.first, "last_offset": gap.last}
    return place


def refusal_of(value: bytes | None) -> RecordError | None:
    """Return why a message is refused that stands for an unreadable place; None for any other message."""
    return value.error if isinstance(value, UnreadablePlace) else None


def _subject(gap: Gap) -> str:
    return "the record" if gap.first == gap.last else f"the records {gap.first} to {gap.last}"
