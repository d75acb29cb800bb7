"""What each kind of process needs of Kafka: the topics that it reads, writes or looks at, and its consumer group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec

from engines.batcher import Lane
from schemas.topics import (
    CMR_REQUESTS,
    CMR_RESULTS,
    ECG_ALERTS,
    ECG_ALERTS_ACK,
    ECG_ALERTS_SHELVED,
    ECG_BACKFILL,
    ECG_RECORDS,
    ECG_REJECTED,
    ECG_RISK,
)
from stream.settings import KafkaSettings, Settings

DESCRIBE_CONFIGS = "DescribeConfigs"
"""The right to see a topic's settings. Whoever lacks it works, and cannot check them."""


class Right(msgspec.Struct, frozen=True):
    """A right on a topic or a group, by the broker's name of it and Kafka's name of the operation."""

    kind: Literal["topic", "group"]
    name: str
    operation: str


class Needs(NamedTuple):
    """What a kind of process needs.

    Attributes:
        reads: topics, by the contract's names.
        looks_at: of these topics it asks how they grow.
        group: returns the broker's name of its consumer group, None if it has none.
    """

    process: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    looks_at: tuple[str, ...] = ()
    group: Callable[[Settings], str | None] = lambda _: None

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic that the process uses. It may have no right to see another one."""
        return tuple(dict.fromkeys(self.reads + self.writes + self.looks_at))

    def rights(self, kafka: KafkaSettings, group: str | None) -> list[Right]:
        """Return the least rights. Kafka implies Describe by each of them, and an idempotent producer by Write.

        Args:
            kafka: settings of the broker.
            group: the broker's name of the consumer group.
        """
        operations = {"Read": self.reads, "Write": self.writes, "Describe": self.looks_at, DESCRIBE_CONFIGS: self.kept}
        rights = [
            Right("topic", kafka.topic(name), operation) for operation, names in operations.items() for name in names
        ]
        return rights + ([Right("group", group, "Read")] if group else [])

    @property
    def kept(self) -> tuple[str, ...]:
        """The topics whose messages the process reads or writes, so that their settings matter to it."""
        return tuple(dict.fromkeys(self.reads + self.writes))


WORKER = Needs(
    "worker",
    reads=(ECG_RECORDS, ECG_BACKFILL, ECG_ALERTS, ECG_ALERTS_SHELVED),
    writes=(ECG_RISK, ECG_ALERTS, ECG_REJECTED, CMR_REQUESTS),
    group=lambda settings: settings.kafka.screening_group,
)
CMR_WORKER = Needs(
    "cmr-worker", reads=(CMR_REQUESTS,), writes=(CMR_RESULTS,), group=lambda settings: settings.cine_group
)
DASHBOARD = Needs(
    "dashboard",
    reads=(ECG_RISK, ECG_ALERTS, ECG_REJECTED, CMR_REQUESTS, CMR_RESULTS, ECG_ALERTS_ACK, ECG_ALERTS_SHELVED),
    writes=(ECG_ALERTS_ACK, ECG_ALERTS_SHELVED, CMR_REQUESTS),
    looks_at=(ECG_RECORDS,),
)
ALERT_KEEPER = Needs(
    "alert-keeper",
    reads=(ECG_ALERTS, ECG_ALERTS_ACK),
    writes=(ECG_ALERTS,),
    group=lambda settings: settings.keeper_group,
)
COLLECT = Needs("collect", reads=(ECG_RISK, ECG_REJECTED))
PUBLISHERS = {
    Lane.REALTIME: Needs("device", writes=(ECG_RECORDS,)),
    Lane.BACKFILL: Needs("archive", writes=(ECG_BACKFILL,)),
}
SUBSCRIBER = Needs(
    "subscriber",
    reads=(ECG_RISK, ECG_ALERTS, ECG_REJECTED, CMR_RESULTS, ECG_ALERTS_ACK, ECG_ALERTS_SHELVED),
    group=lambda settings: settings.kafka.topic_prefix + "subscriber",
)
NEEDS = {
    needs.process: needs
    for needs in (WORKER, CMR_WORKER, ALERT_KEEPER, DASHBOARD, COLLECT, *PUBLISHERS.values(), SUBSCRIBER)
}
