"""Kafka as hospitals run it: TLS, certificates, users with passwords; and Redis behind TLS."""

import asyncio
import gc
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from apache_kafka import kafka_node
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from guarded_kafka import keystore
from harness import collect, good_values, publish_values, ward
from redis import Redis
from sample_cine import sample_cine
from secure_door import secure_door, server_context
from shared_servers import KAFKA, brokers_for
from waiting import PATIENCE_S

from schemas.errors import DeploymentError
from stream.broker.clients import ensure_topics, tls_context
from stream.cines.store import CineStore, RedisUnavailable
from stream.demo.embedded_servers import embedded_redis, free_port
from stream.demo.place import place_on_a_broker
from stream.settings import Settings, as_environment

RECORDS = 12
USER, PASSWORD = "screening", "a-long-one"

pytestmark = [
    pytest.mark.servers,
    # Closing a TLS connection takes a moment. Neither aiokafka waits for it when a client stops, nor asyncio.run.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def cleared():
    """Leave none of those connections for the tests of other files to find."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def authority():
    """A certificate authority that signs for this module."""
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority, tmp_path_factory):
    """The authority's certificate, and a client's with its key."""
    client, folder = authority.issue_cert("ward@example.org"), tmp_path_factory.mktemp("certificates")
    paths = {name: folder / f"{name}.pem" for name in ("ca", "client", "key")}
    authority.cert_pem.write_to_path(paths["ca"])
    client.cert_chain_pems[0].write_to_path(paths["client"])
    client.private_key_pem.write_to_path(paths["key"])
    return paths


@contextmanager
def doors_before_tansu(authority, folder):
    """Give a ward behind a door that lets in those whom the settings describe."""

    @contextmanager
    def let_in(tmp_path, settings):
        mechanism, certificates = settings.get("sasl_mechanism"), "tls_key_file" in settings
        context = server_context(authority, client_certificates=certificates)
        door = secure_door(context=context, mechanism=mechanism, user=USER, password=PASSWORD)
        with door as guard, ward(tmp_path, door=guard, **settings) as there:
            yield there
            assert guard.entered > 2 or not there.workers

    yield let_in


@contextmanager
def doors_of_kafka(authority, folder):
    """Give a ward on Apache Kafka, which has a listener for each way to be let in."""
    ports = {name: free_port() for name in ("SCRAM-SHA-512", "PLAIN", "SSL")}
    doors = {name.partition("-")[0]: (name if name == "SSL" else "SASL_SSL", port) for name, port in ports.items()}
    with (
        kafka_node(folder, kafka_rules(authority, folder), listeners=doors, users={USER: PASSWORD}),
        embedded_redis(folder) as (redis, _),
    ):

        @contextmanager
        def let_in(tmp_path, settings):
            port = ports[settings.get("sasl_mechanism", "SSL")]
            place = {"broker": f"127.0.0.1:{port}", "redis": redis}
            with ward(tmp_path, **place, topic_prefix=f"{tmp_path.name}.", **settings) as there:
                yield there

        yield let_in


def kafka_rules(authority, folder):
    """Return the settings of a node that ends TLS by itself, and knows a user by either mechanism."""
    modules, trusted = "org.apache.kafka.common.security", folder / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    shown = [keystore(folder, name, authority.issue_cert("127.0.0.1")) for name in ("scram", "plain", "ssl")]
    return {
        **{name: value for rules in shown for name, value in rules.items()},
        "listener.name.ssl.ssl.client.auth": "required",
        "listener.name.ssl.ssl.truststore.type": "PEM",
        "listener.name.ssl.ssl.truststore.location": trusted,
        "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.scram.scram-sha-512.sasl.jaas.config": f"{modules}.scram.ScramLoginModule required;",
        "listener.name.plain.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.plain.plain.sasl.jaas.config": (
            f'{modules}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        ),
    }


def pytest_generate_tests(metafunc):
    """Run what concerns the doors on each broker that matters to it."""
    if "let_in" in metafunc.fixturenames:
        metafunc.parametrize("let_in", brokers_for(metafunc.definition), indirect=True, scope="module")


@pytest.fixture(scope="module")
def let_in(request, authority, tmp_path_factory):
    """Give what makes a ward to which the settings are let in, and no others."""
    doors = doors_of_kafka if request.param is KAFKA else doors_before_tansu
    with doors(authority, tmp_path_factory.mktemp("doors")) as let_in:
        yield let_in


@pytest.fixture(scope="module")
def guarded(let_in, files, tmp_path_factory):
    """The settings of a client that is let in, of a ward that others are kept from."""
    with let_in(tmp_path_factory.mktemp("ward"), sasl("SCRAM-SHA-512", files)) as there:
        yield there.settings


def sasl(mechanism, files):
    """Return the settings of a client that is let in."""
    return {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": mechanism,
        "sasl_username": USER,
        "sasl_password": PASSWORD,
        "tls_ca_file": files["ca"],
    }


def assert_screened(there):
    """Publish records, and assert that each is answered."""
    values = good_values(RECORDS)
    there.start()
    asyncio.run(publish_values(there.settings, values))
    answers = asyncio.run(collect(there.settings, until=lambda answers: answers.answered >= RECORDS))
    assert answers.report_ids.keys() == values.keys()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_records_are_screened_over_tls_with_a_password(mechanism, let_in, files, tmp_path):
    with let_in(tmp_path, sasl(mechanism, files)) as there:
        assert_screened(there)


def test_records_are_screened_over_tls_with_a_clients_certificate(let_in, files, tmp_path):
    known = {
        "security_protocol": "SSL",
        "tls_ca_file": files["ca"],
        "tls_certificate_file": files["client"],
        "tls_key_file": files["key"],
    }
    with let_in(tmp_path, known) as there:
        assert_screened(there)


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"sasl_password": "wrong"}, "refuses CARDIACNETS_SASL_USERNAME"),
        ({"sasl_username": "nobody"}, "refuses CARDIACNETS_SASL_USERNAME"),
        ({"sasl_mechanism": "PLAIN"}, "does not know CARDIACNETS_SASL_MECHANISM=PLAIN: set one that it knows: SCRAM"),
        ({"tls_ca_file": None}, "not trusted; set CARDIACNETS_TLS_CA_FILE"),
        (
            {"security_protocol": "SASL_PLAINTEXT", "tls_ca_file": None},
            "speaks TLS at this address.*: set SASL_SSL, and ",
        ),
        (
            {"security_protocol": "SSL", "sasl_username": None, "sasl_password": None},
            "asks for a login .SCRAM-SHA-512.",
        ),
        (
            {"broker": "127.0.0.1:1"},
            "no Kafka broker answers at 127.0.0.1:1; set its address by --broker or CARDIACNETS_BROKER",
        ),
    ],
)
def test_what_does_not_fit_the_broker_is_named(changes, advice, guarded):
    settings = guarded.changed(**changes)
    with pytest.raises(DeploymentError, match=advice) as caught:
        asyncio.run(ensure_topics(settings.kafka))
    assert PASSWORD not in str(caught.value)


@pytest.mark.any_broker
@pytest.mark.parametrize("command", [["worker"], ["cmr-worker"], ["dashboard"], ["publish", "."]])
def test_a_command_that_is_refused_ends_with_the_reason_and_no_traceback(command, guarded, tmp_path):
    refused = guarded.changed(sasl_password="wrong", http_port=0, dashboard_port=0)
    run = subprocess.run(
        [sys.executable, "-m", "stream.cli", *command],
        check=False,
        cwd=tmp_path,
        env={**os.environ, **as_environment(refused), "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert run.returncode == 1
    assert "refuses CARDIACNETS_SASL_USERNAME" in run.stderr
    assert "Traceback" not in run.stderr


def test_the_demonstration_comes_in_as_the_settings_say_and_takes_its_topics_along(guarded, tmp_path):
    said = []
    with place_on_a_broker(guarded, tmp_path, said.append) as own:
        assert own.kafka.security_protocol == "SASL_SSL"
    assert said == [f"the topics {own.kafka.topic_prefix}* are removed from {guarded.kafka.broker}"]


@pytest.mark.parametrize("broken", ["tls_ca_file", "tls_certificate_file", "tls_key_file"])
def test_a_file_that_is_no_certificate_is_named(broken, files, tmp_path):
    (tmp_path / "note.pem").write_text("not a certificate")
    for path in (tmp_path / "note.pem", tmp_path / "absent.pem"):
        settings = Settings.of(
            security_protocol="SSL",
            **{
                "tls_ca_file": files["ca"],
                "tls_certificate_file": files["client"],
                "tls_key_file": files["key"],
                broken: path,
            },
        )
        with pytest.raises(DeploymentError, match=f"CARDIACNETS_{broken.upper()}={path}"):
            tls_context(settings.kafka)


def test_a_key_behind_a_password_needs_it_and_never_asks_the_terminal(files, tmp_path):
    locked = tmp_path / "locked.pem"
    key = load_pem_private_key(files["key"].read_bytes(), password=None)
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"opens")))
    settings = Settings.of(security_protocol="SSL", tls_certificate_file=files["client"], tls_key_file=locked)
    with pytest.raises(DeploymentError, match="locked.pem"):
        tls_context(settings.kafka)
    assert tls_context(settings.changed(tls_key_password="opens").kafka)


def test_cines_go_to_redis_over_tls_with_a_password(authority, files, tmp_path):
    with secure_door(context=server_context(authority)) as door, embedded_redis(tmp_path) as (url, _):
        with Redis.from_url(url) as plain:
            plain.config_set("requirepass", PASSWORD)
        door.behind = urlsplit(url).port
        place = f"127.0.0.1:{door.port}/0?ssl_ca_certs={files['ca']}"
        asyncio.run(_keeps_a_cine(Settings.of(redis=f"rediss://:{PASSWORD}@{place}", redis_timeout_s=5)))
        for refused in (f"rediss://:wrong@{place}", f"rediss://:{PASSWORD}@127.0.0.1:{door.port}/0"):
            with pytest.raises(RedisUnavailable) as caught:
                asyncio.run(_keeps_a_cine(Settings.of(redis=refused, redis_timeout_s=5)))
            assert PASSWORD not in str(caught.value)


async def _keeps_a_cine(settings):
    async with CineStore(settings.redis, ttl_s=settings.cines.ttl_s) as store:
        await store.put("r-1", sample_cine(), seconds=1)
        assert await store.find("r-1")
