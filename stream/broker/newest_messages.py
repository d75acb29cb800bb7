"""Reading the newest messages of topics: where to begin, and how far it is to the end."""

from __future__ import annotations

from collections.abc import Callable, Collection

from aiokafka import AIOKafkaConsumer, TopicPartition

from .clients import readable_end

CATCHING_UP_MS = 50
"""How long a look for messages waits until all was read that is there: nothing is waited for that is not there."""


async def newest_offsets(
    consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition], most: Callable[[TopicPartition], int]
) -> dict[TopicPartition, int]:
    """Return the offset of each partition from which at most `most` messages follow, and never one that is gone.

    Raises:
        KafkaError: the broker does not say.
    """
    first = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    return {partition: max(first[partition], ends[partition] - most(partition)) for partition in partitions}


async def read_and_ends(
    consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, tuple[int, int | None]]:
    """Return of each partition up to where it is read, and where what can be read ends (see `readable_end`).

    Raises:
        KafkaError, IllegalStateError: a partition is the consumer's no longer.
    """
    return {
        partition: (await consumer.position(partition), readable_end(consumer, partition)) for partition in partitions
    }
