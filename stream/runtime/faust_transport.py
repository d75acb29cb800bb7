"""Faust's Kafka transport, with a fetch wait that suits the broker, and with realtime before backfill.

Faust asks the broker to hold an empty fetch for 1.5 s. Tansu looks again only after the wait, so a single ECG would
wait there for most of a second.

Faust also takes everything at once that was fetched. From an archive that is a thousand records, and Faust looks for
more only after the lanes have taken all of them. An ECG from a bedside would wait for them all, before the batcher's
two lanes could put it first.

aiokafka keeps what goes wrong with the group until somebody asks, and Faust does not ask. So the consumer is looked at
once a second, and each look says that the process lives: aiokafka would leave the group if it had no partitions for a
while. Nor does aiokafka say that records were deleted before they were read. It is told to raise, and where to go on is
decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Coroutine, Iterator, Mapping
from typing import Any, cast

import faust
import structlog
from aiokafka.errors import (
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from mode import Service

from schemas.topics import ECG_BACKFILL
from stream.broker.kept_offsets import kept_offsets
from stream.broker.patient_fetcher import fetch_patiently
from stream.broker.whole_partition import go_round_unreadable_places

from .begun_at_once import Occasions, begin_at_once
from .group import Group
from .group_look import look_at_group
from .reading import Partition

TAKEN_AT_ONCE = 8
"""How many records are taken before the next look for urgent ones."""
URGENT_TAKEN_AT_ONCE = 256
"""A bound on memory: a batch of a few kilobytes may hold a million records of a few bytes."""
FULL_WAIT_S = 0.02
"""How long to wait before the next look whether a full lane has room. Faust would wait for a second."""
COMMIT_TRY_S = 5.0
"""How long to try before the next look whether the partitions to commit are still there."""
LOOK_S = 1.0

log = structlog.get_logger(__name__)


class PromptConsumerThread(AIOKafkaConsumerThread):
    """Makes aiokafka's consumer as Faust does but for two arguments and takes urgent records first."""

    consumer: PromptConsumer

    def __init__(self, *arguments: Any, group: Group, isolation_level: str, fetch_wait_ms: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._group = group
        self._isolation_level = isolation_level
        self._fetch_wait_ms = fetch_wait_ms
        self._taken: dict[TP, int] = {}
        self._begun: dict[TP, int] = {}

    def _create_worker_consumer(self, transport: Transport) -> Any:
        go_round_unreadable_places()
        fetch_patiently()
        consumer = super()._create_worker_consumer(transport)
        # Faust hard-codes the arguments that set these.
        consumer._fetch_max_wait_ms = self._fetch_wait_ms  # noqa: SLF001
        consumer._isolation_level = self._isolation_level  # noqa: SLF001
        return consumer

    # --- records

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109  Faust's
        max_records: int | None = None,  # noqa: ARG002  there is a better bound
    ) -> Any:
        active = active_partitions.copy()  # the other thread changes it when a lane is full
        try:
            records = await self._fetch_urgent_first(consumer, active, timeout)
        except OffsetOutOfRangeError as error:
            return await self._find_place(consumer, error.args[0])
        except NoOffsetForPartitionError as error:
            return await self._begin(consumer, error.args)
        except KafkaError as error:  # aiokafka raises here too what it keeps until somebody asks
            self._group.heard(error)
            return {}
        self._taken |= {partition: some[-1].offset + 1 for partition, some in (records or {}).items() if some}
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

    # --- where to begin

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Go to where the group has acknowledged, and to the first record where it has not."""
        committed: Mapping[TP, int] = await self.call_thread(self._seek_to_committed)
        return committed

    async def _seek_to_committed(self) -> Mapping[TP, int | None]:
        consumer = self._ensure_consumer()
        committed: Mapping[TP, int | None] = await consumer.seek_to_committed()
        self._taken = {}
        self._begun = {partition: offset for partition, offset in committed.items() if offset is not None}
        await self._begin(consumer, [partition for partition, offset in committed.items() if offset is None])
        return committed

    async def _begin(self, consumer: Any, partitions: Collection[TP]) -> Mapping[TP, Any]:
        """Go to the first record of partitions of which the group has no offset."""
        with _tried_again():
            for partition, kept in (await kept_offsets(consumer, partitions) if partitions else {}).items():
                self._group.reading.begins(partition, kept)
                self._go_to(consumer, partition, kept.first)
        return {}

    async def _find_place(self, consumer: Any, positions: Mapping[TP, int]) -> Mapping[TP, Any]:
        """Go to the first record of partitions that do not have what was to be read next."""
        with _tried_again():
            for partition, kept in (await kept_offsets(consumer, positions)).items():
                position = positions[partition]
                if position < kept.first:
                    self._group.reading.lost(partition, position, kept)
                elif position > kept.end:
                    self._group.reading.begins_again(partition, position, kept)
                    await self._in_main_thread(self.consumer.begin_again(partition))
                else:  # it was out of reach for a moment
                    self._go_to(consumer, partition, position)
                    continue
                self._go_to(consumer, partition, kept.first)
                await consumer.commit({partition: OffsetAndMetadata(kept.first, "")})
        return {}

    def _go_to(self, consumer: Any, partition: TP, offset: int) -> None:
        consumer.seek(partition, offset)
        self._begun[partition] = offset
        self._taken.pop(partition, None)

    async def _in_main_thread(self, coroutine: Any) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.parent_loop))

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit the partitions that there are. aiokafka tries for ever to commit one that there is no longer."""
        while there := {partition: offset for partition, offset in offsets.items() if self._is_there(partition)}:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(COMMIT_TRY_S):
                    return bool(await super()._commit(there))
        return False

    def _is_there(self, partition: TP) -> bool:
        cluster = self._ensure_consumer()._client.cluster  # noqa: SLF001
        return partition.partition in (cluster.partitions_for_topic(partition.topic) or ())

    # --- what is looked at once a second

    def look(self) -> None:
        """Say that the process lives, and take note of the group and of the partitions."""
        consumer: Any = self._consumer
        if consumer is None or consumer._closed or consumer._fetcher is None:  # noqa: SLF001
            return
        with consumer._subscription.fetch_context():  # noqa: SLF001  what aiokafka takes for a sign of life
            pass
        look_at_group(consumer, self._group)
        self._group.reading.seen(self._partitions(consumer), consumer.subscription())

    def _partitions(self, consumer: Any) -> dict[Any, Partition]:
        subscription = consumer._subscription.subscription  # noqa: SLF001  `position` would wait where there is none
        assignment = subscription and subscription.assignment
        states = {partition: assignment.state_value(partition) for partition in assignment.tps} if assignment else {}
        return {
            partition: self._partition(partition, state)
            for partition, state in states.items()
            if state is not None and state.has_valid_position and state.highwater is not None
        }

    def _partition(self, partition: Any, state: Any) -> Partition:
        done = max(self.consumer.committed_offset(partition), self._begun.get(partition, 0))
        is_uncommitted = self._isolation_level == "read_uncommitted" or state.lso is None or state.lso < 0
        stable = state.highwater if is_uncommitted else min(state.lso, state.highwater)
        return Partition(done, self._taken.get(partition, done), state.position, stable, state.highwater)


