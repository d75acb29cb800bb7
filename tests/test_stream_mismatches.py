"""What does not fit between us and a broker is told in a sentence: its protocol, or an address that it gives out."""

import asyncio

import pytest
from apache_kafka import apache_kafka, needs_apache_kafka

from schemas.errors import DeploymentError
from stream.broker.clients import ensure_topics
from stream.demo.embedded_servers import embedded_broker, free_port
from stream.settings import Settings

pytestmark = pytest.mark.servers

LOGIN = {"sasl_username": "worker", "sasl_password": "secret-of-ours"}


@pytest.fixture(scope="module")
def apache(tmp_path_factory):
    """Run Apache Kafka that speaks without TLS and login, and give its address."""
    with apache_kafka(tmp_path_factory.mktemp("apache")) as address:
        yield address


def refusal(broker, **changes):
    """Return the sentence in which creating topics ends."""
    with pytest.raises(DeploymentError) as caught:
        asyncio.run(ensure_topics(Settings.of(broker=broker, **changes).kafka))
    print(caught.value)
    assert LOGIN["sasl_password"] not in str(caught.value)
    return str(caught.value)


@needs_apache_kafka
@pytest.mark.parametrize(
    ("protocol", "login", "sentence"),
    [
        (
            "SSL",
            {},
            "speaks without TLS at this address, and CARDIACNETS_SECURITY_PROTOCOL is SSL: name the address of ",
        ),
        ("SASL_SSL", LOGIN, "its listener with TLS, or set SASL_PLAINTEXT"),
        ("SASL_PLAINTEXT", LOGIN, "takes no login at this address: set CARDIACNETS_SECURITY_PROTOCOL to PLAINTEXT"),
    ],
)
def test_a_client_with_tls_or_a_login_before_a_broker_without_is_told_so(apache, protocol, login, sentence):
    assert sentence in refusal(apache, security_protocol=protocol, **login)


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
