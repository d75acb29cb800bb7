"""The alerts as the pages show them: one row for each alert, and what changed since the last call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from schemas.messages import Acknowledgement, Alert
from schemas.recording_time import is_plausible
from stream.alerting.acknowledgements import NOWHERE, KeptAcknowledgement, Place, doubt_of
from stream.alerting.alert_book import AlertBook, AlertEntry, rank_of
from stream.alerting.facts import Facts, contradiction, facts_of
from stream.settings import AlertSettings

from .doubts import Doubt, doubts_about
from .traffic import LIVE_S


class AcknowledgementRow(msgspec.Struct, kw_only=True):
    """What somebody said of an alert."""

    acknowledged_by: str
    authenticated: bool
    """Whether a proxy vouched for that name."""
    acknowledged_at: float
    comment: str
    doubt: str | None
    """Why it is doubted, as a code; None if it is not."""


class AlertRow(msgspec.Struct, kw_only=True):
    """An alert as the list shows it; times are seconds since 1970."""

    identifier: str
    rank: int
    """The alert's place in the list: the lowest rank stands on top."""
    record_id: str
    patient_id: str | None
    site: str | None
    disease: str
    probability: float
    threshold: float
    priority: str
    status: str
    onset: float
    """When the alert was raised, or arrived, if its worker's clock is wrong."""
    clock_off_s: float | None
    """How far the worker's clock is ahead, if it is wrong."""
    contradicts: str | None
    """In words, how the alert contradicts what is kept of its record, if it does."""
    recorded_at: float | None
    late: bool
    """Whether the ECG was old when it was screened. True as well if it is not known when the ECG was recorded."""
    doubtful: bool
    """Whether the time of recording cannot be true."""
    trained: bool
    doubts: tuple[Doubt, ...]
    """About the report of the alert's record while it is kept, else about the signal."""
    acknowledgement: AcknowledgementRow | None
    """The one that closed the alert."""
    further: tuple[AcknowledgementRow, ...]
    """Those that came later, and those that close nothing."""


