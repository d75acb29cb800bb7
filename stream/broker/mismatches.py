"""Why a Kafka broker cannot be used, and which setting to check.

aiokafka raises the same error for a broker that is not there and for a broker that refuses us, and only logs the
reason. So the first address is knocked at once more: with our settings, without TLS, and with TLS. No password and no
data go through a door whose certificate was not checked.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from aiokafka.conn import AIOKafkaConnection, collect_hosts
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import SaslHandShakeRequest

from schemas.errors import DeploymentError
from stream.settings import KafkaSettings

from .oauth_tokens import TokenUnavailable

KNOCK_S = 5.0
PLAIN, TLS = "PLAINTEXT", "SSL"
ASKED_MECHANISM = "WHICH"
"""Apache Kafka does not know it, and answers which ones it knows. A broker that takes any login takes this one."""
OTHER_NAME = frozenset({62, 64})
"""How OpenSSL numbers a certificate of another name or another address."""
MAY_BE_THE_DOOR = (
    KafkaConnectionError,
    ConnectionResetError,
    TimeoutError,
    ssl.SSLError,
    IllegalSaslStateError,
    UnsupportedSaslMechanismError,
)
SETTING = "CARDIACNETS_SECURITY_PROTOCOL"


class Door(NamedTuple):
    """How a broker is spoken to at an address.

    Attributes:
        tls: whether it speaks TLS.
        mechanisms: of the login that it asks for; none if it asks for no login, None if it does not say.
    """

    tls: bool
    mechanisms: tuple[str, ...] | None


async def explain(settings: KafkaSettings, options: Mapping[str, Any], error: KafkaConnectionError) -> DeploymentError:
    """Return the error to raise, after a few connections to the first address have shown the reason.

    Args:
        settings: of the broker.
        options: the keyword arguments of a connection by these settings, without its address.
        error: what aiokafka raised.
    """
    host, port, _ = collect_hosts(settings.broker.split(","))[0]
    reason = await _knock(AIOKafkaConnection(host, port, **options)) or error
    if isinstance(reason, ssl.SSLCertVerificationError):
        names = await _names(host, port, options["ssl_context"]) if reason.verify_code in OTHER_NAME else ""
        return DeploymentError(f"{_of_its_certificate(settings.broker, reason, names)} ({reason})")
    door = await _door(host, port) if isinstance(reason, MAY_BE_THE_DOOR) else None
    sentence = _of_door(settings, door) if door else None
    return DeploymentError(sentence or f"{_what(settings, reason)} ({reason})")


def unreachable(broker: str, advertised: Iterable[str]) -> DeploymentError:
    """Return the error of a broker that answers, and sends its clients to addresses where nobody answers."""
    return DeploymentError(
        f"Kafka at {broker} answers, and sends its clients to {', '.join(sorted(advertised))}, where nobody answers "
        "from here: set the broker's advertised.listeners to addresses that can be reached from here, or name another "
        "listener of its in CARDIACNETS_BROKER"
    )


# --- knocking


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


async def _door(host: str, port: int) -> Door | None:
    """Return how the broker is spoken to; None if it cannot be found out."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is said that is worth a secret
    for tls, connection in (
        (False, AIOKafkaConnection(host, port, security_protocol=PLAIN)),
        (True, AIOKafkaConnection(host, port, security_protocol=TLS, ssl_context=context)),
    ):
        try:
            async with asyncio.timeout(KNOCK_S):
                return Door(tls, await _mechanisms(connection))
        except (KafkaError, OSError) as reason:
            if tls and _is_about_our_certificate(reason):
                return Door(tls, None)
    return None


async def _mechanisms(connection: AIOKafkaConnection) -> tuple[str, ...] | None:
    """Return the mechanisms of the login that a broker asks for; None if it takes any."""
    try:
        await connection.connect()
        known = tuple((await connection.send(SaslHandShakeRequest(ASKED_MECHANISM))).enabled_mechanisms)
        return None if ASKED_MECHANISM in known else known
    finally:
        if closed := connection.close():
            await asyncio.wait([closed], timeout=KNOCK_S)


