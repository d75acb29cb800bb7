"""The keeper of alerts: moves them to escalated, expired and acknowledged on `ecg.alerts.v1`.

Of the keepers in a group one has all partitions of both topics (`eldest.py`), and the others have none. Its turn begins
when the group gives it the partitions, and ends when the group takes them back:

1. rebuild      read the newest messages of every partition, from the beginning or from `READ_BACK` messages a kept
                alert before its end. Nothing is published before the end is reached: what is on the topic is not due
2. read         merge what comes into the book (`alert_book.py`), and hand the new states on (`moves.py`)
3. commit       where a state is due. A broker refuses this to whoever has lost the partitions, and its turn is over.
                After a standstill the next heartbeats are waited for as well
4. publish      the states that are due, and wait for the broker's confirmation
5. read back    a state is published once it comes back from the topic. One that does not is due again after a minute

What is published follows from the alert, its age and its acknowledgement, and from nothing of the keeper. So where a
state is there twice, as after a keeper that stood still between 3 and 4, or after a confirmation that was lost, both
have one id and one value.

`on_moved` is where new states are handed on to a pager or the like: `moves.py` says when and how often.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaConnectionError, KafkaError

from schemas import topics
from schemas.errors import MalformedRecord
from schemas.identity import alert_event_id
from stream.broker.clients import UNHURRIED_WAIT_MS, new_consumer, new_producer, unusable
from stream.broker.event_producer import Delivery, EventProducer
from stream.broker.needs import ALERT_KEEPER
from stream.broker.newest_messages import CATCHING_UP_MS, newest_offsets, read_and_ends
from stream.broker.start_check import ready_topics
from stream.runtime.group import Group
from stream.runtime.group_look import look_at_group
from stream.runtime.reading import Partition
from stream.settings import Settings

from .acknowledgements import Place
from .alert_book import AlertEntry
from .arrival import Arrivals
from .eldest import eldest_first
from .keeper_metrics import KeeperMetrics
from .kept_alerts import KEPT_TOPICS, KeptAlerts
from .moves import Moves, OnMoved, to_nobody

SOURCE = "urn:cardiacnets:alert-keeper"
ROUND_MS = 500
"""How long a round waits for messages. It is how late a state may be published."""
MAX_RECORDS = 1_000
PUBLISHED_AT_ONCE = 500
READ_BACK = 4
"""So many messages there are of an alert: one a state."""
ASK_S = 10.0
"""How long the broker may take to say where partitions begin and end, or to take a commit."""
COMMIT_EVERY_S = 5.0
STANDSTILL_HEARTBEATS = 3
TICK_S = 0.2
LIVE_READ_S = 5.0
"""What is read so long after the last time may have come in between, so its timestamp says when it arrived."""

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class _Turn:
    """What the keeper at work holds.

    Attributes:
        has_begun: whether its partitions are read from where they are to be read.
        caught_up: whether all was read that was there when the turn began.
        handed: of each partition, the offset up to which all had been handed on when the turn began.
    """

    partitions: frozenset[TopicPartition]
    alerts: KeptAlerts
    moves: Moves
    began_at: float
    has_begun: bool = False
    caught_up: bool = False
    handed: dict[TopicPartition, int] = field(default_factory=dict)
    arrivals: Arrivals = field(default_factory=Arrivals)
    read_at: float = 0.0
    committed_at: float = 0.0


class Keeper:
    """Keeps the alerts while it is entered and `keep` runs.

    Args:
        group: of the keepers.
        on_moved: gets each new state of each alert.

    Attributes:
        rounds: a count that grows while the keeper works, and stands while it is outside its group or nothing that it
            publishes is confirmed.
    """

    def __init__(
        self, settings: Settings, metrics: KeeperMetrics, group: Group, *, on_moved: OnMoved = to_nobody
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._group = group
        self._on_moved = on_moved
        self._turn: _Turn | None = None
        self._has_place = False
        self._stack = AsyncExitStack()
        self._there_since = time.time()
        self._ticked_at = time.monotonic()
        self._stood_still_at = -math.inf
        self.rounds = 0
        group.is_joined = lambda: self._has_place

    @property
    def unready(self) -> str | None:
        """Why the keeper cannot do its work now; None if it can, or if another one does it."""
        turn = self._turn
        if self._group.unready or turn is None or turn.caught_up:
            return self._group.unready
        return f"reading the alerts for {time.monotonic() - turn.began_at:.0f} s"

    def is_rebuilding(self) -> bool:
        """Return whether later states of what is handed on may be on the topic, and unread."""
        return self._turn is not None and not self._turn.caught_up

    async def __aenter__(self) -> Self:
        """Check topics and rights, connect, and join the group.

        Raises:
            DeploymentError: Kafka cannot be reached, or refuses what the keeper needs.
        """
        kafka = self._settings.kafka
        await ready_topics(kafka, ALERT_KEEPER, self._group.name)
        self._consumer = self._new_consumer()
        self._producer = new_producer(kafka)
        self._events = EventProducer(self._producer, SOURCE)
        self._stack.push_async_callback(_stop, self._consumer)
        self._stack.push_async_callback(_stop, self._producer)
        try:
            await self._producer.start()
            self._consumer.subscribe([kafka.topic(name) for name in KEPT_TOPICS], listener=_Listener(self))
            await self._consumer.start()
        except KafkaConnectionError as error:
            await self._stack.aclose()
            raise await unusable(kafka, error) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is being handed on, say up to where it is, and leave the group: the next keeper takes over."""
        if (turn := self._turn) is not None:
            await turn.moves.finish(self._settings.process.drain_s)
            if turn.has_begun:
                await self._commit(turn)
        await self._stack.aclose()

    async def keep(self) -> None:
        """Work until cancelled, or until the broker refuses a message for good: `group` says so then."""
        ticking = asyncio.create_task(self._tick())
        try:
            await self._group.work(self._work())
        finally:
            ticking.cancel()

    # --- whose turn it is

    def _new_consumer(self) -> Any:
        kafka = self._settings.kafka
        return new_consumer(
            kafka,
            (),
            group_id=self._group.name,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=UNHURRIED_WAIT_MS,
            partition_assignment_strategy=(eldest_first(lambda: self._there_since),),
            session_timeout_ms=round(1000 * kafka.session_timeout_s),
            rebalance_timeout_ms=round(1000 * kafka.rebalance_timeout_s),
            heartbeat_interval_ms=round(1000 * kafka.heartbeat_interval_s),
        )

    def lose(self) -> None:
        """Take note that the group takes the partitions back."""
        if self._turn is not None:
            self._turn.moves.give_up()
            log.info("keeper_turn_ends")
        self._turn, self._has_place = None, False
        self._metrics.stand_by()

    def take(self, partitions: Iterable[TopicPartition]) -> None:
        """Take note of the partitions that the group gives this keeper: all or none."""
        self._has_place = True
        if own := frozenset(partitions):
            alerts = KeptAlerts(self._settings.alerts, limit=self._settings.keeper.alerts)
            self._turn = _Turn(own, alerts, Moves(self._on_moved), time.monotonic())
        log.info("keeper_turn_begins" if own else "keeper_stands_by", partitions=len(own))

    # --- the work

    async def _work(self) -> None:
        while True:
            look_at_group(self._consumer, self._group)
            if await self._round() and not self._group.outside:
                self.rounds += 1

    async def _tick(self) -> None:
        """Notice when the process stood still for so long that the group may have given it up."""
        while True:
            await asyncio.sleep(TICK_S)
            self._notice_standstill()

    def _notice_standstill(self) -> None:
        now, last = time.monotonic(), self._ticked_at
        self._ticked_at = now
        if now - last > self._settings.kafka.session_timeout_s / 2:
            self._stood_still_at = now
            self._there_since = time.time()  # another one has taken over: let it be

    def _may_be_given_up(self) -> bool:
        """Return whether it is not known yet what the group thinks, after a standstill: the next heartbeats tell."""
        self._notice_standstill()
        answered_s = STANDSTILL_HEARTBEATS * self._settings.kafka.heartbeat_interval_s
        return time.monotonic() - self._stood_still_at < answered_s

    async def _round(self) -> bool:
        """Do what there is to do now; return whether it went well."""
        turn = self._turn
        if turn is not None and not turn.has_begun:
            return await self._begin(turn)
        wait_ms = ROUND_MS if turn is None or turn.caught_up else CATCHING_UP_MS
        try:
            batches = await self._consumer.getmany(timeout_ms=wait_ms, max_records=MAX_RECORDS)
        except KafkaError as error:
            self._group.heard(error)
            await asyncio.sleep(ROUND_MS / 1000)
            return False
        if turn is None or self._turn is not turn:
            return True
        is_live = self._reads_as_they_come(turn)
        for partition, messages in batches.items():
            if partition in turn.partitions:
                self._receive(turn, partition, messages, is_live=is_live)
        await self._see_ends(turn)
        if self._turn is not turn:  # it has ended meanwhile
            return True
        published = not turn.caught_up or await self._publish_due(turn)
        if self._turn is turn:
            self._measure(turn)
        return published

    async def _begin(self, turn: _Turn) -> bool:
        """Go to where each partition is to be read from."""
        try:
            async with asyncio.timeout(ASK_S):
                most = READ_BACK * self._settings.keeper.alerts
                begins = await newest_offsets(self._consumer, turn.partitions, lambda _: most)
                ends = await self._consumer.end_offsets(turn.partitions)
                for partition in turn.partitions:
                    handed = await self._consumer.committed(partition)
                    turn.handed[partition] = ends[partition] if handed is None else handed
            if self._turn is turn:
                for partition, offset in begins.items():
                    self._consumer.seek(partition, offset)
                turn.has_begun = True
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            log.warning("keeper_place_not_found", error=repr(error), effect="it is tried again")
            await asyncio.sleep(ROUND_MS / 1000)
        return turn.has_begun

    def _reads_as_they_come(self, turn: _Turn) -> bool:
        """Return whether what was read just now has come since the last time, which was a moment ago."""
        last, turn.read_at = turn.read_at, time.monotonic()
        return turn.caught_up and turn.read_at - last < LIVE_READ_S

    def _receive(self, turn: _Turn, partition: TopicPartition, messages: Sequence[Any], *, is_live: bool) -> None:
        name, now = self._settings.kafka.name_of(partition.topic), time.time()
        unreadable = []
        for message in messages:
            arrived = turn.arrivals.of(partition, (message.timestamp or 0) / 1000, now, is_live=is_live)
            place = Place(partition.partition, message.offset)
            try:
                moved = turn.alerts.receive(name, message.key, message.value, place=place, arrived=arrived)
            except MalformedRecord:
                unreadable.append(message.offset)
                continue
            if moved is not None and message.offset >= turn.handed[partition]:
                turn.moves.hand_on(partition.partition, message.offset, moved)
        if name == topics.ECG_ALERTS and messages:
            turn.moves.read(partition.partition, messages[-1].offset + 1)
        if unreadable:  # the log names their offsets, and never their content
            log.warning("messages_unreadable", **partition._asdict(), offsets=unreadable)

    async def _see_ends(self, turn: _Turn) -> None:
        """Note how far each partition is read. A keeper has caught up without what an open transaction holds back."""
        try:
            places = await read_and_ends(self._consumer, turn.partitions)
        except (KafkaError, IllegalStateError):  # they are ours no longer
            return
        known = {partition: end for partition, (_, end) in places.items() if end is not None}
        seen = {one: Partition(read, read, read, end, end) for one, (read, end) in places.items() if end is not None}
        self._group.reading.seen(seen, map(self._settings.kafka.topic, KEPT_TOPICS))
        behind = any(places[partition][0] < end for partition, end in known.items())
        if self._turn is turn and not turn.caught_up and not behind and len(known) == len(turn.partitions):
            turn.caught_up = True
            # An offset beyond the end is of a topic that was made anew.
            turn.handed = {partition: min(offset, known[partition]) for partition, offset in turn.handed.items()}
            seconds = time.monotonic() - turn.began_at
            self._metrics.rebuilt_s.set(seconds)
            self._metrics.active.set(1)
            log.info("keeper_at_work", alerts=len(turn.alerts.book), seconds=round(seconds, 1))

    async def _publish_due(self, turn: _Turn) -> bool:
        """Publish the states that are due, if the group still is ours; return whether all went well."""
        if self._may_be_given_up():
            return True
        due = turn.alerts.book.due(datetime.now(UTC), limit=PUBLISHED_AT_ONCE)
        if not due:
            if time.monotonic() - turn.committed_at > COMMIT_EVERY_S:
                await self._commit(turn)
            return True
        if not await self._commit(turn) or self._turn is not turn:
            turn.alerts.book.hand_back(due)
            return False
        deliveries = [(entry, await self._send(turn, entry)) for entry in due]
        confirmed = [await self._is_confirmed(entry, delivery) for entry, delivery in deliveries]
        return all(confirmed)

    async def _send(self, turn: _Turn, entry: AlertEntry) -> Delivery | None:
        """Send a state; return None where it cannot be sent, which is no fault of the broker's."""
        try:
            return await self._events.send(
                topics.ECG_ALERTS,
                alert_event_id(entry.alert),
                entry.alert,
                entry.key,
                time=turn.alerts.book.became_at(entry),
            )
        except ValueError as error:  # somebody's message, which a later version of us would refuse
            log.warning("alert_not_published", error=str(error), effect="this state of an alert is not published")
            return None

    async def _is_confirmed(self, entry: AlertEntry, delivery: Delivery | None) -> bool:
        """Return whether the broker has confirmed a state, or there is none to confirm."""
        if delivery is None:
            return True
        try:
            await delivery
        except KafkaError as error:
            log.warning(
                "alert_not_published", error=type(error).__name__, effect="it is published again after a minute"
            )
            return False
        self._metrics.moved.labels(entry.alert.status).inc()
        return True

    async def _commit(self, turn: _Turn) -> bool:
        """Say up to where the new states are handed on; return false where the group is not ours any more."""
        offsets = {}
        for partition in turn.partitions:
            handed = turn.handed[partition]
            if partition.topic == self._settings.kafka.topic(topics.ECG_ALERTS):
                handed = max(handed, turn.moves.done(partition.partition) or 0)
            else:
                with contextlib.suppress(KafkaError, IllegalStateError):
                    handed = max(handed, await self._consumer.position(partition))
            offsets[partition] = handed
        try:
            async with asyncio.timeout(ASK_S):
                await self._consumer.commit(offsets)
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            log.warning("keeper_not_committed", error=repr(error), effect="nothing is published before it is")
            return False
        turn.committed_at = time.monotonic()
        return True

    def _measure(self, turn: _Turn) -> None:
        book, now = turn.alerts.book, datetime.now(UTC)
        for status, number in book.counts().items():
            self._metrics.alerts.labels(status).set(number)
        for topic, number in turn.alerts.unreadable.items():
            self._metrics.unreadable.labels(topic).set(number)
        self._metrics.overdue.set(book.overdue(now))
        self._metrics.not_kept.set(book.not_shown)
        self._metrics.passed_over.set(turn.moves.passed_over)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002  they are all or none
        self._keeper.lose()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._keeper.take(assigned)


async def _stop(client: Any) -> None:
    with contextlib.suppress(KafkaError, OSError):
        await client.stop()
