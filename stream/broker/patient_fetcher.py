"""How long a broker may hold a fetch that finds nothing, by what the broker is.

Apache Kafka answers as soon as a record arrives, so a long wait costs no time, and saves both sides most of their work
while nothing happens. Tansu looks again only after the wait, so a record that arrives meanwhile lies there until then.

Apache Kafka refuses to be asked for what lies behind the end of a partition. Tansu has nothing there, and says where
the end is. It lies before our place if the broker has lost its data, and then both are treated alike.

aiokafka has one wait for a consumer, and makes its fetcher itself. So the name of the fetcher is replaced.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import consumer as consumer_module
from aiokafka.consumer.fetcher import Fetcher, OffsetResetStrategy
from aiokafka.errors import OffsetOutOfRangeError

PROMPT_WAIT_MS = 500
LOOK_S = 0.5
"""How often the fetcher looks for what nobody tells it, such as another leader of a partition. aiokafka's 0.2 s wakes
an idle process five times a second."""
OFFSET_FOR_LEADER_EPOCH = 23
"""A request that every Kafka since 0.11 knows, and Tansu does not."""


class PatientFetcher(Fetcher):  # type: ignore[misc]  # aiokafka is untyped
    """Fetches with the consumer's own wait before Tansu, and with a long one before Kafka.

    Attributes:
        short_wait_ms: the wait before Tansu.
    """

    def __init__(self, *arguments: Any, fetch_max_wait_ms: int, fetcher_timeout: float, **options: Any) -> None:
        self.short_wait_ms = fetch_max_wait_ms
        self._is_prompt: bool | None = None
        timeout = max(fetcher_timeout, LOOK_S)
        super().__init__(*arguments, fetch_max_wait_ms=fetch_max_wait_ms, fetcher_timeout=timeout, **options)

    async def close(self) -> None:
        """End with all that is under way. aiokafka would raise where a fetch waits for a broker that is away."""
        self._fetch_task.cancel()
        under_way = set(self._pending_tasks)
        for task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way)
        self._pending_tasks.clear()
        await super().close()

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> bool:
        has_news = await super()._proc_fetch_request(assignment, node_id, request)
        if assignment.active:
            for topic, partitions in request.topics:
                for number, *_ in partitions:
                    has_news |= self._is_beyond_the_end(assignment, TopicPartition(topic, number))
        return bool(has_news)

    def _is_beyond_the_end(self, assignment: Any, partition: TopicPartition) -> bool:
        """Return whether nothing can be where the partition is read next; it is treated as Kafka's refusal is."""
        state = assignment.state_value(partition)
        if partition in self._records or not state.has_valid_position or state.highwater is None:
            return False
        if state.position <= state.highwater:
            return False
        if self._default_reset_strategy == OffsetResetStrategy.NONE:
            self._set_error(partition, OffsetOutOfRangeError({partition: state.position}))
        else:
            state.await_reset(self._default_reset_strategy)
        return True

    def _get_actions_per_node(self, assignment: Any) -> Any:
        # What is fetched and not taken yet is left out of a fetch. It must not wait for the end of that fetch then.
        is_patient = not self._records and self._broker_is_prompt()
        self._fetch_max_wait_ms = PROMPT_WAIT_MS if is_patient else self.short_wait_ms
        return super()._get_actions_per_node(assignment)

    def _broker_is_prompt(self) -> bool:
        """Return whether the broker answers a fetch as soon as a record arrives, once a connection has shown it."""
        if self._is_prompt is None and (known := self._known_requests()):
            self._is_prompt = OFFSET_FOR_LEADER_EPOCH in known
        return bool(self._is_prompt)

    def _known_requests(self) -> Any:
        return next((connection._versions for connection in self._client._conns.values()), None)  # noqa: SLF001


def become_unhurried(consumer: AIOKafkaConsumer, wait_ms: int) -> None:
    """Have a consumer that runs wait so long before Tansu from its next fetch on."""
    consumer._fetcher.short_wait_ms = wait_ms  # noqa: SLF001


def fetch_patiently() -> None:
    """Have every consumer of this process fetch so; once is enough, and more does no harm."""
    consumer_module.Fetcher = PatientFetcher
