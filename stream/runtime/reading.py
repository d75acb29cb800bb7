"""What is left to read in the partitions that are assigned here, what cannot be read yet, and what was lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import structlog
from aiokafka import TopicPartition

from stream.broker.kept_offsets import Kept

HANGS_S = 60.0
"""A transaction that is open for so long is said to hang. Producers of Kafka end theirs after 60 s by default."""

log = structlog.get_logger(__name__)


class Partition(NamedTuple):
    """How far a partition is read.

    Attributes:
        done: up to where it is acknowledged.
        taken: the offset after the last record that was taken from it.
        position: where the next fetch begins; what lies between is no record.
        stable: the first offset of an open transaction, or the end.
        end: the offset after all that the broker has.
    """

    done: int
    taken: int
    position: int
    stable: int
    end: int

    @property
    def left(self) -> int:
        """How many offsets are not acknowledged, without those that were passed over behind the last record."""
        return self._at_work + max(0, self.end - self.position)

    @property
    def readable(self) -> int:
        """How many of them may be read now."""
        return self._at_work + max(0, self.stable - self.position)

    @property
    def _at_work(self) -> int:
        return max(0, self.taken - self.done)

    @property
    def is_held_back(self) -> bool:
        """Whether all is taken but what an open transaction holds back."""
        return self.stable < self.end and self.position >= self.stable


class _Held(NamedTuple):
    """The beginning of an open transaction, and since when nothing before it is left to read."""

    offset: int
    since: float
    is_said: bool = False


class Reading:
    """What the consumer's thread has seen of its partitions.

    Attributes:
        left: how many records are not acknowledged yet, by topic.
        readable: how many of them can be read. The others lie behind the beginning of an open transaction.
        deleted: how many offsets were deleted before they were read, by topic.
        without_offset: how many partitions had records and no offset of the group, by topic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.left: Mapping[str, int] = {}
        self.readable: Mapping[str, int] = {}
        self.deleted: Counter[str] = Counter()
        self.without_offset: Counter[str] = Counter()
        self._clock = clock
        self._held: Mapping[TopicPartition, _Held] = {}
        self._said: set[TopicPartition] = set()

    @property
    def held_back_s(self) -> Mapping[str, float]:
        """For how long an open transaction has been holding back what lies behind its beginning, by topic."""
        now, ages = self._clock(), dict.fromkeys(self.left, 0.0)
        for partition, held in self._held.items():
            ages[partition.topic] = max(ages.get(partition.topic, 0.0), now - held.since)
        return ages

    def seen(self, partitions: Mapping[TopicPartition, Partition], topics: Iterable[str]) -> None:
        """Take note of the partitions that are assigned here, of these topics."""
        left, readable = dict.fromkeys(topics, 0), dict.fromkeys(topics, 0)
        for partition, state in partitions.items():
            left[partition.topic] = left.get(partition.topic, 0) + state.left
            readable[partition.topic] = readable.get(partition.topic, 0) + state.readable
        self.left, self.readable = left, readable
        self._note_held({name: state.stable for name, state in partitions.items() if state.is_held_back})

    def begins(self, partition: TopicPartition, kept: Kept) -> None:
        """Take note that the group has no offset of a partition: it is read from the first record on."""
        if kept.first == kept.end == 0 or partition in self._said:
            return
        self._said.add(partition)
        self.without_offset[partition.topic] += 1
        log.warning(
            "group_without_offset",
            **partition._asdict(),
            begins_at=kept.first,
            ends_at=kept.end,
            reason="the group is new, or its offsets have expired (offsets.retention.minutes)",
            effect="all that the broker has is read; what it deleted before is not",
        )

    def lost(self, partition: TopicPartition, position: int, kept: Kept) -> None:
        """Take note that the broker has deleted what was to be read next."""
        self.deleted[partition.topic] += kept.first - position
        log.error(
            "deleted_before_read",
            **partition._asdict(),
            first_offset=position,
            last_offset=kept.first - 1,
            reason="the topic's retention deleted them before they were read",
        )

    def begins_again(self, partition: TopicPartition, position: int, kept: Kept) -> None:
        """Take note that a partition ends before what was to be read next."""
        log.error(
            "partition_made_anew",
            **partition._asdict(),
            position=position,
            begins_at=kept.first,
            ends_at=kept.end,
            reason="the topic was made anew, or the broker has lost its data",
            effect="all that the broker has is read",
        )

    def _note_held(self, stable: Mapping[TopicPartition, int]) -> None:
        now = self._clock()
        held = {}
        for partition, offset in stable.items():
            known = self._held.get(partition)
            held[partition] = known if known and known.offset == offset else _Held(offset, now)
            if now - held[partition].since >= HANGS_S and not held[partition].is_said:
                held[partition] = held[partition]._replace(is_said=True)
                log.error(
                    "transaction_hangs",
                    **partition._asdict(),
                    offset=offset,
                    effect="nothing behind this offset is read until the transaction ends",
                )
        self._held = held
