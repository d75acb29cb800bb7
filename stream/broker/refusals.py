"""Why a Kafka broker cannot be used, and which setting to check.

aiokafka raises the same error for a broker that is not there and for a broker that refuses us. It only logs the reason.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.conn import AIOKafkaConnection, collect_hosts
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from schemas.errors import DeploymentError
from stream.settings import KafkaSettings

KNOCK_S = 5.0
PLAIN = "PLAINTEXT"
_WITH_TLS = (ssl.SSLCertVerificationError, ConnectionRefusedError)


async def explain(options: Mapping[str, Any], broker: str, error: KafkaConnectionError) -> DeploymentError:
    """Return the error to raise, after one more connection to the first address has shown the reason.

    Args:
        options: the keyword arguments of a connection, without its address.
        broker: the addresses, as the setting has them.
        error: what aiokafka raised.
    """
    host, port, _ = collect_hosts(broker.split(","))[0]
    protocol = options["security_protocol"]
    reason = await _knock(AIOKafkaConnection(host, port, **options)) or error
    if _is_no_tls(reason, protocol) and await _knock(AIOKafkaConnection(host, port, security_protocol=PLAIN)) is None:
        plain = protocol.replace("SSL", PLAIN)
        return DeploymentError(
            f"Kafka at {broker} speaks without TLS at this address, and CARDIACNETS_SECURITY_PROTOCOL is {protocol}: "
            f"name the address of its listener with TLS, or set {plain}"
        )
    return DeploymentError(f"{_what(reason, broker, protocol)} ({reason})")


def unreachable(broker: str, advertised: Iterable[str]) -> DeploymentError:
    """Return the error of a broker that answers, and sends its clients to addresses where nobody answers."""
    return DeploymentError(
        f"Kafka at {broker} answers, and sends its clients to {', '.join(sorted(advertised))}, where nobody answers "
        "from here: set the broker's advertised.listeners to addresses that can be reached from here, or name another "
        "listener of its in CARDIACNETS_BROKER"
    )


def _is_no_tls(reason: Exception, protocol: str) -> bool:
    """Return whether a failed connection may have failed because the other side does not speak TLS."""
    return protocol.endswith("SSL") and isinstance(reason, OSError) and not isinstance(reason, _WITH_TLS)


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


async def _knock(connection: AIOKafkaConnection) -> Exception | None:
    """Return why the connection fails, or None if it succeeds. The connection is closed in either case."""
    reason = None
    try:
        async with asyncio.timeout(KNOCK_S):
            await connection.connect()
    except OSError as away:
        return away
    except KafkaError as refusal:
        reason = refusal
    await asyncio.wait([connection.close()], timeout=KNOCK_S)
    return reason


def _what(reason: Exception, broker: str, protocol: str) -> str:
    match reason:
        case SaslAuthenticationFailed():
            return f"Kafka at {broker} refuses CARDIACNETS_SASL_USERNAME with CARDIACNETS_SASL_PASSWORD"
        case IllegalSaslStateError():
            without = protocol.removeprefix("SASL_")
            return f"Kafka at {broker} takes no login at this address: set CARDIACNETS_SECURITY_PROTOCOL to {without}"
        case UnsupportedSaslMechanismError():
            return f"Kafka at {broker} does not know CARDIACNETS_SASL_MECHANISM"
        case ssl.SSLCertVerificationError():
            advice = "set CARDIACNETS_TLS_CA_FILE to the authority that signed it"
            return f"the certificate of Kafka at {broker} is not trusted; {advice}"
        case KafkaConnectionError() | ssl.SSLError():
            advice = f"does it expect another CARDIACNETS_SECURITY_PROTOCOL than {protocol}, or a client's certificate?"
            return f"Kafka at {broker} closes the connection: {advice}"
        case _:
            return f"no Kafka broker answers at {broker}; set its address by --broker or CARDIACNETS_BROKER"
