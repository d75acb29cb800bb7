"""What the dashboard knows. Everything comes from the topics, and everything is bounded.

Messages of different topics come in any order, and more than once: an acknowledgement may come before its alert, and a
result before its report. So each message is merged into what is known already, and the order makes no difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from schemas import topics
from schemas.errors import MalformedRecord
from schemas.messages import Acknowledgement, Alert, CmrRequest, CmrResult, Rejection, RiskReport, decode_message
from schemas.topics import bounded_value, sound_key
from stream.alerting.acknowledgements import NOWHERE, Place
from stream.alerting.arrival import Clocks, as_of_arrival
from stream.alerting.facts import Facts
from stream.alerting.shelvings import Shelvings
from stream.bounded import RecentDict
from stream.settings import AlertSettings

from .alert_rows import AlertRows
from .doubts import Doubt
from .recent_records import RecentRecords
from .recent_rejections import RecentRejections
from .traffic import LIVE_S, Latency, Traffic
from .unanswered_input import UnansweredInput

READ_TOPICS = (
    topics.ECG_RISK,
    topics.ECG_ALERTS,
    topics.ECG_REJECTED,
    topics.CMR_REQUESTS,
    topics.CMR_RESULTS,
    topics.ECG_ALERTS_ACK,
    topics.ECG_ALERTS_SHELVED,
)
ANSWERS = (topics.ECG_RISK, topics.ECG_REJECTED)
"""Every ECG is answered on one of these topics."""
SITES_KEPT = 100


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers in the header of the pages."""

    records: int
    rejected: int
    per_minute: int
    last_report: float | None
    """When the newest report was made."""
    unanswered_since: float | None
    """Since when ECGs have arrived without an answer, if that is long ago."""
    seen: Latency | None
    """From the report's creation to its arrival here."""
    recorded: Latency | None
    """From the recording of the ECG to the arrival of its report here."""
    live_s: float = LIVE_S
    """The age up to which an ECG counts for `recorded`."""
    alerts: dict[str, int]
    """The number of alerts by status."""
    unreadable: int
    not_shown: int
    """Open alerts that are not shown, since more came than are kept."""
    shelved: int
    """Findings that raise no alert for a while, because somebody wants it so."""
    overdue: int
    """New states of alerts that nobody has published for half a minute: no keeper of alerts is at work."""
    contradictions: int
    """Reports and alerts that contradict what is kept under their record's id."""
    clock_off_s: float | None
    """How far a worker's clock is ahead of ours, if it was wrong lately."""
    sites: tuple[str, ...]
    """Where ECGs came from, in order of their names."""


class Received(NamedTuple):
    """A message as it came.

    Attributes:
        key: None if it is not one of ours.
        now: seconds since 1970.
        arrived: when it arrived; None if that is not known.
        place: where it lies on its topic, if that is known.
    """

    key: bytes | None
    value: bytes
    now: float
    arrived: datetime | None
    place: Place = NOWHERE

    @property
    def arrived_at(self) -> float:
        """When it arrived, as far as that is known, in seconds since 1970."""
        return self.now if self.arrived is None else self.arrived.timestamp()

    @property
    def size(self) -> int:
        """Bytes that may be kept of it."""
        return len(self.value) + len(self.key or b"")


