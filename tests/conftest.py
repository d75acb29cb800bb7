"""What every test of this project may use."""

import itertools
import signal

import hypothesis
import pytest
from guarded_kafka import guarded_kafka
from shared_servers import KAFKA, brokers_for, shared_servers

# A busy machine may take ten times as long for one example.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

# A shell without job control lets what it starts in the background ignore SIGINT, and so do the children of that. Some
# tests send it to theirs.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["learned", "skips"]

WAITING, COMPUTING = ("servers", "browser", "installs"), ("learns", "exports", "commands")


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """Give a broker and a Redis that run until the last test; a test that hurts a server starts its own."""
    with shared_servers(tmp_path_factory.mktemp("servers")) as shared:
        yield shared


@pytest.fixture(scope="session")
def guarded(tmp_path_factory):
    """Give Apache Kafka that asks for logins and certificates, and gives no rights; for tests that need it."""
    with guarded_kafka(tmp_path_factory.mktemp("guarded")) as there:
        yield there


@pytest.fixture(scope="session")
def kafka_servers(tmp_path_factory):
    """Give Apache Kafka and a Redis, as `servers` does."""
    with shared_servers(tmp_path_factory.mktemp("kafka-servers"), KAFKA) as shared:
        yield shared


@pytest.fixture
def broker(request):
    """Give the shared servers with the embedded broker, and then with Apache Kafka: one contract holds on both."""
    return request.getfixturevalue("kafka_servers" if request.param is KAFKA else "servers")


def pytest_generate_tests(metafunc):
    """Run a test of the contract on each broker that matters to it."""
    if "broker" in metafunc.fixturenames:
        metafunc.parametrize("broker", brokers_for(metafunc.definition), indirect=True)


def pytest_collection_modifyitems(items):
    """Put what takes long first, a file that waits and a file that computes by turns: they share two cores well.

    With pytest-xdist each process takes the next file from this list, so both are busy until the short ones end.
    """
    files = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting = [tests for tests in files.values() if has_any(tests, WAITING)]
    computing = [tests for tests in files.values() if has_any(tests, COMPUTING) and tests not in waiting]
    ordered = [tests for pair in itertools.zip_longest(computing, waiting) for tests in pair if tests]
    ordered += [tests for tests in files.values() if tests not in ordered]
    items[:] = [item for tests in ordered for item in tests]


def has_any(tests, marks):
    """Whether one of the tests carries one of the marks."""
    return any(test.get_closest_marker(mark) for test in tests for mark in marks)
