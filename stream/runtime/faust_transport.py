"""Faust's Kafka transport, with a short fetch wait, and with realtime before backfill.

Faust asks the broker to hold an empty fetch for 1.5 s. Apache Kafka still answers as soon as a record arrives. Tansu
looks again only after the wait, so a single ECG would wait there for most of a second.

Faust also takes everything at once that was fetched. From an archive that is a thousand records, and Faust looks for
more only after the lanes have taken all of them. An ECG from a bedside would wait for them all, before the batcher's
two lanes could put it first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import faust
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP

from schemas.topics import ECG_BACKFILL
from stream.broker.clients import FETCH_WAIT_MS
from stream.broker.whole_partition import go_round_unreadable_places

TAKEN_AT_ONCE = 8
"""How many records are taken before the next look for urgent ones."""
URGENT_TAKEN_AT_ONCE = 256
"""A bound on memory: a batch of a few kilobytes may hold a million records of a few bytes."""
FULL_WAIT_S = 0.02
"""How long to wait before the next look whether a full lane has room. Faust would wait for a second."""


class PromptConsumerThread(AIOKafkaConsumerThread):
    """Makes aiokafka's consumer as Faust does, except for the fetch wait, and takes urgent records first.

    Attributes:
        record_ends: the offset after the last record, for each partition whose records were all fetched. The mapping is
            replaced as a whole, because other threads read it. A partition may end later: a transaction leaves marks
            that no consumer receives.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.record_ends: Mapping[TP, int] = {}
        self._fetched: dict[TP, int] = {}

    def _create_worker_consumer(self, transport: Transport) -> Any:
        go_round_unreadable_places()
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001  Faust hard-codes the argument that sets it
        return consumer

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109  Faust's
        max_records: int | None = None,  # noqa: ARG002  there is a better bound
    ) -> Any:
        active = active_partitions.copy()  # the other thread changes it when a lane is full
        records = await self._fetch_urgent_first(consumer, active, timeout)
        self._fetched |= {partition: some[-1].offset + 1 for partition, some in (records or {}).items() if some}
        self.record_ends = {
            partition: end for partition, end in self._fetched.items() if _is_fetched_whole(consumer, partition)
        }
        return records

    async def _fetch_urgent_first(self, consumer: Any, active: set[TP], timeout: float | None) -> Any:  # noqa: ASYNC109
        urgent = {partition for partition in active if not partition.topic.endswith(ECG_BACKFILL)}
        if urgent and (
            records := await super()._fetch_records(consumer, urgent, timeout=0, max_records=URGENT_TAKEN_AT_ONCE)
        ):
            return records
        if self.consumer._buffered_partitions:  # noqa: SLF001  those of full lanes, which are not active
            timeout = FULL_WAIT_S
        return await super()._fetch_records(consumer, active, timeout=timeout, max_records=TAKEN_AT_ONCE)


def _is_fetched_whole(consumer: Any, partition: TP) -> bool:
    subscription = consumer._subscription.subscription  # noqa: SLF001  `position` would wait where there is none
    state = subscription and subscription.assignment and subscription.assignment.state_value(partition)
    return bool(
        state and state.has_valid_position and state.highwater is not None and state.position >= state.highwater
    )


class PromptConsumer(Consumer):
    """Faust's consumer on that thread."""

    _thread: PromptConsumerThread

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return PromptConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def record_ends(self) -> Mapping[TP, int]:
        """The offset after the last record, for each partition whose records were all fetched."""
        return self._thread.record_ends


class PromptTransport(Transport):
    """Faust's transport with that consumer."""

    Consumer = PromptConsumer


def use_prompt_transport(app: faust.App) -> None:
    """Make the app consume through this transport."""
    app.transport = PromptTransport(app.conf.broker_consumer, app)
