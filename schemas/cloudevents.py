"""CloudEvents 1.0 headers of a Kafka message, in binary mode."""

from __future__ import annotations

from datetime import UTC, datetime

SPEC_VERSION = "1.0"
AVRO = "application/vnd.apache.avro"
JSON = "application/json"
LANE_HEADER = "ce_lane"
"""An extension attribute of ours: the lane of the ECG that an answer is to."""


def event_headers(
    *, kind: str, identifier: str, source: str, time: datetime, content_type: str, lane: str | None = None
) -> list[tuple[str, bytes]]:
    """Return the headers of one event, as a Kafka producer takes them.

    Args:
        kind: the event's type; ours are named as their topics.
        identifier: unique together with `source`; an event that is sent again keeps it.
        source: a URI of who speaks.
        lane: of the ECG that an answer is to: `realtime` or `backfill`.

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
    } | ({LANE_HEADER: lane} if lane else {})
    return [(name, text.encode()) for name, text in headers.items()]
