"""CloudEvents 1.0 headers of a Kafka message, in binary mode: written for ours, read from anyone's."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

SPEC_VERSION = "1.0"
AVRO = "application/vnd.apache.avro"
JSON = "application/json"


class EventHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers say; None where one is absent or unreadable."""

    kind: str | None = None
    identifier: str | None = None
    source: str | None = None
    time: datetime | None = None
    content_type: str | None = None


def event_headers(
    *, kind: str, identifier: str, source: str, time: datetime, content_type: str
) -> list[tuple[str, bytes]]:
    """Return the headers of one event, as a Kafka producer takes them.

    Args:
        kind: the event's type; ours are named as their topics.
        identifier: unique together with `source`; an event that is sent again keeps it.
        source: a URI of who speaks.

    Raises:
        ValueError: `time` has no time zone.
    """
    if time.utcoffset() is None:
        raise ValueError("the time of an event needs a time zone")
    headers = {
        "ce_specversion": SPEC_VERSION,
        "ce_id": identifier,
        "ce_source": source,
        "ce_type": kind,
        "ce_time": time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "content-type": content_type,
    }
    return [(name, text.encode()) for name, text in headers.items()]


def read_event_headers(headers: Iterable[tuple[str, bytes | None]] | None) -> EventHeaders:
    """Return what the headers say, whoever wrote them; the last one of a name counts."""
    texts = {name.lower(): value.decode(errors="replace") for name, value in headers or () if value is not None}
    return EventHeaders(
        kind=texts.get("ce_type"),
        identifier=texts.get("ce_id"),
        source=texts.get("ce_source"),
        time=_read_time(texts.get("ce_time")),
        content_type=texts.get("content-type"),
    )


def _read_time(text: str | None) -> datetime | None:
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.utcoffset() is not None else None