@contextlib.contextmanager
def _tried_again() -> Iterator[None]:
    """Go on after what the next fetch will meet again, if it lasts."""
    try:
        yield
    except (KafkaError, IllegalStateError) as error:  # the broker does not say, or the partition is ours no longer
        log.warning("place_not_found", error=str(error) or type(error).__name__, effect="it is tried again")


class PromptConsumer(Consumer):
    """Faust's consumer on that thread.

    Lanes acknowledge the records of a partition in the order in which they came. So a partition is acknowledged up to
    the last record of them, whatever lies between two records: marks of transactions, what they took back, what was
    deleted. Faust would list every such offset, and would stop for ever behind a first record that such offsets follow.
    """

    _thread: PromptConsumerThread

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        transport = cast("PromptTransport", self.transport)
        return PromptConsumerThread(
            self,
            loop=self.loop,
            beacon=self.beacon,
            group=transport.group,
            isolation_level=transport.isolation_level,
            fetch_wait_ms=transport.fetch_wait_ms,
        )

    @Service.task
    async def _look(self) -> None:
        """Have the thread look once a second, as long as this thread lives too."""
        while not self.should_stop:
            self._thread.thread_loop.call_soon_threadsafe(self._thread.look)
            await self.sleep(LOOK_S)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Hand on what is fetched, as Faust does. Faust makes four tasks a message, and most of them need none.

        A message waits where a lane is full, until there is room, the partitions move, or the process stops.
        """
        ends = Occasions(self.suspend_flow, self._stopped, self._crashed)
        try:
            while not (self.should_stop or fetcher.should_stop):
                await asyncio.sleep(0)
                async for partition, message in self.getmany(timeout=1.0):
                    read = self._read_offset[partition]
                    if read is None or message.offset >= read:
                        await begin_at_once(cast("Coroutine[Any, Any, None]", self.callback(message)), ends)
                        self._read_offset[partition] = message.offset
        except (ConsumerStoppedError, asyncio.CancelledError):
            if not self.transport.app.should_stop:
                raise
        finally:
            ends.close()

    def committed_offset(self, partition: TP) -> int:
        """Return up to where a partition is acknowledged, as far as this process knows."""
        return self._committed_offset.get(partition) or 0

    async def begin_again(self, partition: TP) -> None:
        """Forget how far a partition was read, and what of it is still being worked on."""
        await self.maybe_wait_for_commit_to_finish()
        for message in [message for message in self._unacked_messages if message.tp == partition]:
            message.acked = True  # its number belongs to another record now
            self._unacked_messages.discard(message)
        for known in (self._acked, self._acked_index, self._read_offset, self._committed_offset):
            known.pop(partition, None)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        pass

    def _new_offset(self, tp: TP) -> int | None:
        acknowledged = self._acked[tp]
        if not acknowledged:
            return None
        newest = max(acknowledged)
        acknowledged.clear()
        self._acked_index[tp].clear()
        return newest + 1


class PromptTransport(Transport):
    """Faust's transport with that consumer."""

    Consumer = PromptConsumer
    group: Group
    isolation_level: str
    fetch_wait_ms: int


def use_prompt_transport(app: faust.App, group: Group, isolation_level: str, fetch_wait_ms: int) -> None:
    """Make the app consume through this transport, and write down what the group shows."""
    transport = PromptTransport(app.conf.broker_consumer, app)
    transport.group, transport.isolation_level, transport.fetch_wait_ms = group, isolation_level, fetch_wait_ms
    app.transport = transport
