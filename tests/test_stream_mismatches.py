"""What does not fit between us and a broker is told in a sentence: its protocol, or an address that it gives out."""

import asyncio
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from apache_kafka import apache_kafka, needs_apache_kafka
from guarded_kafka import PASSWORD

from schemas.errors import DeploymentError
from stream.broker.clients import connection, ensure_topics
from stream.demo.embedded_servers import embedded_broker, free_port
from stream.settings import Settings

pytestmark = [
    pytest.mark.servers,
    # Closing a TLS connection takes a moment. Neither aiokafka waits for it when a client stops, nor asyncio.run.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

LOGIN = {"sasl_username": "worker", "sasl_password": PASSWORD}
PLAIN, TLS = {"security_protocol": "PLAINTEXT"}, {"security_protocol": "SSL", "tls_ca_file": "ca"}
LOGIN_TLS = {**LOGIN, "security_protocol": "SASL_SSL", "tls_ca_file": "ca"}
LOGIN_PLAIN = {**LOGIN, "security_protocol": "SASL_PLAINTEXT"}
PROTOCOL = "CARDIACNETS_SECURITY_PROTOCOL"
AUTHORITY = "and CARDIACNETS_TLS_CA_FILE to the authority of its certificate"
ACCOUNT = "CARDIACNETS_SASL_USERNAME and CARDIACNETS_SASL_PASSWORD"
WITH_TLS = "name the address of its listener with TLS, or set"
THE_CERTIFICATE = "the certificate of Kafka at BROKER"
MISMATCHES = [
    (
        "TLS before a listener without",
        "CLIENTS",
        TLS,
        f"Kafka at BROKER speaks without TLS at this address, and {PROTOCOL} is SSL: {WITH_TLS} PLAINTEXT",
    ),
    (
        "TLS and a login before a listener with a login alone",
        "LOGIN",
        LOGIN_TLS,
        f"Kafka at BROKER speaks without TLS at this address, and {PROTOCOL} is SASL_SSL: {WITH_TLS} SASL_PLAINTEXT",
    ),
    (
        "no TLS before a listener with TLS",
        "TLS",
        PLAIN,
        f"Kafka at BROKER speaks TLS at this address, and {PROTOCOL} is PLAINTEXT: set SSL, {AUTHORITY}",
    ),
    (
        "a login without TLS before a listener with both",
        "LOGINTLS",
        LOGIN_PLAIN,
        f"Kafka at BROKER speaks TLS at this address, and {PROTOCOL} is SASL_PLAINTEXT: set SASL_SSL, {AUTHORITY}",
    ),
    (
        "neither, before a listener with both",
        "LOGINTLS",
        PLAIN,
        (
            f"Kafka at BROKER speaks TLS at this address, and {PROTOCOL} is PLAINTEXT: "
            f"set SASL_SSL, {ACCOUNT}, {AUTHORITY}"
        ),
    ),
    (
        "a login before a listener that takes none",
        "CLIENTS",
        LOGIN_PLAIN,
        f"Kafka at BROKER takes no login at this address: set {PROTOCOL} to PLAINTEXT",
    ),
    (
        "TLS and a login before a listener with TLS alone",
        "TLS",
        LOGIN_TLS,
        f"Kafka at BROKER takes no login at this address: set {PROTOCOL} to SSL",
    ),
    (
        "no login before a listener with one",
        "LOGIN",
        PLAIN,
        (
            f"Kafka at BROKER asks for a login (SCRAM-SHA-512) at this address, and {PROTOCOL} is PLAINTEXT: "
            f"set SASL_PLAINTEXT, {ACCOUNT}"
        ),
    ),
    (
        "TLS without a login before a listener with both",
        "LOGINTLS",
        TLS,
        (
            f"Kafka at BROKER asks for a login (SCRAM-SHA-512) at this address, and {PROTOCOL} is SSL: "
            f"set SASL_SSL, {ACCOUNT}"
        ),
    ),
    (
        "another mechanism of the login",
        "LOGIN",
        {**LOGIN_PLAIN, "sasl_mechanism": "PLAIN"},
        "Kafka at BROKER does not know CARDIACNETS_SASL_MECHANISM=PLAIN: set one that it knows: SCRAM-SHA-512",
    ),
    (
        "a wrong password, or an unknown user",
        "LOGIN",
        {**LOGIN_PLAIN, "sasl_password": "wrong"},
        "Kafka at BROKER refuses CARDIACNETS_SASL_USERNAME with CARDIACNETS_SASL_PASSWORD",
    ),
    (
        "another authority",
        "TLS",
        {**TLS, "tls_ca_file": "other-ca"},
        f"{THE_CERTIFICATE} is not trusted; set CARDIACNETS_TLS_CA_FILE to the authority that signed it",
    ),
    (
        "an expired certificate of the broker",
        "EXPIRED",
        TLS,
        f"{THE_CERTIFICATE} has expired: the broker needs a new one, if the clock of this machine is right",
    ),
    (
        "a broker whose certificate has another name",
        "ELSEWHERE",
        TLS,
        (
            f"{THE_CERTIFICATE} is of kafka.hospital.example: name the broker so in CARDIACNETS_BROKER, or give it a "
            "certificate of this address"
        ),
    ),
    (
        "no certificate of ours, where the broker wants one",
        "MUTUAL",
        TLS,
        (
            "Kafka at BROKER asks its clients for a certificate: set CARDIACNETS_TLS_CERTIFICATE_FILE and "
            "CARDIACNETS_TLS_KEY_FILE"
        ),
    ),
    (
        "a certificate of ours that the broker does not trust",
        "MUTUAL",
        {**TLS, "tls_certificate_file": "stranger"},
        (
            "Kafka at BROKER refuses CARDIACNETS_TLS_CERTIFICATE_FILE=CERTIFICATE.PEM: set one that an authority of "
            "its trust has signed, and that is valid now"
        ),
    ),
]
"""What does not fit, the listener, the client's settings, and what is said."""
FITTING = [
    ("CLIENTS", PLAIN),
    ("TLS", TLS),
    ("MUTUAL", {**TLS, "tls_certificate_file": "client"}),
    ("LOGIN", LOGIN_PLAIN),
    ("LOGINTLS", LOGIN_TLS),
]


def refusal(broker, **changes):
    """Return the sentence in which creating topics ends."""
    with pytest.raises(DeploymentError) as caught:
        asyncio.run(ensure_topics(Settings.of(broker=broker, **changes).kafka))
    print(caught.value)
    assert LOGIN["sasl_password"] not in str(caught.value)
    return str(caught.value)


@needs_apache_kafka
@pytest.mark.parametrize(("what", "listener", "client", "sentence"), MISMATCHES, ids=[row[0] for row in MISMATCHES])
def test_what_does_not_fit_the_broker_is_told_in_a_sentence(what, listener, client, sentence, guarded):
    settings = {name: guarded.files.get(value, value) for name, value in client.items()}
    said = refusal(guarded.addresses[listener], **settings)
    assert said.startswith(named(sentence, guarded.addresses[listener], guarded.files["stranger"]))


@needs_apache_kafka
@pytest.mark.parametrize(("listener", "client"), FITTING)
def test_what_fits_the_broker_is_let_in(listener, client, guarded):
    settings = {name: guarded.files.get(value, value) for name, value in client.items()}
    asyncio.run(connects(Settings.of(broker=guarded.addresses[listener], **settings).kafka))


async def connects(kafka):
    """Ask the broker for its topics, of which each sees those that it may see."""
    admin = AIOKafkaAdminClient(**connection(kafka))
    await admin.start()
    try:
        await admin.list_topics()
    finally:
        await admin.close()


def test_the_operations_page_has_each_mismatch_in_these_words():
    page = (Path(__file__).parent.parent / "docs" / "operations.md").read_text(encoding="utf-8")
    for what, _, _, sentence in MISMATCHES:
        assert f"| {what} | {named(sentence, 'kafka:9093', 'ours.pem')} |" in page


def named(sentence, broker, certificate):
    """Return a sentence about this broker and our certificate."""
    return sentence.replace("at BROKER", f"at {broker}").replace("CERTIFICATE.PEM", str(certificate))


@needs_apache_kafka
def test_apache_kafka_that_advertises_a_name_that_nobody_knows_is_told_with_the_address(tmp_path):
    with apache_kafka(tmp_path, {"advertised.listeners": "CLIENTS://kafka.invalid:9092"}) as address:
        said = refusal(address)
    assert said.startswith(f"Kafka at {address} answers, and sends its clients to kafka.invalid:9092, where nobody ")
    assert "advertised.listeners" in said


def test_a_broker_that_advertises_a_port_where_nobody_listens_is_told_with_the_address(tmp_path):
    elsewhere = free_port()
    with embedded_broker(tmp_path, advertised_port=elsewhere) as (address, _):
        assert f"sends its clients to 127.0.0.1:{elsewhere}, where nobody answers from here" in refusal(address)
