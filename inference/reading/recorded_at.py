"""When an ECG was recorded, as an instant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from schemas.ecg_record import Remark

UNSURE = Remark("recorded_at_unsure", "the clocks were changed in that hour: the time of recording may be an hour off")
IMPOSSIBLE = Remark("recorded_at_impossible", "the time of recording is beyond what a calendar holds and was left out")


def instant(
    written: datetime | None, start_s: float, zone: tzinfo | None
) -> tuple[datetime | None, tuple[Remark, ...]]:
    """Return when the stretch began, in UTC, and the doubts about it.

    Args:
        written: the time in the file.
        start_s: when the stretch began, in seconds after that time.
        zone: of the written time, where it has none; None: the zone of this computer.
    """
    if written is None:
        return None, ()
    try:
        began = _in_zone(written, zone).astimezone(UTC) + timedelta(seconds=start_s)
        return began, () if _is_sure(written, zone) else (UNSURE,)
    except (OverflowError, ValueError, OSError):
        return None, (IMPOSSIBLE,)


def _in_zone(written: datetime, zone: tzinfo | None) -> datetime:
    if written.tzinfo is not None:
        return written
    return written.replace(tzinfo=zone) if zone else written.astimezone()


def _is_sure(written: datetime, zone: tzinfo | None) -> bool:
    """Whether the zone had that time once. It comes twice when clocks go back, and never when they go forward."""
    offsets = {_in_zone(written.replace(fold=fold), zone).utcoffset() for fold in (0, 1)}
    return len(offsets) == 1
