"""Why a Kafka broker refuses us while we work, and what to do."""

from __future__ import annotations

from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from schemas.topics import LARGEST
from stream.settings import KafkaSettings

from .event_producer import MessageRefused


def refusal_of_group(error: KafkaError, settings: KafkaSettings, group: str) -> str | None:
    """Return why a process cannot work in a group, and what to do; None for an error that may pass."""
    who = settings.sasl_username or "this client"
    match error:
        case GroupAuthorizationFailedError():
            return f"Kafka refuses the consumer group {group} to {who}: give it the right Read on the group"
        case TopicAuthorizationFailedError():
            topics = ", ".join(map(str, error.args)) or "a topic"
            return f"Kafka refuses {topics} to {who}: give it the right Read on the topic"
        case InvalidGroupIdError():
            return f"Kafka does not take {group!r} for a consumer group: set another CARDIACNETS_CONSUMER_GROUP"
        case InvalidSessionTimeoutError():
            return (
                f"Kafka does not take CARDIACNETS_SESSION_TIMEOUT_S={settings.session_timeout_s:g}: its settings "
                "group.min.session.timeout.ms and group.max.session.timeout.ms say what it takes"
            )
        case InconsistentGroupProtocolError():
            return (
                f"the consumer group {group} belongs to another program: its members share their partitions in "
                "another way. Give each program a group of its own"
            )
        case _:
            return None


def refusal_of_message(refused: MessageRefused, settings: KafkaSettings) -> str:
    """Return why the broker refuses a message of ours for good, and what to do."""
    topic = settings.topic(refused.topic)
    if isinstance(refused.reason, TopicAuthorizationFailedError):
        who = settings.sasl_username or "this client"
        return f"Kafka refuses {topic} to {who}: give it the right Write on the topic"
    wanted = LARGEST[refused.topic]
    return f"the topic {topic} refuses an answer of {refused.size} bytes: set its max.message.bytes to {wanted} or more"
