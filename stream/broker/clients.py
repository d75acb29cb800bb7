"""Kafka clients as the settings describe them, and how missing topics are created."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError, for_code

from engines.batcher import Lane
from schemas.errors import DeploymentError
from schemas.topics import ALL_TOPICS, ECG_BACKFILL, ECG_RECORDS, TOPICS
from stream.settings import KafkaSettings

from .contract_producer import ContractProducer
from .kerberos import check_kerberos
from .mismatches import explain, unreachable
from .oauth_tokens import token_provider
from .patient_fetcher import fetch_patiently
from .whole_partition import go_round_unreadable_places

LANE_TOPICS = {Lane.REALTIME: ECG_RECORDS, Lane.BACKFILL: ECG_BACKFILL}
REQUEST_TIMEOUT_MS = 30_000
MAX_MESSAGE_BYTES = 8 * 2**20
FETCH_BYTES = 8 * 2**20
FETCH_WAIT_MS = 20
"""How long the embedded broker may hold an empty fetch. A record that arrives meanwhile waits until the end."""
UNHURRIED_WAIT_MS = 200
"""The same for whoever need not have a message at once. Each fetch costs that broker and us half a millisecond."""
METADATA_AGE_MS = 10_000
"""How old what is known of topics and partitions may be. aiokafka's default is five minutes, in which nobody reads a
partition that was added."""
LINGER_MS = 5
BATCH_BYTES = 2**19
"""How many bytes of messages go to a partition together. aiokafka's default of 16 KiB holds a single report. Apache
Kafka accepts up to a mebibyte by default."""


def connection(settings: KafkaSettings) -> dict[str, Any]:
    """Return the keyword arguments that every aiokafka client takes."""
    return {"bootstrap_servers": settings.broker, "metadata_max_age_ms": METADATA_AGE_MS, **_manners(settings)}


def _manners(settings: KafkaSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "security_protocol": settings.security_protocol,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
    }
    if settings.security_protocol.startswith("SASL"):
        options |= {"sasl_mechanism": settings.sasl_mechanism} | _login(settings)
    if context := tls_context(settings):
        options["ssl_context"] = context
    return options


def _login(settings: KafkaSettings) -> dict[str, Any]:
    match settings.sasl_mechanism:
        case "OAUTHBEARER":
            return {"sasl_oauth_token_provider": token_provider(settings)}
        case "GSSAPI":
            check_kerberos(settings)
            return {
                "sasl_kerberos_service_name": settings.kerberos_service,
                "sasl_kerberos_domain_name": settings.kerberos_host,
            }
        case _:
            return {"sasl_plain_username": settings.sasl_username, "sasl_plain_password": settings.sasl_password}


def tls_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """Return the TLS context; None if the protocol does not use TLS.

    Raises:
        DeploymentError: the settings name a file that cannot be used.
    """
    if not settings.security_protocol.endswith("SSL"):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca_file)
    except OSError as error:
        raise DeploymentError(f"CARDIACNETS_TLS_CA_FILE={settings.tls_ca_file} cannot be used: {error}") from error
    if settings.tls_certificate_file:
        # Without a password OpenSSL would ask for one on the terminal, and wait.
        password = settings.tls_key_password or ""
        try:
            context.load_cert_chain(settings.tls_certificate_file, settings.tls_key_file, password)
        except OSError as error:
            files = f"{settings.tls_certificate_file}, CARDIACNETS_TLS_KEY_FILE={settings.tls_key_file}"
            raise DeploymentError(f"CARDIACNETS_TLS_CERTIFICATE_FILE={files} cannot be used: {error}") from error
    return context


def new_producer(settings: KafkaSettings) -> AIOKafkaProducer:
    """Return a producer that waits for all replicas. The caller starts it."""
    return ContractProducer(
        settings,
        **connection(settings),
        acks="all",
        linger_ms=LINGER_MS,
        max_batch_size=BATCH_BYTES,
        max_request_size=MAX_MESSAGE_BYTES,
    )


def new_consumer(settings: KafkaSettings, topics: Iterable[str], **options: Any) -> AIOKafkaConsumer:
    """Return a plain consumer of whole topics from now on, without a group; start it yourself.

    What cannot be read comes as a message with an `UnreadablePlace` for its value.

    Args:
        settings: of the broker.
        topics: by the contract's names. A message's `topic` is the broker's name: see `settings.name_of`.
        options: aiokafka's.
    """
    go_round_unreadable_places()
    fetch_patiently()
    limits = {"max_partition_fetch_bytes": FETCH_BYTES, "fetch_max_wait_ms": FETCH_WAIT_MS}
    rules = {"isolation_level": settings.isolation_level, **limits, **options}
    return AIOKafkaConsumer(*map(settings.topic, topics), **connection(settings), **rules)


def readable_end(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int | None:
    """Return the offset up to which no open transaction holds messages back, by the last fetch; None before the first.

    The embedded broker says the end right only in the answer to a fetch.
    """
    end: int | None = consumer.highwater(partition)
    stable: int | None = consumer.last_stable_offset(partition)
    return end if end is None or stable is None or stable < 0 else min(end, stable)


@asynccontextmanager
async def administrator(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Connect a client that asks the broker for what it has, and makes topics.

    Raises:
        DeploymentError: the broker cannot be reached, or refuses; the message says which, and what to check.
    """
    admin = AIOKafkaAdminClient(**connection(settings))
    try:
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()
    except KafkaConnectionError as error:
        raise await unusable(settings, error) from error
    except NodeNotReadyError as error:  # of the brokers that the first one has named, none answered
        advertised = {f"{broker.host}:{broker.port}" for broker in admin._client.cluster.brokers()}  # noqa: SLF001
        if not advertised:  # it took our login for one, and then answered nothing
            raise await unusable(settings, KafkaConnectionError()) from error
        raise unreachable(settings.broker, advertised) from error


