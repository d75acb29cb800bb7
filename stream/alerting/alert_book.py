"""The alerts of a ward, and the state of each: raised, escalated, expired, acknowledged.

    raised ──(high priority, and nobody acknowledged it)──▶ escalated
      │                                                        │
      ├─────────────(nobody acknowledged it)───────────────────┴──▶ expired
      │                                                                │
      └────────────────────(somebody acknowledged it)──────────────────┴──▶ acknowledged

An alert only moves forward, in the order of `ALERT_STATUSES`. So messages may come in any order and any number of
times, replayed or live: the book is the same in the end. A person can still acknowledge an alert that has expired.
`acknowledgements.py` says which acknowledgement closes an alert. One of a whole record closes all alerts of the record
but those that contradict another one: these are of another ECG, which nobody may have seen.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import islice
from typing import Self

import msgspec

from schemas.identity import contradicting_alert_id
from schemas.messages import ALERT_STATUSES, AcknowledgedBy, Acknowledgement, Alert, AlertStatus, Disease
from stream.bounded import RecentDict, SizedDict
from stream.settings import AlertSettings

from .acknowledgements import KEPT, NOWHERE, KeptAcknowledgement, Place, bounded, closes, in_order, with_another
from .alert_drops import SHARE, leaving_order
from .arrival import as_of_arrival
from .facts import contradiction, facts_of

OPEN: tuple[AlertStatus, ...] = ("raised", "escalated")
REPEAT_AFTER = timedelta(seconds=60)
"""A new state that has not come back from its topic by then is due again."""
OVERDUE_AFTER = timedelta(seconds=30)
"""A new state that is not on its topic by then is overdue: nobody publishes it."""
DROPPED_AT_ONCE = 0.05
"""The share of a full book that is dropped together, so that the book is not sorted for every further alert."""
BYTES_AN_ALERT = 3 * 2**10
"""The bound on the alerts of a full book, in the mean: an alert takes 1 kB. The bound on acknowledgements that came
before their alerts is the same."""
FURTHER_BYTES = 4 * 2**20
"""The bound on all acknowledgements of alerts that have one already. Nobody needs several, and many can be forged.
The bound on acknowledgements of whole records is the same."""
NOT_SHOWN_KEPT = 100_000
"""Of so many open alerts that were dropped it is known that nobody has closed them."""

_STEPS = {status: step for step, status in enumerate(ALERT_STATUSES)}
_PRIORITIES = {"high": 0, "medium": 1, "low": 2}
_CLOSED = 2 * len(_PRIORITIES)


def _ignore(_identifier: str) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class AlertEntry:
    """One alert as it stands.

    Attributes:
        alert: the alert as it was first raised, with its present status.
        key: the key of the alert's Kafka message. Its later states are published under the same key.
        announced: the furthest status that came from the topic of alerts.
        raised_at: when the alert was raised: its onset, or its arrival where the onset cannot be true.
        size: bytes that the alert takes, about.
        contradicts: in words, how the alert contradicts the one that is kept under the identifier that it came with.
        acknowledgements: what people said of the alert; if one of them closes the alert, it is the first one.
    """

    alert: Alert
    key: bytes | None
    announced: AlertStatus
    raised_at: datetime
    size: int = 0
    contradicts: str | None = None
    acknowledgements: tuple[KeptAcknowledgement, ...] = ()

    @property
    def acknowledgement(self) -> Acknowledgement | None:
        """The acknowledgement that closes the alert, if there is one."""
        first = next(iter(self.acknowledgements), None)
        return first.message if first is not None and closes(first, self) else None

    @property
    def open(self) -> bool:
        """Whether somebody still has to look at the alert."""
        return self.alert.status in OPEN

    @property
    def rank(self) -> int:
        """The place in the list: escalated alerts by priority, raised ones by priority, then closed ones."""
        return rank_of(self)

    @property
    def since(self) -> float:
        """When the alert was raised, in seconds since 1970."""
        return self.raised_at.timestamp()

    @property
    def source(self) -> str | None:
        """The device that recorded the ECG."""
        return self.alert.device_id


class AlertBook:
    """Keeps alerts and their acknowledgements. It does no input or output, and its caller tells it the time.

    Args:
        escalates_s: the age at which an open alert of high priority is escalated.
        expires_s: the age at which an open alert expires.
        limit: how many alerts are kept, of `BYTES_AN_ALERT` in the mean; `alert_drops.py` says which are dropped.
        dropped: called with the identifier of each alert that is dropped.
    """

    def __init__(
        self,
        *,
        escalates_s: float,
        expires_s: float,
        limit: int = 10_000,
        dropped: Callable[[str], object] = _ignore,
    ) -> None:
        self._escalates = timedelta(seconds=escalates_s)
        self._expires = timedelta(seconds=expires_s)
        self._limit = limit
        self._dropped = dropped
        self._entries: dict[str, AlertEntry] = {}
        self._of_record: dict[str, dict[str, None]] = {}
        self._bytes = 0
        self._early: SizedDict[str, tuple[KeptAcknowledgement, ...]] = SizedDict(limit, limit * BYTES_AN_ALERT)
        self._of_whole_record: SizedDict[str, tuple[KeptAcknowledgement, ...]] = SizedDict(limit, FURTHER_BYTES)
        self._further_bytes = 0
        self._not_shown: RecentDict[int, datetime] = RecentDict(NOT_SHOWN_KEPT)
        self._handed_out: dict[str, tuple[AlertStatus, datetime]] = {}
        self._owed_since: dict[str, datetime | None] = {}
        self._deadlines: list[tuple[datetime, str]] = []
        self._deadline: dict[str, datetime] = {}

    @classmethod
    def from_settings(cls, settings: AlertSettings, *, limit: int, dropped: Callable[[str], object] = _ignore) -> Self:
        """Return an empty book with the operator's times."""
        return cls(escalates_s=settings.escalates_s, expires_s=settings.expires_s, limit=limit, dropped=dropped)

    def __len__(self) -> int:
        """Return how many alerts are kept."""
        return len(self._entries)

    @property
    def not_shown(self) -> int:
        """How many open alerts were dropped that, as far as is known, nobody has closed."""
        return len(self._not_shown)

    def receive_alert(
        self, alert: Alert, key: bytes | None = None, *, arrived: datetime | None = None, size: int = 0
    ) -> AlertEntry:
        """Take in a message of `ecg.alerts.v1`; return how its alert stands now.

        An alert that contradicts the one that is kept under its identifier is another one. It is kept under an
        identifier of its own, so that neither hides the other.

        Args:
            arrived: when the message arrived, if that is known. An onset far from it is the mistake of a clock.
            size: bytes that are kept of the message.
        """
        contradicts = self._contradiction(alert)
        if contradicts:
            alert = msgspec.structs.replace(alert, identifier=contradicting_alert_id(alert))
        known = self._entries.get(alert.identifier)
        # Every later state repeats the onset of the alert, so only a new alert arrives when it was raised.
        raised_at = as_of_arrival(alert.onset, arrived, only_future=alert.status != "raised")
        if known is None:
            entry = AlertEntry(alert, key, alert.status, raised_at, size, contradicts)
            entry = self._acknowledged(entry, self._came_before(entry))
        else:
            first = raised_at < known.raised_at  # a redelivered record may be screened again
            entry = replace(
                known,
                alert=_merged(alert if first else known.alert, known.alert, alert),
                raised_at=min(known.raised_at, raised_at),
                announced=_further(known.announced, alert.status),
                size=max(known.size, size),
            )
            entry = self._acknowledged(entry, entry.acknowledgements)  # one may fit now
        self._keep(entry)
        self._drop_excess()
        return entry

    def _contradiction(self, alert: Alert) -> str | None:
        known = self._entries.get(alert.identifier)
        if known is None:
            return None
        if known.alert.code != alert.code:
            return "another disease"
        return contradiction(facts_of(known.alert), facts_of(alert))

    def _keep(self, entry: AlertEntry) -> None:
        identifier, before = entry.alert.identifier, self._entries.get(entry.alert.identifier)
        self._bytes += entry.size - (before.size if before else 0)
        self._entries[identifier] = entry
        self._of_record.setdefault(entry.alert.record_id, {})[identifier] = None
        self._not_shown.pop(_fingerprint(identifier))
        self._plan(entry)

    def _plan(self, entry: AlertEntry) -> None:
        """Note whether the alert's status is to be published, and when its age brings the next one."""
        identifier = entry.alert.identifier
        if entry.alert.status == entry.announced:
            self._owed_since.pop(identifier, None)
            self._handed_out.pop(identifier, None)
        else:
            self._owed_since.setdefault(identifier, None)
        deadline = self._ages_at(entry)
        if deadline is None:
            self._deadline.pop(identifier, None)
        elif self._deadline.get(identifier) != deadline:
            self._deadline[identifier] = deadline
            heapq.heappush(self._deadlines, (deadline, identifier))
        if len(self._deadlines) > 2 * self._limit + len(self._deadline):  # most of them hold no longer
            self._deadlines = sorted((when, name) for name, when in self._deadline.items())

    def _forget(self, entry: AlertEntry) -> None:
        identifier, record_id = entry.alert.identifier, entry.alert.record_id
        del self._entries[identifier]
        self._bytes -= entry.size
        self._further_bytes -= _further_bytes(entry)
        for noted in (self._handed_out, self._owed_since, self._deadline):
            noted.pop(identifier, None)
        of_record = self._of_record[record_id]
        del of_record[identifier]
        if not of_record:
            del self._of_record[record_id]
        if entry.open:
            self._not_shown.put(_fingerprint(identifier), entry.raised_at)
        self._dropped(identifier)

    def receive_ack(
        self,
        ack: Acknowledgement,
        *,
        key: bytes | None = None,
        place: Place = NOWHERE,
        arrived: datetime | None = None,
        size: int = 0,
    ) -> Alert | None:
        """Take in a message of `ecg.alerts.ack.v1`, or a person's click; return the alert that it names as it stands.

        If the acknowledgement comes before its alert, it is kept for the alert, and None is returned. One of a whole
        record is kept for all alerts of the record. The returned alert is for the pages. `due` returns what is to be
        published.

        Args:
            key: of the message.
            place: where the message lies; what was clicked has none.
            arrived: when the message arrived, if that is known.
            size: bytes that are kept of it.
        """
        kept = KeptAcknowledgement(ack, key, place, arrived, size)
        if ack.whole_record:
            _put_with(self._of_whole_record, ack.record_id, kept)
            for entry in self.of_record(ack.record_id):
                if entry.contradicts is None and entry.alert.identifier != ack.identifier:
                    self._acknowledge(entry, kept)
        known = self._entries.get(ack.identifier)
        if known is not None:
            return self._acknowledge(known, kept).alert
        _put_with(self._early, ack.identifier, kept)
        self._not_shown.pop(_fingerprint(ack.identifier))
        return None

    def _acknowledge(self, known: AlertEntry, kept: KeptAcknowledgement) -> AlertEntry:
        entry = self._acknowledged(known, with_another(known.acknowledgements, kept))
        self._keep(entry)
        return entry

    def _came_before(self, entry: AlertEntry) -> tuple[KeptAcknowledgement, ...]:
        """Return the acknowledgements that came before their alert."""
        of_record = () if entry.contradicts else self._of_whole_record.get(entry.alert.record_id) or ()
        early = self._early.pop(entry.alert.identifier) or ()
        for kept in of_record:
            early = with_another(early, kept)
        return early

    def _acknowledged(self, entry: AlertEntry, all_: Collection[KeptAcknowledgement]) -> AlertEntry:
        """Return the entry with these acknowledgements, closed if one of them can close it."""
        if not all_:
            return entry
        before = _further_bytes(self._entries.get(entry.alert.identifier))
        kept = bounded(in_order(all_, entry), FURTHER_BYTES - self._further_bytes + before)
        entry = replace(entry, acknowledgements=kept)
        self._further_bytes += _further_bytes(entry) - before
        if entry.acknowledgement is None:
            return entry
        return replace(entry, alert=_closed_by(entry.alert, entry.acknowledgement))

    def due(self, now: datetime, *, limit: int | None = None) -> list[AlertEntry]:
        """Return the alerts whose new status is to be published now: acknowledged, escalated or expired.

        Each is returned once, and again after `REPEAT_AFTER` until `receive_alert` has seen its new status. Do not call
        this during a replay: states that are on the topic already would be due.

        Args:
            limit: so many are returned at most. The others are due the next time.
        """
        self._not_shown.drop_while(lambda raised_at: now - raised_at >= self._expires)
        self._age(now)
        for identifier, since in self._owed_since.items():
            self._owed_since[identifier] = since or now
        owed = (entry for entry in map(self._entries.__getitem__, self._owed_since) if self._is_owed(entry, now))
        return list(islice(owed, limit))

    def hand_back(self, entries: Iterable[AlertEntry]) -> None:
        """Take note that these are not being published after all: they are due again at once."""
        for entry in entries:
            self._handed_out.pop(entry.alert.identifier, None)

    def became_at(self, entry: AlertEntry) -> datetime:
        """Return when an alert came to its state, as far as the topics tell."""
        match entry.alert.status:
            case "raised":
                return entry.raised_at
            case "escalated":
                return entry.raised_at + self._escalates
            case "expired":
                return entry.raised_at + self._expires
            case "acknowledged":
                by = entry.alert.acknowledgement
                return entry.raised_at if by is None else by.at

    def announced(self, alert: Alert) -> AlertStatus | None:
        """Return the furthest status of an alert that came from the topic; None before the first message of it."""
        identifier = contradicting_alert_id(alert) if self._contradiction(alert) else alert.identifier
        entry = self._entries.get(identifier)
        return None if entry is None else entry.announced

    def overdue(self, now: datetime) -> int:
        """Return how many new states are not on their topic though `due` returned them long ago."""
        return sum(since is not None and now - since >= OVERDUE_AFTER for since in self._owed_since.values())

    def get(self, identifier: str) -> AlertEntry | None:
        """Return one alert."""
        return self._entries.get(identifier)

    def entries(
        self,
        *,
        disease: Disease | None = None,
        patient: str | None = None,
        record_id: str | None = None,
        statuses: Collection[AlertStatus] = ALERT_STATUSES,
        limit: int = 100,
    ) -> list[AlertEntry]:
        """Return the alerts that match, in the order of their ranks; among equal ranks the newest comes first.

        Args:
            patient: the pseudonym.
        """

        def fits(alert: Alert) -> bool:
            return disease in {None, alert.code} and patient in {None, alert.subject} and alert.status in statuses

        among = self._entries.values() if record_id is None else self.of_record(record_id)
        return heapq.nsmallest(limit, (entry for entry in among if fits(entry.alert)), key=_order)

    def of_record(self, record_id: str) -> list[AlertEntry]:
        """Return the alerts of one record."""
        return [self._entries[identifier] for identifier in self._of_record.get(record_id, ())]

    def open_records(self) -> set[str]:
        """Return the ids of the records that have an open alert."""
        return {entry.alert.record_id for entry in self._entries.values() if entry.open}

    def oldest_open(self) -> datetime | None:
        """Return when the oldest open alert was raised; None if none is open."""
        return min((entry.raised_at for entry in self._entries.values() if entry.open), default=None)

    def counts(self) -> dict[AlertStatus, int]:
        """Return the number of alerts by status."""
        numbers = Counter(entry.alert.status for entry in self._entries.values())
        return {status: numbers[status] for status in ALERT_STATUSES}

    def _age(self, now: datetime) -> None:
        """Give every alert the status that it has at its present age."""
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, identifier = heapq.heappop(self._deadlines)
            if self._deadline.get(identifier) == deadline:
                entry = self._entries[identifier]
                self._keep(replace(entry, alert=with_status(entry.alert, self._status_at(entry, now))))

    def _ages_at(self, entry: AlertEntry) -> datetime | None:
        """Return when the alert's age brings its next status; None if it brings no further one."""
        if not entry.open:
            return None
        escalates = entry.alert.priority == "high" and entry.alert.status == "raised"
        return entry.raised_at + (min(self._escalates, self._expires) if escalates else self._expires)

    def _status_at(self, entry: AlertEntry, now: datetime) -> AlertStatus:
        alert, age = entry.alert, now - entry.raised_at
        if age >= self._expires:
            return _further(alert.status, "expired")
        if age >= self._escalates and alert.priority == "high":
            return _further(alert.status, "escalated")
        return alert.status

    def _is_owed(self, entry: AlertEntry, now: datetime) -> bool:
        identifier, status = entry.alert.identifier, entry.alert.status
        handed_out = self._handed_out.get(identifier)
        if handed_out and handed_out[0] == status and now - handed_out[1] < REPEAT_AFTER:
            return False
        self._handed_out[identifier] = (status, now)
        return True

    def _drop_excess(self) -> None:
        most_bytes = self._limit * BYTES_AN_ALERT
        if len(self._entries) <= self._limit and self._bytes <= most_bytes:
            return
        kept = self._limit - int(self._limit * DROPPED_AT_ONCE)
        kept_bytes = most_bytes - int(most_bytes * DROPPED_AT_ONCE)
        for entry in leaving_order(self._entries.values(), max(1, int(self._limit * SHARE))):
            if len(self._entries) <= kept and self._bytes <= kept_bytes:
                return
            self._forget(entry)


