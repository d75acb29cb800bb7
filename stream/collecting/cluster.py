"""What a Kafka cluster says of the topics of answers: their partitions, and where each begins and ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError, for_code

from schemas.errors import DeploymentError
from stream.broker.clients import connection, new_consumer, unusable
from stream.broker.needs import COLLECT
from stream.broker.start_check import find, tell
from stream.settings import KafkaSettings

from .answers import KINDS, Kind
from .ranges import Place

ANSWER_S = 60.0
"""How long the broker has to answer a question."""
CLOSE_S = 5.0
FETCH_BYTES = 2**20
"""Of a partition at once: each partition of two topics may have so much in memory."""


class Limits(NamedTuple):
    """The first offset that a partition still has, and the one behind its last committed one."""

    begin: int
    end: int


class Cluster:
    """A consumer without a group, of committed transactions alone, and the questions that it can ask."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            DeploymentError: the broker cannot be reached, or refuses, or the account lacks a right.
        """
        self._admin = AIOKafkaAdminClient(**connection(self.settings))
        self.consumer: AIOKafkaConsumer = new_consumer(
            self.settings,
            (),
            isolation_level="read_committed",
            auto_offset_reset="none",
            enable_auto_commit=False,
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        try:
            await self._admin.start()
            await self.consumer.start()
            self.consumer.assign([])  # a consumer that was never assigned anything cannot be stopped in peace
            tell(self.settings, COLLECT, await find(self._admin, self.settings, COLLECT))
        except KafkaConnectionError as error:
            await self.__aexit__(None, None, None)
            raise await unusable(self.settings, error) from error
        except DeploymentError:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect. A client whose broker is away may be cancelled while it does, and that is not ours."""
        closing = [asyncio.create_task(job) for job in (self.consumer.stop(), self._admin.close())]
        await asyncio.wait(closing, timeout=CLOSE_S)
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)

    async def identifier(self) -> str | None:
        """Return the id of the cluster, where it has one."""
        async with self._answer("which cluster it is"):
            identifier = (await self._admin.describe_cluster()).get("cluster_id")
        return identifier if isinstance(identifier, str) else None

    async def places(self) -> dict[Place, Kind[Any]]:
        """Return the partitions of the topics.

        Raises:
            DeploymentError: a topic is not there, or may not be read, or the broker does not answer.
        """
        kinds = {self.settings.topic(kind.topic): kind for kind in KINDS}
        async with self._answer("which topics it has"):
            there = set(await self._admin.list_topics())  # to ask for a topic may create it
            if missing := [name for name in kinds if name not in there]:
                raise self._no_topic(missing[0], "the broker names none")
            described = await self._admin.describe_topics(list(kinds))
        return {place: kinds[place.topic] for topic in described for place in self._partitions(topic)}

    def _partitions(self, topic: Mapping[str, Any]) -> list[Place]:
        if topic["error_code"]:
            raise self._no_topic(topic["topic"], for_code(topic["error_code"]).__name__)
        return [Place(topic["topic"], one["partition"]) for one in topic["partitions"]]

    def _no_topic(self, name: str, why: str) -> DeploymentError:
        advice = "a worker creates it when it starts; is CARDIACNETS_TOPIC_PREFIX right, and may this account read it?"
        return DeploymentError(f"there is no topic {name} at {self.settings.broker} ({why}): {advice}")

    def stable_end(self, place: Place) -> int | None:
        """Return the offset behind a partition's last committed one, as its last fetch said; None before that.

        The embedded broker says it right only there.
        """
        partition = TopicPartition(*place)
        stable = self.consumer.last_stable_offset(partition)
        end = stable if stable is not None and stable >= 0 else self.consumer.highwater(partition)
        return None if end is None else int(end)

    async def limits(self, places: list[Place]) -> dict[Place, Limits]:
        """Return where the partitions begin and end now.

        Raises:
            DeploymentError: the broker does not say so in time, or refuses.
        """
        partitions = [TopicPartition(*place) for place in places]
        async with self._answer("where its topics begin and end"):
            begins = await self.consumer.beginning_offsets(partitions)
            ends = await self.consumer.end_offsets(partitions)
        return {Place(*one): Limits(begins[one], ends[one]) for one in partitions}

    @asynccontextmanager
    async def _answer(self, question: str) -> AsyncIterator[None]:
        """Bound the time of a question, and say in a sentence that the broker does not answer it."""
        try:
            async with asyncio.timeout(ANSWER_S):
                yield
        except (KafkaError, OSError, TimeoutError) as error:
            sentence = f"Kafka at {self.settings.broker} does not say {question} ({error!r})"
            raise DeploymentError(f"{sentence}; what was read is kept, and the same command goes on") from error
