"""Times as HL7 version 3 writes them: points in time with any precision, and quantities of time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo

from .xml_content import number_in

SECONDS_IN = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "\xb5s": 1e-6, "\u03bcs": 1e-6, "min": 60.0}
_POINT = re.compile(r"(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})?(?:[.,](\d{1,9}))?([+-]\d{2}:?\d{2}|Z)?", re.ASCII)


def seconds_of(value: str, unit: str) -> float | None:
    """Return a quantity of time in seconds, or None if it is not one."""
    number, seconds_in = number_in(value), SECONDS_IN.get(unit.strip())
    return number * seconds_in if number is not None and seconds_in else None


def point_in_time(text: str) -> datetime | None:
    """Return a point in time, with a zone if the text has one; None if the text does not tell the minute."""
    found = _POINT.fullmatch(text.strip())
    if not found:
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups(default="0")
    microsecond = int(fraction[:6].ljust(6, "0"))
    try:
        clock = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), microsecond)  # noqa: DTZ001
        return clock.replace(tzinfo=_zone(zone))
    except ValueError:
        return None


def on_one_clock(moments: list[datetime]) -> list[datetime]:
    """Return points in time that can be compared: those without a zone get the zone of the first that has one."""
    zone = next((moment.tzinfo for moment in moments if moment.tzinfo), None)
    return [moment if moment.tzinfo else moment.replace(tzinfo=zone) for moment in moments]


def _zone(text: str) -> tzinfo | None:
    if text == "0":
        return None
    if text == "Z":
        return timezone(timedelta())
    hours, minutes = int(text[1:3]), int(text[-2:])
    return timezone((-1 if text[0] == "-" else 1) * timedelta(hours=hours, minutes=minutes))
