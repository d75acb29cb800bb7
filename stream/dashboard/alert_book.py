"""The alerts of a ward, and the state of each: raised, escalated, expired, acknowledged.

    raised ──(high priority, and nobody acknowledged it)──▶ escalated
      │                                                        │
      ├─────────────(nobody acknowledged it)───────────────────┴──▶ expired
      │                                                                │
      └────────────────────(somebody acknowledged it)──────────────────┴──▶ acknowledged

An alert only moves forward, in the order of `ALERT_STATUSES`. So messages may come in any order and any number of
times, replayed or live: the book is the same in the end. A person can still acknowledge an alert that has expired.
`acknowledgements.py` says which acknowledgement closes an alert.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Self

import msgspec

from schemas.identity import contradicting_alert_id
from schemas.messages import ALERT_STATUSES, Acknowledgement, Alert, AlertStatus, Disease
from stream.bounded import RecentDict, SizedDict
from stream.settings import AlertSettings

from .acknowledgements import KEPT, NOWHERE, KeptAcknowledgement, Place, bounded, closes, in_order, with_another
from .alert_drops import SHARE, leaving_order
from .arrival import as_of_arrival
from .belonging import contradiction, facts_of

OPEN: tuple[AlertStatus, ...] = ("raised", "escalated")
REPEAT_AFTER = timedelta(seconds=60)
"""A new state that has not come back from its topic by then is due again."""
DROPPED_AT_ONCE = 0.05
"""The share of a full book that is dropped together, so that the book is not sorted for every further alert."""
BYTES_AN_ALERT = 3 * 2**10
"""The bound on the alerts of a full book, in the mean: an alert takes 1 kB. The bound on acknowledgements that came
before their alerts is the same."""
FURTHER_BYTES = 4 * 2**20
"""The bound on all acknowledgements of alerts that have one already. Nobody needs several, and many can be forged."""
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
        self._further_bytes = 0
        self._not_shown: RecentDict[int, datetime] = RecentDict(NOT_SHOWN_KEPT)
        self._handed_out: dict[str, tuple[AlertStatus, datetime]] = {}

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
            entry = self._acknowledged(entry, self._early.pop(alert.identifier) or ())
        else:
            first = raised_at < known.raised_at  # a redelivered record may be screened again
            entry = replace(
                known,
                alert=_with_status(alert if first else known.alert, _further(known.alert.status, alert.status)),
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

    def _forget(self, entry: AlertEntry) -> None:
        identifier, record_id = entry.alert.identifier, entry.alert.record_id
        del self._entries[identifier]
        self._bytes -= entry.size
        self._further_bytes -= _further_bytes(entry)
        self._handed_out.pop(identifier, None)
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
        """Take in a message of `ecg.alerts.ack.v1`, or a person's click; return its alert as it stands now.

        If the acknowledgement comes before its alert, it is kept for the alert, and None is returned. The returned
        alert is for the pages. `due` returns what is to be published.

        Args:
            key: of the message.
            place: where the message lies; what was clicked has none.
            arrived: when the message arrived, if that is known.
            size: bytes that are kept of it.
        """
        kept = KeptAcknowledgement(ack, key, place, arrived, size)
        known = self._entries.get(ack.identifier)
        if known is None:
            early = with_another(self._early.get(ack.identifier) or (), kept)[:KEPT]
            self._early.put_sized(ack.identifier, early, sum(one.size for one in early))
            self._not_shown.pop(_fingerprint(ack.identifier))
            return None
        entry = self._acknowledged(known, with_another(known.acknowledgements, kept))
        self._entries[ack.identifier] = entry
        return entry.alert

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
        return replace(entry, alert=_with_status(entry.alert, "acknowledged"))

    def due(self, now: datetime) -> list[AlertEntry]:
        """Return the alerts whose new status is to be published now: acknowledged, escalated or expired.

        Each is returned once, and again after `REPEAT_AFTER` until `receive_alert` has seen its new status. Do not call
        this during a replay: states that are on the topic already would be due.
        """
        self._not_shown.drop_while(lambda raised_at: now - raised_at >= self._expires)
        return [entry for entry in self._aged(now) if self._is_owed(entry, now)]

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

        names = self._entries if record_id is None else self._of_record.get(record_id, ())
        matches = (entry for entry in map(self._entries.__getitem__, names) if fits(entry.alert))
        return heapq.nsmallest(limit, matches, key=_order)

    def open_records(self) -> set[str]:
        """Return the ids of the records that have an open alert."""
        return {entry.alert.record_id for entry in self._entries.values() if entry.open}

    def counts(self) -> dict[AlertStatus, int]:
        """Return the number of alerts by status."""
        numbers = Counter(entry.alert.status for entry in self._entries.values())
        return {status: numbers[status] for status in ALERT_STATUSES}

    def _aged(self, now: datetime) -> Iterator[AlertEntry]:
        """Yield every alert with the status that it has at its present age."""
        for identifier, entry in self._entries.items():
            status = self._status_at(entry, now)
            if status != entry.alert.status:
                entry = replace(entry, alert=_with_status(entry.alert, status))  # noqa: PLW2901
                self._entries[identifier] = entry
            yield entry

    def _status_at(self, entry: AlertEntry, now: datetime) -> AlertStatus:
        alert, age = entry.alert, now - entry.raised_at
        if age >= self._expires:
            return _further(alert.status, "expired")
        if age >= self._escalates and alert.priority == "high":
            return _further(alert.status, "escalated")
        return alert.status

    def _is_owed(self, entry: AlertEntry, now: datetime) -> bool:
        identifier, status = entry.alert.identifier, entry.alert.status
        if status == entry.announced:
            self._handed_out.pop(identifier, None)
            return False
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


def _with_status(alert: Alert, status: AlertStatus) -> Alert:
    return msgspec.structs.replace(alert, status=status)


def _further_bytes(entry: AlertEntry | None) -> int:
    """Return what the acknowledgements after the first one take."""
    return 0 if entry is None else sum(one.size for one in entry.acknowledgements[1:])


def _order(entry: AlertEntry) -> tuple[int, float, str]:
    """Return what alerts are sorted by; the pages sort their rows by the same."""
    return rank_of(entry), -entry.since, entry.alert.identifier


def _fingerprint(identifier: str) -> int:
    """Return 8 bytes that stand for an identifier, which may be long."""
    return int.from_bytes(sha256(identifier.encode(errors="replace"), usedforsecurity=False).digest()[:8], "big")