class DashboardState:
    """Merges messages into its parts, which answer what the pages ask. It does no input or output.

    Args:
        capacity: how many records are kept, and how many alerts.
        started_at: seconds since 1970; what was made earlier comes from a replay.

    Attributes:
        unreadable: how many messages of each topic could not be read. Operators are told, and nobody at a bed.
    """

    def __init__(self, capacity: int, settings: AlertSettings, *, started_at: float) -> None:
        self.alerts = AlertRows(settings, limit=capacity, reported=self._reported, doubted=self._doubted)
        self.records = RecentRecords(capacity, spared=self.alerts.open_records)
        self.rejections = RecentRejections()
        self.shelvings = Shelvings()
        self.traffic = Traffic(started_at)
        self.unanswered = UnansweredInput()
        self.clocks = Clocks()
        self._sites: RecentDict[str, str] = RecentDict(SITES_KEPT)
        self.unreadable: Counter[str] = Counter()
        self._contradictions = 0
        self._receivers: dict[str, Callable[[Received], None]] = {
            topics.ECG_RISK: self._receive_report,
            topics.ECG_ALERTS: self._receive_alert,
            topics.ECG_REJECTED: self._receive_rejection,
            topics.CMR_REQUESTS: self._receive_request,
            topics.CMR_RESULTS: self._receive_result,
            topics.ECG_ALERTS_ACK: self._receive_acknowledgement,
            topics.ECG_ALERTS_SHELVED: self._receive_shelving,
        }

    def receive(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        now: float,
        *,
        arrived: float | None = None,
        place: Place = NOWHERE,
    ) -> bool:
        """Merge a message in, and return true. A message that breaks the contract is counted, and has no other effect.

        Args:
            now: seconds since 1970.
            arrived: when the message arrived, in seconds since 1970, if that is known. If not, what it says of the past
                is believed.
            place: where the message lies on its topic, if that is known.
        """
        if topic in ANSWERS:
            self.unanswered.note_answer(now)
        try:
            received = Received(sound_key(key), bounded_value(topic, value), now, _as_time(arrived), place)
            self._receivers[topic](received)
        except MalformedRecord:
            self.unreadable[topic] += 1
            return False
        return True

    def overview(self, now: float) -> Overview:
        """Return the numbers of the header."""
        return Overview(
            records=self.traffic.screened,
            rejected=self.rejections.count,
            per_minute=self.traffic.per_minute(now),
            last_report=self.traffic.last_report,
            unanswered_since=self.unanswered.since(now),
            seen=self.traffic.seen(now),
            recorded=self.traffic.recorded(now),
            alerts=self.alerts.counts(),
            unreadable=self.unreadable.total(),
            not_shown=self.alerts.not_shown,
            shelved=len(self.shelvings.at_present(datetime.fromtimestamp(now, UTC))),
            overdue=self.alerts.overdue(datetime.fromtimestamp(now, UTC)),
            contradictions=self._contradictions,
            clock_off_s=self.clocks.off_s(now),
            sites=tuple(sorted(self._sites.newest_first())),
        )

    def _reported(self, record_id: str) -> Facts | None:
        return self.records.facts(record_id)

    def _doubted(self, record_id: str) -> tuple[Doubt, ...]:
        return self.records.doubts(record_id)

    def _note_site(self, site: str | None) -> None:
        if site is not None:
            self._sites.put(site, site)

    def _receive_report(self, it: Received) -> None:
        report = decode_message(RiskReport, it.value)
        made_at = self._as_of_arrival(report.created_at, it)
        self._note_site(report.site)
        match self.records.receive_report(report, it.value, made_at):
            case "first":
                self.traffic.note(report, made_at, it.now)
                self._contradictions += self.alerts.note_report(report.record_id)
            case "repeated":
                self.alerts.note_report(report.record_id)
            case "contradicting":
                self._contradictions += 1

    def _receive_alert(self, it: Received) -> None:
        alert = decode_message(Alert, it.value)
        if not alert.risks:
            raise MalformedRecord("an alert without a risk")
        self._note_site(alert.site)
        is_known = self.alerts.get(alert.identifier) is not None
        row = self.alerts.receive(alert, it.key, arrived=it.arrived or _no_future(alert.onset, it), size=it.size)
        if alert.status == "raised":
            self.clocks.note(row.clock_off_s, it.arrived_at)
            self._contradictions += row.contradicts is not None and (not is_known or row.identifier != alert.identifier)

    def _receive_acknowledgement(self, it: Received) -> None:
        message = decode_message(Acknowledgement, it.value)
        self.alerts.acknowledge(message, key=it.key, place=it.place, arrived=it.arrived, size=it.size)

    def _receive_shelving(self, it: Received) -> None:
        self.shelvings.receive(it.value, datetime.fromtimestamp(it.now, UTC))

    def _receive_rejection(self, it: Received) -> None:
        rejection = decode_message(Rejection, it.value)
        self._note_site(rejection.site)
        self.rejections.receive(rejection, it.value)

    def _receive_request(self, it: Received) -> None:
        request = decode_message(CmrRequest, it.value)
        self.records.receive_request(request, it.value, it.key, self._as_of_arrival(request.created_at, it))

    def _receive_result(self, it: Received) -> None:
        result = decode_message(CmrResult, it.value)
        self.records.receive_result(result, it.value, self._as_of_arrival(result.created_at, it))

    def _as_of_arrival(self, said: datetime, it: Received) -> datetime:
        at = as_of_arrival(said, it.arrived or _no_future(said, it))
        self.clocks.note(None if at == said else (said - at).total_seconds(), it.arrived_at)
        return at


def _no_future(said: datetime, it: Received) -> datetime | None:
    """Return our own time as that of the arrival if a message names a later one."""
    now = datetime.fromtimestamp(it.now, UTC)
    return now if said > now else None


def _as_time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
