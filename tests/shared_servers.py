"""One broker of a kind and one Redis for all tests but those that hurt one: each has its own names and database."""

import itertools
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
from apache_kafka import IS_THERE, kafka_node, needs_apache_kafka
from redis import Redis

from stream.demo.embedded_servers import embedded_broker, embedded_redis

DATABASES = 16
"""As many as Redis has unless told otherwise; more tests than that are never under way at once."""


@dataclass(frozen=True)
class Kind:
    """A kind of broker: how one is run, and in what it is unlike the others.

    Args:
        name: of the kind.
        run: starts one in a folder; gives its address and its process.
        batch_bytes: how large a batch its topics take.
        has_transactions: whether it ends transactions by marks of its own. Who has none keeps a mark that is forged.
        takes_future_timestamps: whether it keeps a message that is dated tomorrow. Apache Kafka refuses what is more
            than an hour ahead (`message.timestamp.after.max.ms`).
    """

    name: str
    run: object
    batch_bytes: int
    has_transactions: bool
    takes_future_timestamps: bool


RULES = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
    "transaction.max.timeout.ms": 900_000,
    "group.min.session.timeout.ms": 1000,
}
"""The node refuses what a rule denies, and allows the rest; a test may hurry it."""


def run_kafka(folder):
    """Run Apache Kafka."""
    return kafka_node(folder, RULES)


TANSU = Kind("tansu", embedded_broker, 6 * 2**20, has_transactions=False, takes_future_timestamps=True)
KAFKA = Kind("kafka", run_kafka, 2**19, has_transactions=True, takes_future_timestamps=False)
BOTH = (
    pytest.param(TANSU, id=TANSU.name),
    pytest.param(KAFKA, id=KAFKA.name, marks=[needs_apache_kafka, pytest.mark.kafka]),
)
ALL_ON_BOTH = os.environ.get("TEST_BROKERS") == "all"
"""Whether the tests run on Apache Kafka too that no broker makes different: for a closing measurement."""


def brokers_for(test):
    """Return the kinds on which a test of the contract runs.

    Where no broker matters it is the embedded one alone, and for a test that takes long Apache Kafka, if it is there.
    """
    if ALL_ON_BOTH or not (test.get_closest_marker("any_broker") or test.get_closest_marker("one_broker")):
        return BOTH
    return BOTH[1:] if IS_THERE and test.get_closest_marker("one_broker") else BOTH[:1]


class SharedServers:
    """Where they listen, and what of them is free."""

    def __init__(self, broker, redis, kind=TANSU, process=None, folder=None):
        self.kind, self.process, self.folder = kind, process, folder
        self.address, self._redis = broker, redis.removesuffix("/0")
        self._numbers = itertools.count()
        self._databases = list(range(DATABASES))

    @contextmanager
    def place(self):
        """Give settings under which a test sees nothing of the others; its database is emptied afterwards."""
        database = self._databases.pop()
        url = f"{self._redis}/{database}"
        prefix = f"test-{next(self._numbers)}."
        try:
            yield {"broker": self.address, "redis": url, "topic_prefix": prefix}
        finally:
            with Redis.from_url(url) as client:
                client.flushdb()
            self._databases.append(database)

    @contextmanager
    def place_with(self, folder, own):
        """Give such a place with the servers that the test wants for itself; and the processes, of both, of these."""
        with ExitStack() as stack:
            place, broker, redis = stack.enter_context(self.place()), self.process, None
            if "broker" in own:
                place["broker"], broker = stack.enter_context(self.kind.run(folder))
            if "redis" in own:
                place["redis"], redis = stack.enter_context(embedded_redis(folder))
            yield place | {"processes": (broker, redis)}


@contextmanager
def shared_servers(folder, kind=TANSU):
    """Run them; their logs go into the folder."""
    with kind.run(folder) as (broker, process), embedded_redis(folder) as (redis, _):
        yield SharedServers(broker, redis, kind, process, folder)