def rank_of(entry: AlertEntry) -> int:
    """Return the alert's place in the list: escalated alerts by priority, raised ones by priority, then closed ones."""
    if not entry.open:
        return _CLOSED
    return (0 if entry.alert.status == "escalated" else len(_PRIORITIES)) + _PRIORITIES[entry.alert.priority]


def _further(one: AlertStatus, other: AlertStatus) -> AlertStatus:
    return max(one, other, key=_STEPS.__getitem__)


def with_status(alert: Alert, status: AlertStatus) -> Alert:
    """Return the alert in another state."""
    return msgspec.structs.replace(alert, status=status)


def _merged(base: Alert, known: Alert, other: Alert) -> Alert:
    """Return one of two messages about an alert with the further status, and with the acknowledgement of either."""
    said = [by for by in (known.acknowledgement, other.acknowledgement) if by is not None]
    first = min(said, key=lambda by: (by.at, by.name), default=None)
    return msgspec.structs.replace(base, status=_further(known.status, other.status), acknowledgement=first)


def _closed_by(alert: Alert, ack: Acknowledgement) -> Alert:
    by = AcknowledgedBy(name=ack.acknowledged_by, authenticated=ack.authenticated, at=ack.acknowledged_at)
    return msgspec.structs.replace(alert, status="acknowledged", acknowledgement=by)


def _put_with(there: SizedDict[str, tuple[KeptAcknowledgement, ...]], name: str, another: KeptAcknowledgement) -> None:
    kept = with_another(there.get(name) or (), another)[:KEPT]
    there.put_sized(name, kept, sum(one.size for one in kept))


def _further_bytes(entry: AlertEntry | None) -> int:
    """Return what the acknowledgements after the first one take."""
    return 0 if entry is None else sum(one.size for one in entry.acknowledgements[1:])


def _order(entry: AlertEntry) -> tuple[int, float, str]:
    """Return what alerts are sorted by; the pages sort their rows by the same."""
    return rank_of(entry), -entry.since, entry.alert.identifier


def _fingerprint(identifier: str) -> int:
    """Return 8 bytes that stand for an identifier, which may be long."""
    return int.from_bytes(sha256(identifier.encode(errors="replace"), usedforsecurity=False).digest()[:8], "big")
