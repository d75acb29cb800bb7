"""What a broker says of topics and groups: whether they are there, what we may do with them, and how they are set up.

aiokafka has the questions, but not the part of them that asks what we may do. That part is here, in the newest version
of the protocol that has it without tagged fields.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, NoError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v4
from aiokafka.protocol.types import Array, Boolean, Bytes, Int16, Int32, Schema, String

OPERATIONS = {3: "Read", 4: "Write", 5: "Create", 8: "Describe", 10: "DescribeConfigs"}
"""The operations that we need, by the bit that stands for each."""
NOT_SAID = -(2**31)


class TopicFacts(NamedTuple):
    """What a broker says of a topic.

    Attributes:
        is_there: None where we may not even see it.
        rights: the operations that we may do; None where the broker does not say.
        replicas: of the partition that has the fewest.
        in_sync: of the partition that has the fewest.
    """

    is_there: bool | None
    rights: frozenset[str] | None
    replicas: int
    in_sync: int


class _MetadataResponse(Response):  # type: ignore[misc]  # aiokafka is untyped
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", String()), ("port", Int32), ("rack", String()))),
        ("cluster_id", String()),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String()),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _MetadataRequest(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", Array(String())),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


_AnyMetadataRequest: TypeAlias = MetadataRequest_v4 | _MetadataRequest


class _TopicsQuestion(Request[_AnyMetadataRequest]):  # type: ignore[misc]
    """Asks for topics without making them."""

    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[Any]) -> RequestStruct:
        makes_topics, of_cluster, of_topics = False, False, True
        more = (of_cluster, of_topics) if request_struct_class is _MetadataRequest else ()
        return request_struct_class(self._topics, makes_topics, *more)


class _GroupsResponse(Response):  # type: ignore[misc]
    API_KEY = 15
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            Array(
                ("error_code", Int16),
                ("group", String()),
                ("state", String()),
                ("protocol_type", String()),
                ("protocol", String()),
                (
                    "members",
                    Array(
                        ("member_id", String()),
                        ("client_id", String()),
                        ("client_host", String()),
                        ("member_metadata", Bytes),
                        ("member_assignment", Bytes),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
    )


class _GroupsRequest(RequestStruct):  # type: ignore[misc]
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = _GroupsResponse
    SCHEMA = Schema(("groups", Array(String())), ("include_authorized_operations", Boolean))


class _GroupQuestion(Request[_GroupsRequest]):  # type: ignore[misc]
    """Asks what we may do with a group."""

    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[Any]) -> RequestStruct:
        with_rights = True
        return request_struct_class([self._group], with_rights)


async def topic_facts(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, TopicFacts]:
    """Return what the broker says of topics, by its names of them.

    Raises:
        KafkaError: it does not answer.
    """
    answer = await admin._send_request(_TopicsQuestion(topics))  # noqa: SLF001  its own questions ask for less
    facts = {topic["topic"]: _of_topic(topic) for topic in answer.to_object()["topics"]}
    return {name: facts[name] for name in topics}


def _of_topic(topic: Mapping[str, Any]) -> TopicFacts:
    error, partitions = for_code(topic["error_code"]), topic["partitions"]
    refused = error is TopicAuthorizationFailedError
    return TopicFacts(
        is_there=None if refused else error is not UnknownTopicOrPartitionError,
        rights=frozenset() if refused else _operations(topic.get("authorized_operations", NOT_SAID)),
        replicas=min((len(partition["replicas"]) for partition in partitions), default=0),
        in_sync=min((len(partition["isr"]) for partition in partitions), default=0),
    )


async def group_rights(admin: AIOKafkaAdminClient, group: str) -> frozenset[str] | None:
    """Return what we may do with a group; None where the broker does not say.

    Raises:
        KafkaError: it does not answer.
        NotImplementedError: it is too old for the question.
    """
    node = await admin.find_coordinator(group)
    answer = await admin._send_request_to_node(node, _GroupQuestion(group))  # noqa: SLF001
    (described,) = answer.to_object()["groups"]
    if (error := for_code(described["error_code"])) is not NoError:
        raise error(group)
    return _operations(described["authorized_operations"])


async def topic_settings(admin: AIOKafkaAdminClient, topics: Collection[str]) -> dict[str, dict[str, str] | KafkaError]:
    """Return the settings of topics, or why the broker does not say them."""
    wanted = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
    found: dict[str, dict[str, str] | KafkaError] = {}
    for answer in await admin.describe_configs(wanted) if wanted else ():
        for code, message, _, name, entries in answer.resources:
            error = for_code(code)
            found[name] = {entry[0]: entry[1] for entry in entries} if error is NoError else error(message)
    return found


def _operations(bits: int) -> frozenset[str] | None:
    return None if bits == NOT_SAID else frozenset(name for bit, name in OPERATIONS.items() if bits >> bit & 1)