async def _names(host: str, port: int, context: ssl.SSLContext) -> str:
    """Return the names in the certificate of a broker, which is trusted but for the name."""
    context.check_hostname = False
    try:
        async with asyncio.timeout(KNOCK_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except OSError:
        return ""
    certificate = writer.get_extra_info("peercert") or {}
    writer.transport.abort()
    return ", ".join(str(name) for _, name in certificate.get("subjectAltName", ()))


def _is_about_our_certificate(reason: BaseException) -> bool:
    """Return whether the broker has ended the connection since it wants another certificate of ours, or any."""
    alert = getattr(reason.__cause__ if isinstance(reason, KafkaConnectionError) else reason, "reason", None) or ""
    return "ALERT" in alert and any(word in alert for word in ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED"))


# --- what to say


def _of_door(settings: KafkaSettings, door: Door) -> str | None:
    """Return what does not fit the way in which the broker is spoken to; None if all fits."""
    protocol, mechanism = settings.security_protocol, settings.sasl_mechanism
    has_login = protocol.startswith("SASL")
    asks_for_login = has_login if door.mechanisms is None else bool(door.mechanisms)
    right = ("SASL_" if asks_for_login else "") + (TLS if door.tls else PLAIN)
    known = ", ".join(door.mechanisms or ())
    ours = f"at this address, and {SETTING} is {protocol}"
    login = ", CARDIACNETS_SASL_USERNAME and CARDIACNETS_SASL_PASSWORD" if asks_for_login and not has_login else ""
    sentence = None
    if door.tls != protocol.endswith(TLS):
        sentence = (
            f"speaks TLS {ours}: set {right}{login}, and CARDIACNETS_TLS_CA_FILE to the authority of its certificate"
            if door.tls
            else f"speaks without TLS {ours}: name the address of its listener with TLS, or set {right}{login}"
        )
    elif login:
        sentence = f"asks for a login ({known}) {ours}: set {right}{login}"
    elif has_login and not asks_for_login:
        sentence = f"takes no login at this address: set {SETTING} to {right}"
    elif known and mechanism not in known.split(", "):
        sentence = f"does not know CARDIACNETS_SASL_MECHANISM={mechanism}: set one that it knows: {known}"
    return f"Kafka at {settings.broker} {sentence}" if sentence else None


def _of_its_certificate(broker: str, reason: ssl.SSLCertVerificationError, names: str) -> str:
    match reason.verify_code:
        case 9:
            fault = "is not valid yet: is the clock of this machine right?"
        case 10:
            fault = "has expired: the broker needs a new one, if the clock of this machine is right"
        case 62 | 64:
            advice = "name the broker so in CARDIACNETS_BROKER, or give it a certificate of this address"
            fault = f"is of {names or 'another address'}: {advice}"
        case _:
            fault = "is not trusted; set CARDIACNETS_TLS_CA_FILE to the authority that signed it"
    return f"the certificate of Kafka at {broker} {fault}"


def _what(settings: KafkaSettings, reason: Exception) -> str:
    broker, protocol = settings.broker, settings.security_protocol
    if sentence := _of_login(settings, reason):
        return sentence
    match reason:
        case KafkaConnectionError() | ssl.SSLError() if _is_about_our_certificate(reason):
            return _of_our_certificate(settings)
        case KafkaConnectionError() if other := _other_login(settings):
            # What Kafka says to a token that it refuses aiokafka does not read.
            return f"Kafka at {broker} closes the connection, as it does where it refuses {other}"
        case KafkaConnectionError() | ssl.SSLError():
            advice = f"does it expect another {SETTING} than {protocol}, or a client's certificate?"
            return f"Kafka at {broker} closes the connection: {advice}"
        case _:
            return f"no Kafka broker answers at {broker}; set its address by --broker or CARDIACNETS_BROKER"


def _of_login(settings: KafkaSettings, reason: Exception) -> str | None:
    broker = settings.broker
    match reason:
        case TokenUnavailable():
            return f"there is no token to log in with at Kafka at {broker}: {reason.args[0]}"
        case SaslAuthenticationFailed():
            login = _other_login(settings) or "CARDIACNETS_SASL_USERNAME with CARDIACNETS_SASL_PASSWORD"
            return f"Kafka at {broker} refuses {login}"
        case UnsupportedSaslMechanismError():
            return f"Kafka at {broker} does not know CARDIACNETS_SASL_MECHANISM={settings.sasl_mechanism}"
        case _:
            return None


def _other_login(settings: KafkaSettings) -> str | None:
    """Return what a login without a password shows to the broker, and what the broker may have against it."""
    match settings.sasl_mechanism:
        case "OAUTHBEARER":
            return (
                f"the token that CARDIACNETS_OAUTH_TOKEN_URL={settings.oauth_token_url} gives to "
                f"CARDIACNETS_OAUTH_CLIENT_ID={settings.oauth_client_id}: compare its issuer, audience and scope with "
                "what the broker expects (sasl.oauthbearer.expected.issuer, …audience), and their clocks"
            )
        case "GSSAPI":
            return (
                f"our Kerberos ticket for CARDIACNETS_KERBEROS_SERVICE={settings.kerberos_service}: does the "
                "broker's keytab hold this service at the host that we reach it by (CARDIACNETS_KERBEROS_HOST), and "
                "are the clocks alike?"
            )
        case _:
            return None


def _of_our_certificate(settings: KafkaSettings) -> str:
    if file := settings.tls_certificate_file:
        advice = "set one that an authority of its trust has signed, and that is valid now"
        return f"Kafka at {settings.broker} refuses CARDIACNETS_TLS_CERTIFICATE_FILE={file}: {advice}"
    advice = "set CARDIACNETS_TLS_CERTIFICATE_FILE and CARDIACNETS_TLS_KEY_FILE"
    return f"Kafka at {settings.broker} asks its clients for a certificate: {advice}"