class AlertRows:
    """Keeps the alerts in a book, and notes which of them changed.

    Args:
        limit: how many alerts are kept.
        reported: returns what the report of a record says of the record, if it is kept.
        doubted: returns the doubts about the report of a record, if it is kept.
    """

    def __init__(
        self,
        settings: AlertSettings,
        *,
        limit: int,
        reported: Callable[[str], Facts | None],
        doubted: Callable[[str], tuple[Doubt, ...]],
    ) -> None:
        self._reported = reported
        self._doubted = doubted
        self._book = AlertBook.from_settings(settings, limit=limit, dropped=self._note_dropped)
        self._limit = limit
        self._changed: dict[str, None] = {}
        self._dropped: dict[str, None] = {}

    @property
    def not_shown(self) -> int:
        """How many open alerts were dropped that, as far as is known, nobody has closed."""
        return self._book.not_shown

    def receive(self, alert: Alert, key: bytes | None, *, arrived: datetime | None = None, size: int = 0) -> AlertRow:
        """Take a message of the topic of alerts in, and return its row."""
        entry = self._book.receive_alert(alert, key, arrived=arrived, size=size)
        self._changed[entry.alert.identifier] = None
        return self._row(entry)

    def acknowledge(
        self,
        acknowledgement: Acknowledgement,
        *,
        key: bytes | None,
        place: Place = NOWHERE,
        arrived: datetime | None = None,
        size: int = 0,
    ) -> None:
        """Take an acknowledgement in; one that comes before its alert is kept for the alert."""
        if self._book.receive_ack(acknowledgement, key=key, place=place, arrived=arrived, size=size):
            self._changed[acknowledgement.identifier] = None
        if acknowledgement.whole_record:
            of_record = self._book.of_record(acknowledgement.record_id)
            self._changed |= dict.fromkeys(entry.alert.identifier for entry in of_record)

    def note_report(self, record_id: str) -> int:
        """Take note that the report of a record came; return how many of the record's alerts contradict it."""
        entries = self._book.entries(record_id=record_id)
        self._changed |= dict.fromkeys(entry.alert.identifier for entry in entries)
        return sum(not entry.contradicts and self._row(entry).contradicts is not None for entry in entries)

    def overdue(self, now: datetime) -> int:
        """Return how many new states are not on their topic though they have been due for long."""
        return self._book.overdue(now)

    def due(self, now: datetime) -> list[AlertEntry]:
        """Return the alerts whose new state is not on its topic yet: the keeper of alerts owes it."""
        entries = self._book.due(now)
        self._changed |= dict.fromkeys(entry.alert.identifier for entry in entries)
        return entries

    def get(self, identifier: str) -> AlertEntry | None:
        """Return one alert as it stands."""
        return self._book.get(identifier)

    def all(self) -> list[AlertRow]:
        """Return the rows of all alerts, the most urgent first."""
        return [self._row(entry) for entry in self._book.entries(limit=self._limit)]

    def of_record(self, record_id: str) -> list[AlertRow]:
        """Return the rows of one record, the most probable disease first."""
        rows = [self._row(entry) for entry in self._book.entries(record_id=record_id)]
        return sorted(rows, key=lambda row: -row.probability)

    def facts(self, record_id: str) -> Facts | None:
        """Return what the most urgent alert of a record says of the record; None if there is none."""
        return next((facts_of(entry.alert) for entry in self._book.entries(record_id=record_id, limit=1)), None)

    def take_changed(self) -> list[AlertRow]:
        """Return the rows that changed since the last call."""
        changed, self._changed = self._changed, {}
        return [self._row(entry) for identifier in changed if (entry := self._book.get(identifier))]

    def take_dropped(self) -> list[str]:
        """Return the identifiers of the alerts that were dropped since the last call, and did not come back."""
        dropped, self._dropped = self._dropped, {}
        return [identifier for identifier in dropped if self._book.get(identifier) is None]

    def open_records(self) -> set[str]:
        """Return the ids of the records that have an open alert."""
        return self._book.open_records()

    def oldest_open(self) -> float | None:
        """Return since when the oldest open alert has been open, in seconds since 1970; None if none is."""
        raised_at = self._book.oldest_open()
        return None if raised_at is None else raised_at.timestamp()

    def counts(self) -> dict[str, int]:
        """Return the number of alerts by status."""
        return {str(status): number for status, number in self._book.counts().items()}

    def _note_dropped(self, identifier: str) -> None:
        self._dropped[identifier] = None

    def _row(self, entry: AlertEntry) -> AlertRow:
        reported = self._reported(entry.alert.record_id)
        against_report = None if reported is None else contradiction(reported, facts_of(entry.alert))
        contradicts = entry.contradicts or against_report
        doubts = () if contradicts else self._doubted(entry.alert.record_id)
        return _row(entry, contradicts, doubts or doubts_about(entry.alert.ecg_quality))


def _row(entry: AlertEntry, contradicts: str | None, doubts: tuple[Doubt, ...]) -> AlertRow:
    alert, raised_at = entry.alert, entry.raised_at
    said = tuple(_acknowledgement_row(one, entry) for one in entry.acknowledgements)
    closing = said[:1] if entry.acknowledgement else ()
    doubtful = alert.recorded_at is not None and not is_plausible(alert.recorded_at, raised_at)
    return AlertRow(
        identifier=alert.identifier,
        rank=rank_of(entry),
        record_id=alert.record_id,
        patient_id=alert.subject,
        site=alert.site,
        disease=alert.code,
        probability=alert.risks[0].probability,
        threshold=alert.risks[0].threshold,
        priority=alert.priority,
        status=alert.status,
        onset=entry.since,
        clock_off_s=None if raised_at == alert.onset else (alert.onset - raised_at).total_seconds(),
        contradicts=contradicts,
        recorded_at=alert.recorded_at.timestamp() if alert.recorded_at else None,
        late=alert.recorded_at is None or doubtful or (raised_at - alert.recorded_at).total_seconds() > LIVE_S,
        doubtful=doubtful,
        trained=alert.model.trained,
        doubts=doubts,
        acknowledgement=next(iter(closing), None),
        further=said[len(closing) :],
    )


def _acknowledgement_row(kept: KeptAcknowledgement, entry: AlertEntry) -> AcknowledgementRow:
    message = kept.message
    return AcknowledgementRow(
        acknowledged_by=message.acknowledged_by,
        authenticated=message.authenticated,
        acknowledged_at=message.acknowledged_at.timestamp(),
        comment=message.comment,
        doubt=doubt_of(kept, entry),
    )
