"""Remarks on leads that a file holds and that cannot be taken as voltages: the record is made without them."""

from __future__ import annotations

from collections.abc import Sequence

from inference.leads import standard_name
from schemas.ecg_record import Remark

from .recording import Part

MOST_NAMED = 4


def left_out(parts: Sequence[Part]) -> tuple[Remark, ...]:
    """Return a remark for each part with such leads."""
    remarks = []
    for part in parts:
        reasons = [
            f"{channel.name} {channel.unusable}"
            for channel in part.channels
            if channel.unusable and standard_name(channel.name)
        ]
        if reasons and not part.derived:
            more = f" and {len(reasons) - MOST_NAMED} more" if len(reasons) > MOST_NAMED else ""
            remarks.append(Remark("part_unread", f"{part.title}: left out {', '.join(reasons[:MOST_NAMED])}{more}"))
    return tuple(remarks)
