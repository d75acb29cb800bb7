"""Where a demonstration takes place: on embedded servers, or on a broker that is there, under topics of its own."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError, for_code

from schemas.errors import DeploymentError
from schemas.topics import ALL_TOPICS
from stream.broker.clients import administrator, ensure_topics
from stream.settings import KafkaSettings, Settings

from .embedded_servers import embedded_broker, embedded_redis

PARTITIONS = 2
"""Of each topic. A second worker may join. More of them, with nothing in them, would only cost the embedded broker."""
SECURITY = ("security_", "sasl_", "oauth_", "kerberos_", "tls_")
"""How the settings begin that describe the security of the operator's own broker."""
REMOVE_S = 30.0


@contextmanager
def embedded_place(settings: Settings, log_folder: Path) -> Iterator[Settings]:
    """Run a broker and a Redis for the demonstration alone; give the settings with them, and with topics."""
    with embedded_broker(log_folder) as (broker, _), embedded_redis(log_folder) as (redis, _):
        own = settings.changed(broker=broker, redis=redis, partitions=PARTITIONS, **_plain_broker(), **_nobody_called())
        asyncio.run(ensure_topics(own.kafka))
        yield own


@contextmanager
def place_on_a_broker(settings: Settings, log_folder: Path, tell: Callable[[str], object]) -> Iterator[Settings]:
    """Give the settings with topics and groups that nobody else has, on the settings' broker, and with an own Redis.

    The topics are removed at the end. Their consumer groups are empty then, and Kafka removes them by itself.

    Args:
        settings: of the broker, with its security.
        log_folder: gets the log of Redis.
        tell: takes the sentence that says what became of the topics.

    Raises:
        DeploymentError: the broker cannot be reached, or does not let us create topics.
    """
    prefix = f"{settings.kafka.topic_prefix}demo-{secrets.token_hex(4)}."
    groups = {
        "consumer_group": None,
        "cine_consumer_group": None,
        "keeper_consumer_group": None,
    }  # named after the prefix
    with embedded_redis(log_folder) as (redis, _):
        own = settings.changed(topic_prefix=prefix, redis=redis, partitions=PARTITIONS, **groups, **_nobody_called())
        try:
            asyncio.run(ensure_topics(own.kafka))
            yield own
        finally:
            tell(asyncio.run(_remove_topics(own.kafka)))


async def _remove_topics(kafka: KafkaSettings) -> str:
    """Remove the topics, and say in a sentence what stays."""
    names = [kafka.topic(name) for name in ALL_TOPICS]
    try:
        async with asyncio.timeout(REMOVE_S), administrator(kafka) as admin:
            response = await admin.delete_topics(names)
        refusals = {name: for_code(code) for name, code in response.topic_error_codes if code}
    except (DeploymentError, KafkaError, TimeoutError, OSError):
        return _stay(kafka, names)
    left = [name for name, error in refusals.items() if error is not UnknownTopicOrPartitionError]
    return _stay(kafka, left) if left else f"the topics {kafka.topic_prefix}* are removed from {kafka.broker}"


def _stay(kafka: KafkaSettings, names: list[str]) -> str:
    command = f"kafka-topics.sh --bootstrap-server {kafka.broker} --delete --topic '{re.escape(kafka.topic_prefix)}.*'"
    what = f"{len(names)} topics stay on {kafka.broker}, because it did not remove them"
    return f"{what}: {', '.join(names)}; remove them with {command}"


def _nobody_called() -> dict[str, Any]:
    """Return the defaults of what calls people, in place of the operator's: a demonstration wakes nobody."""
    return {name: value for name, value in Settings().flat().items() if name.startswith("alert_webhook_")}


def _plain_broker() -> dict[str, Any]:
    """Return what the embedded broker supports, the defaults, in place of the settings of the operator's broker."""
    names = (*SECURITY, "idempotent_producer", "replication_factor")
    return {name: value for name, value in Settings().flat().items() if name.startswith(names)}
