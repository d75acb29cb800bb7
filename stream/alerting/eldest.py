"""How the members of a group share their partitions when one member shall have all: the eldest has them.

A member says since when it is there, and every member keeps its place in that order. So a member that joins takes
nothing from the one that works, and one that was started again, or stood still, stands behind those that waited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

VERSION = 0


def eldest_first(since: Callable[[], float]) -> type[AbstractPartitionAssignor]:
    """Return the rule of a member. aiokafka wants a class, and asks it without making an instance.

    Args:
        since: returns since when the member is there, in seconds since 1970.
    """

    class EldestFirst(AbstractPartitionAssignor):  # type: ignore[misc]  # aiokafka is untyped
        name = "cardiacnets-eldest-first"

        @classmethod
        def metadata(cls, topics: Iterable[str]) -> Any:
            return ConsumerProtocolMemberMetadata(VERSION, list(topics), f"{since():020.6f}".encode())

        @classmethod
        def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
            eldest = min(members, key=lambda member: (members[member].user_data or b"", member))
            topics = sorted({topic for metadata in members.values() for topic in metadata.subscription})
            everything = [(topic, sorted(cluster.partitions_for_topic(topic) or ())) for topic in topics]
            return {
                member: ConsumerProtocolMemberAssignment(VERSION, everything if member == eldest else [], b"")
                for member in members
            }

        @classmethod
        def on_assignment(cls, assignment: Any) -> None:
            pass

    return EldestFirst
