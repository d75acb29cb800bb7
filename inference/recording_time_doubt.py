"""The warning about a time of recording that cannot be true."""

from __future__ import annotations

from datetime import datetime, timedelta

from schemas.errors import Number
from schemas.messages import QualityWarning
from schemas.recording_time import EARLIEST, is_plausible, microseconds_of, unit_slip

WIDEST_ZONE = timedelta(hours=14)
"""No time zone is further ahead of UTC."""


def doubt_time(recorded_at: datetime | None, now: datetime) -> QualityWarning | None:
    """Return the warning about the time, None where it is plausible or not known."""
    if recorded_at is None or is_plausible(recorded_at, now):
        return None
    told = recorded_at.isoformat()
    if slip := unit_slip(microseconds_of(recorded_at)):
        meant = slip.meant.isoformat()
        return _warning(f"{told}: it is probably written {slip.written}, and {meant} is meant", told, would_be=meant)
    if recorded_at < EARLIEST:
        return _warning(f"{told}, before {EARLIEST.year}: the device's clock may never have been set", told)
    ahead = recorded_at - now
    return _warning(f"{told}, in the future: {_reason(ahead)}", told, ahead_s=round(ahead.total_seconds(), 3))


def _warning(sentence: str, recorded_at: str, **numbers: Number) -> QualityWarning:
    return QualityWarning(
        code="implausible_time",
        detail=f"the time of recording is {sentence}",
        numbers={"recorded_at": recorded_at, **numbers},
    )


def _reason(ahead: timedelta) -> str:
    if ahead <= WIDEST_ZONE:
        return "the device's clock may be wrong, or it tells a local time as UTC"
    return "the device's clock may be wrong, or the dates were shifted to protect the patient"
