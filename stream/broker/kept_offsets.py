"""What the broker still has of a partition."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition


class Kept(NamedTuple):
    """The offset of the first record that the broker has, and the offset after the last one that may be read."""

    first: int
    end: int


async def kept_offsets(
    consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, Kept]:
    """Return what the broker has of each partition.

    Raises:
        KafkaError: it does not say.
    """
    first = await consumer.beginning_offsets(partitions)
    end = await consumer.end_offsets(partitions)
    return {partition: Kept(first[partition], end[partition]) for partition in partitions}
