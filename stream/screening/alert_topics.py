"""Reads what all workers have raised, and what people have shelved, so that a worker's rules hold for the whole site.

A worker that takes a partition over knows what the one before it raised there, and one that started a moment ago knows
what was raised while it was not there. Where a patient's ECGs lie on two partitions, since two producers share them out
differently, each worker learns within a moment what the other one raised.

Nothing waits for it: an alert that is decided in that moment goes out once too often. So does every alert while the
topics cannot be read.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from engines.batcher import Lane
from schemas.errors import MalformedRecord
from schemas.messages import Alert, decode_message
from schemas.topics import ECG_ALERTS, ECG_ALERTS_SHELVED, bounded_value
from stream.alerting.shelvings import SHELVINGS_KEPT, Shelvings
from stream.broker.clients import UNHURRIED_WAIT_MS, new_consumer
from stream.broker.newest_messages import CATCHING_UP_MS, newest_offsets, read_and_ends
from stream.end_tasks import end_tasks
from stream.settings import AlertSettings, KafkaSettings

from .alert_suppression import HOUR, AlertSuppressor

READ = {ECG_ALERTS: 20_000, ECG_ALERTS_SHELVED: SHELVINGS_KEPT}
"""So many of the newest messages of a partition are read at the start."""
START_S = 10.0
"""A worker begins after this long all the same: a late alert is worse than one that comes twice."""
ROUND_MS = 1_000
MAX_RECORDS = 500
CLOCKS_S = 600.0
"""How much older what is read may be than the rules look back: timestamps are those of other clocks."""

log = structlog.get_logger(__name__)


class AlertTopics:
    """Tells the lanes' suppressors what is on the topics, while it is entered.

    Args:
        suppressors: by lane; a lane that raises no alerts has none.
        shelvings: get what people have shelved.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        alerts: AlertSettings,
        suppressors: Mapping[Lane, AlertSuppressor],
        shelvings: Shelvings,
    ) -> None:
        self._kafka = kafka
        self._looks_back_s = max(alerts.refractory_s, HOUR.total_seconds()) + CLOCKS_S
        self._suppressors = {lane.value.encode(): one for lane, one in suppressors.items()}
        self._shelvings = shelvings
        self._has_caught_up = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Begin to read, and return when all was read that is there, or after `START_S`."""
        self._task = asyncio.create_task(self._read())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                await self._has_caught_up.wait()
        if not self._has_caught_up.is_set():
            log.warning("alerts_not_read", effect="until they are, a patient's alert may be raised once too often")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Read no more."""
        await end_tasks(self._task)

    async def _read(self) -> None:
        while True:
            try:
                await self._follow()
            except (KafkaError, OSError) as error:
                log.warning("alerts_not_read", error=repr(error), effect="it is tried again")
                await asyncio.sleep(ROUND_MS / 1000)

    async def _follow(self) -> None:
        consumer = new_consumer(self._kafka, READ, auto_offset_reset="earliest", fetch_max_wait_ms=UNHURRIED_WAIT_MS)
        try:
            await consumer.start()
            await self._rewind(consumer)
            while True:
                wait_ms = ROUND_MS if self._has_caught_up.is_set() else CATCHING_UP_MS
                batches = await consumer.getmany(timeout_ms=wait_ms, max_records=MAX_RECORDS)
                for partition, messages in batches.items():
                    self._learn(partition, messages)
                if not self._has_caught_up.is_set() and await _is_at_end(consumer):
                    self._has_caught_up.set()
        finally:
            await consumer.stop()

    async def _rewind(self, consumer: AIOKafkaConsumer) -> None:
        """Begin where the rules look back to, or at the newest messages that are read."""
        partitions = consumer.assignment()
        begins = await newest_offsets(consumer, partitions, lambda one: READ[self._kafka.name_of(one.topic)])
        of_alerts = [one for one in partitions if one.topic == self._kafka.topic(ECG_ALERTS)]
        since_ms = round(1000 * (time.time() - self._looks_back_s))
        by_time = await consumer.offsets_for_times(dict.fromkeys(of_alerts, since_ms))
        ends = await consumer.end_offsets(of_alerts)  # where nothing is as young
        recent = {one: ends[one] if found is None else found.offset for one, found in by_time.items()}
        for partition, newest in begins.items():
            consumer.seek(partition, max(newest, recent.get(partition, 0)))

    def _learn(self, partition: TopicPartition, messages: Iterable[Any]) -> None:
        unreadable = []
        for message in messages:
            try:
                if partition.topic == self._kafka.topic(ECG_ALERTS):
                    self._learn_alert(message)
                else:
                    self._shelvings.receive(message.value, datetime.now(UTC))
            except MalformedRecord:
                unreadable.append(message.offset)
        if unreadable:  # the log names their offsets, and never their content
            log.warning("messages_unreadable", **partition._asdict(), offsets=unreadable)

    def _learn_alert(self, message: Any) -> None:
        alert = decode_message(Alert, bounded_value(ECG_ALERTS, message.value))
        lane = dict(message.headers).get("ce_lane", Lane.REALTIME.value.encode())
        suppressor = self._suppressors.get(lane)
        if suppressor is not None and alert.status == "raised" and len(alert.risks) == 1:
            suppressor.learn(alert, datetime.now(UTC))


async def _is_at_end(consumer: AIOKafkaConsumer) -> bool:
    places = await read_and_ends(consumer, consumer.assignment())
    return all(end is not None and read >= end for read, end in places.values())
