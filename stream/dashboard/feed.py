"""Reads the topics into the dashboard's state, tells the pages what changed, and publishes what people do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from schemas import topics
from schemas.messages import Message
from stream.alerting.acknowledgements import Place
from stream.alerting.arrival import Arrivals
from stream.broker.clients import UNHURRIED_WAIT_MS, new_consumer, new_producer, unusable
from stream.broker.event_producer import EventProducer
from stream.broker.needs import DASHBOARD
from stream.broker.newest_messages import newest_offsets, read_and_ends
from stream.broker.start_check import ready_topics
from stream.end_tasks import end_tasks
from stream.settings import Settings

from .alert_rows import AlertRow
from .events import SILENCE_S, Hub
from .state import READ_TOPICS, DashboardState, Overview

SOURCE = "urn:cardiacnets:dashboard"
TICK_S = 0.1
"""Changes within one tick go to the pages together."""
OVERVIEW_S = 1.0
AGE_S = 1.0
PROBE_S = 3.0
PROBE_TIMEOUT_S = 2.0
FAILED_PROBES = 2
"""After so many failures in a row Kafka counts as away. One alone may be our own load: an orchestrator would restart
us, and all pages would come back at once."""
MAX_RECORDS = 500
"""How many messages are taken from the client at once. In between, the pages are served."""
LIVE_READ_S = 60.0
"""What is read so long after the last time may have come in between, so its timestamp says when it arrived."""
CHUNK = 400
"""How many rows an event carries."""

log = structlog.get_logger(__name__)
_json = msgspec.json.Encoder()


class Header(msgspec.Struct, frozen=True):
    """The header of the pages."""

    state: Overview
    behind: int
    """How many messages on the topics have not been read yet."""
    kafka: bool
    redis: bool


class Feed:
    """Follows the topics while it is entered.

    It has no consumer group and commits nothing. Each start reads the newest messages of every partition again, at most
    as many as the dashboard keeps records.
    """

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self.state = DashboardState(settings.dashboard.records, settings.alerts, started_at=time.time())
        self.hub = Hub(self._snapshot)
        self._settings = settings
        self._redis = redis
        self._behind = 0
        self._kafka_up = self._redis_up = True
        self._caught_up = False
        self._arrivals = Arrivals()
        self._read_at = 0.0

    async def __aenter__(self) -> Self:
        """Connect, and start to read.

        Raises:
            DeploymentError: Kafka cannot be reached.
        """
        await ready_topics(self._settings.kafka, DASHBOARD)
        self._consumer: AIOKafkaConsumer = new_consumer(
            self._settings.kafka, READ_TOPICS, auto_offset_reset="earliest", fetch_max_wait_ms=UNHURRIED_WAIT_MS
        )
        self._producer = new_producer(self._settings.kafka)
        self._events = EventProducer(self._producer, SOURCE)
        try:
            await self._consumer.start()
            await self._producer.start()
            await self._rewind()
        except KafkaConnectionError as error:
            await self._disconnect()
            raise await unusable(self._settings.kafka, error) from error
        self._tasks = [asyncio.create_task(job()) for job in (self._read, self._tell, self._probe, self._age)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the streams of the pages, and disconnect."""
        self.hub.close()
        await end_tasks(*self._tasks)
        await self._disconnect()

    async def watch(self) -> None:
        """Wait for ever; raise the error that ends one of the jobs."""
        await asyncio.gather(*self._tasks)

    @property
    def caught_up(self) -> bool:
        """Whether all messages have been read that were there at the start, or when a partition was added."""
        return self._caught_up

    def unready(self) -> str | None:
        """Return in words why the pages do not show all that is on the topics; None if they do."""
        if not self._kafka_up:
            return "no broker answers"
        to_go = f" (messages to go: {self._behind:,})" if self._behind else ""
        return None if self._caught_up else f"still reading the topics{to_go}"

    async def publish(self, topic: str, message: Message, identifier: str, key: bytes | None) -> None:
        """Publish a message, and wait until the broker has confirmed it.

        Raises:
            KafkaError: the broker did not confirm the message in time.
            ValueError: the message breaks the contract.
        """
        await self._events.publish(topic, identifier, message, key)

    def header(self) -> Header:
        """Return the header of the pages."""
        return Header(self.state.overview(time.time()), self._behind, self._kafka_up, self._redis_up)

    # --- jobs

    async def _read(self) -> None:
        assigned = self._consumer.assignment()
        while True:
            batches = await self._consumer.getmany(timeout_ms=1000, max_records=MAX_RECORDS)
            if (
                assigned != self._consumer.assignment()
            ):  # a topic has a new partition, so the client reads everything again
                assigned, self._caught_up = self._consumer.assignment(), False
            now, is_live = time.time(), self._reads_as_they_come()
            for partition, messages in batches.items():
                name = self._settings.kafka.name_of(partition.topic)
                unreadable = [
                    m.offset
                    for m in messages
                    if not self.state.receive(
                        name,
                        m.key,
                        m.value,
                        now,
                        arrived=self._arrivals.of(partition, _seconds(m.timestamp), now, is_live=is_live),
                        place=Place(m.partition, m.offset),
                    )
                ]
                if unreadable:  # the log names their offsets, and never their content
                    log.warning("messages_unreadable", **partition._asdict(), offsets=unreadable)
            await self._measure_lag()

    def _reads_as_they_come(self) -> bool:
        """Return whether what was read just now has come since the last time, which was a moment ago."""
        last, self._read_at = self._read_at, time.monotonic()
        return self._caught_up and self._behind == 0 and self._read_at - last < LIVE_READ_S

    async def _tell(self) -> None:
        """Send what changed every tick, and the header if it changed."""
        last_sent, due = b"", 0.0
        while True:
            await asyncio.sleep(TICK_S)
            self._send_changes()
            if time.monotonic() < due:
                continue
            due = time.monotonic() + OVERVIEW_S
            if (header := _json.encode(self.header())) != last_sent:
                last_sent = header
                self.hub.publish("overview", header.decode())

    def _send_changes(self) -> None:
        # Dropped alerts go first: one that was dropped and came back is among the changed ones.
        self._send("dropped", self.state.alerts.take_dropped())
        self._send("alerts", self.state.alerts.take_changed())
        changed_records = self.state.records.take_changed()
        if self._caught_up:  # during a replay there are few pages and many records; "ready" stands for all of them
            self._send("records", changed_records)

    def _send(self, name: str, items: Sequence[AlertRow | str]) -> None:
        for chunk in _chunks(items):
            self.hub.publish(name, chunk)

    async def _age(self) -> None:
        """Give the alerts their age. The pages show it at once; to the topic the keeper of alerts brings it."""
        while True:
            await asyncio.sleep(AGE_S)
            if self._caught_up:
                self.state.alerts.due(datetime.now(UTC))

    async def _probe(self, every_s: float = PROBE_S) -> None:
        """Check whether Kafka and Redis answer. The clients reconnect by themselves, and do not report an outage."""
        failures = 0
        while True:
            failures = 0 if await self._kafka_answers() else failures + 1
            self._kafka_up = failures < FAILED_PROBES
            if failures == 0:
                await self._look_at_input()
            self._redis_up = await self._redis_answers()
            await asyncio.sleep(every_s)

    async def _kafka_answers(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self._consumer.end_offsets(self._consumer.assignment())
        except (KafkaError, TimeoutError):
            return False
        return True

    async def _look_at_input(self) -> None:
        """Note where the input topic ends. Without the right to ask, no warning about a missing worker is given."""
        topic = self._settings.kafka.topic(topics.ECG_RECORDS)
        partitions = self._consumer.partitions_for_topic(topic) or {0}  # after this question the client knows them all
        asked_at = time.time()
        with contextlib.suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                ends = await self._consumer.end_offsets([TopicPartition(topic, n) for n in partitions])
            self.state.unanswered.note_ends({partition.partition: end for partition, end in ends.items()}, asked_at)

    async def _redis_answers(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                return bool(await self._redis.ping())
        except (RedisError, OSError, TimeoutError):
            return False

    async def _measure_lag(self) -> None:
        """Compare what was read with the ends that fetches return. Tansu's end offsets lack most of the last batch.

        What an open transaction holds back cannot be read yet: a feed has caught up without it.
        """
        places = (await read_and_ends(self._consumer, self._consumer.assignment())).values()
        self._behind = sum(max(0, end - read) for read, end in places if end is not None)
        if self._behind == 0 and all(end is not None for _, end in places) and not self._caught_up:
            self._caught_up = True
            self.hub.publish("ready", "{}")  # pages that connected during the replay may have fetched too early

    # --- start and end

    async def _rewind(self) -> None:
        """Start each partition at the messages that the dashboard can keep; older ones would be dropped again."""
        most = self._settings.dashboard.records
        begins = await newest_offsets(self._consumer, self._consumer.assignment(), lambda _: most)
        for partition, offset in begins.items():
            self._consumer.seek(partition, offset)

    async def _disconnect(self) -> None:
        for client in (self._consumer, self._producer):
            with contextlib.suppress(KafkaError, OSError):
                await client.stop()

    def _snapshot(self) -> Iterable[tuple[str, str]]:
        """Yield the events that a new page starts from."""
        yield "reset", _json.encode({"silence_s": SILENCE_S}).decode()
        yield "overview", _json.encode(self.header()).decode()
        for chunk in _chunks(self.state.alerts.all()):
            yield "alerts", chunk


def _seconds(timestamp_ms: int | None) -> float:
    """Return a message's timestamp in seconds; 0 where the writer set none."""
    return (timestamp_ms or 0) / 1000


def _chunks(items: Sequence[AlertRow | str]) -> Iterable[str]:
    """Yield the items as JSON arrays of at most `CHUNK` items."""
    return (_json.encode(items[start : start + CHUNK]).decode() for start in range(0, len(items), CHUNK))
