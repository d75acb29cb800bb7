"""What a report or an alert says of its record, and where two of them contradict each other."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from schemas.messages import Alert, RiskReport


class Facts(NamedTuple):
    """What a report or an alert says of its record."""

    record_id: str
    subject: str | None
    recorded_at: datetime | None
    report_id: str
    model: tuple[str, str]
    """Name and version."""


def facts_of(message: RiskReport | Alert) -> Facts:
    """Return what a message says of its record."""
    if isinstance(message, RiskReport):
        subject, report_id = message.patient_id, message.report_id
    else:
        subject, report_id = message.subject, message.derived_from
    model = message.model.name, message.model.version
    return Facts(message.record_id, subject, message.recorded_at, report_id, model)


def contradiction(kept: Facts, other: Facts) -> str | None:
    """Return in words how another message about a record contradicts the kept one; None if it does not.

    Another model has another report of the same ECG, and that is no contradiction.
    """
    if kept == other:
        return None
    differences = {
        "another record": kept.record_id != other.record_id,
        "another patient": kept.subject != other.subject,
        "another time of recording": kept.recorded_at != other.recorded_at,
        "another report": kept.model == other.model and kept.report_id != other.report_id,
    }
    return listed(name for name, differs in differences.items() if differs)


def listed(names: Iterable[str]) -> str | None:
    """Return the names in one line; None if there are none."""
    return ", ".join(names) or None