async def ensure_topics(settings: KafkaSettings, names: Iterable[str] = ALL_TOPICS) -> None:
    """Create missing topics. Topics that exist stay as they are, and then no right to create topics is needed.

    Raises:
        DeploymentError: the broker cannot be reached, or refuses; the message says which, and what to check.
    """
    async with administrator(settings) as admin:
        there = set(await admin.list_topics())
        missing = [name for name in names if settings.topic(name) not in there]
        if refused := await create_topics(admin, settings, missing):
            raise DeploymentError(
                f"there is no topic {', '.join(map(settings.topic, refused))}, and the broker refuses to create it: "
                "create it yourself (`cardiacnets topics` prints its settings), or give us the right to"
            )


async def create_topics(admin: AIOKafkaAdminClient, settings: KafkaSettings, names: Sequence[str]) -> list[str]:
    """Create topics, and return those that we have no right to create.

    Raises:
        DeploymentError: the broker refuses for another reason.
    """
    response = await admin.create_topics([_new_topic(name, settings) for name in names]) if names else None
    refused = []
    for topic, code, *reason in response.topic_errors if response else ():
        match for_code(code):
            case errors.NoError | errors.TopicAlreadyExistsError:
                pass
            case errors.TopicAuthorizationFailedError | errors.ClusterAuthorizationFailedError:
                refused.append(settings.name_of(topic))
            case error:
                why = reason[0] if reason and reason[0] else error.__name__
                raise DeploymentError(
                    f"Kafka at {settings.broker} does not create the topic {topic}: {why}; "
                    f"CARDIACNETS_PARTITIONS is {settings.partitions}, CARDIACNETS_REPLICATION_FACTOR is "
                    f"{settings.replication_factor}"
                )
    return refused


async def unusable(settings: KafkaSettings, error: KafkaConnectionError) -> DeploymentError:
    """Return the error that says why the broker cannot be used."""
    return await explain(settings, _manners(settings), error)


def _new_topic(name: str, settings: KafkaSettings) -> NewTopic:
    configuration = {topic.name: topic.configuration for topic in TOPICS}.get(name)
    return NewTopic(settings.topic(name), settings.partitions, settings.replication_factor, topic_configs=configuration)
