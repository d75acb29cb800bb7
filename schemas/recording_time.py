"""Whether the time at which an ECG was recorded can be true, and in which unit it was written where it cannot.

The bounds are those of electrocardiography, not of a calendar. No archive of digital 12-lead ECGs that we know begins
before 1985 (PTB-XL begins in 1989), and the clock of a device that was never set starts in 1970 or in 1980.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST = datetime(1985, 1, 1, tzinfo=UTC)
CLOCK_SKEW = timedelta(minutes=10)
"""How far a device's clock may be ahead of ours before its time is doubted."""

_MICROSECOND = timedelta(microseconds=1)
_FIRST_US = (EARLIEST - EPOCH) // _MICROSECOND
_LAST_US = (datetime(2100, 1, 1, tzinfo=UTC) - EPOCH) // _MICROSECOND
"""A time beyond this is not taken for one in another unit."""
_SLIPS = (
    (1000, 1, "in milliseconds where microseconds are due, or in seconds where milliseconds are due"),
    (10**6, 1, "in seconds where microseconds are due"),
    (1, 1000, "in nanoseconds where microseconds are due, or in microseconds where milliseconds are due"),
    (1, 10**6, "in nanoseconds where milliseconds are due"),
)


class Slip(NamedTuple):
    """A time that is plausible in another unit: how it was written, as a sentence says it, and what was meant."""

    written: str
    meant: datetime


def is_plausible(recorded_at: datetime, now: datetime) -> bool:
    """Return whether an ECG can have been recorded then."""
    return EARLIEST <= recorded_at <= now + CLOCK_SKEW


def unit_slip(microseconds: int) -> Slip | None:
    """Return how a number of microseconds since 1970 was meant, if it is plausible in another unit."""
    for times, divided_by, written in _SLIPS:
        meant = microseconds * times // divided_by
        if _FIRST_US <= meant < _LAST_US:
            return Slip(written, EPOCH + meant * _MICROSECOND)
    return None


def microseconds_of(recorded_at: datetime) -> int:
    """Return a time as Avro writes it."""
    return (recorded_at - EPOCH) // _MICROSECOND
