"""A look at what aiokafka's consumer keeps of its group and tells nobody until it is asked."""

from __future__ import annotations

from typing import Any

from aiokafka.errors import KafkaError

from .group import Group

NO_GENERATION = -1
"""What aiokafka says before it has joined."""


def look_at_group(consumer: Any, group: Group) -> None:
    """Write down whether a consumer that has started is a member of its group, and what went wrong."""
    _ask_for_errors(consumer, group)
    cluster, coordinator = consumer._client.cluster, consumer._coordinator  # noqa: SLF001
    group.seen(
        is_member=coordinator.generation != NO_GENERATION and coordinator.coordinator_id is not None,
        missing=tuple(sorted(topic for topic in consumer.subscription() if not cluster.partitions_for_topic(topic))),
    )


def _ask_for_errors(consumer: Any, group: Group) -> None:
    coordinator, fetching = consumer._coordinator, consumer._fetcher.error_future  # noqa: SLF001
    try:
        coordinator.check_errors()
    except KafkaError as error:
        group.heard(error, is_final=coordinator._coordination_task.done())  # noqa: SLF001
    if fetching.done() and not fetching.cancelled() and (end := fetching.exception()):
        group.heard(end, is_final=True)
