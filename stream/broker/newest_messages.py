"""Where to begin in the partitions of topics of which the newest messages are wanted alone."""

from __future__ import annotations

from collections.abc import Callable, Collection

from aiokafka import AIOKafkaConsumer, TopicPartition


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
