"""One broker and one Redis for all tests but those that hurt a server: each test has its own names and database."""

import itertools
from contextlib import contextmanager

from redis import Redis

from stream.demo.embedded_servers import embedded_broker, embedded_redis

DATABASES = 16
"""As many as Redis has unless told otherwise; more tests than that are never under way at once."""


class SharedServers:
    """Where they listen, and what of them is free."""

    def __init__(self, broker, redis):
        self._broker, self._redis = broker, redis.removesuffix("/0")
        self._numbers = itertools.count()
        self._databases = list(range(DATABASES))

    @contextmanager
    def place(self):
        """Give settings under which a test sees nothing of the others; its database is emptied afterwards."""
        database = self._databases.pop()
        url = f"{self._redis}/{database}"
        try:
            yield {"broker": self._broker, "redis": url, "topic_prefix": f"test-{next(self._numbers)}."}
        finally:
            with Redis.from_url(url) as client:
                client.flushdb()
            self._databases.append(database)


@contextmanager
def shared_servers(folder):
    """Run them; their logs go into the folder."""
    with embedded_broker(folder) as (broker, _), embedded_redis(folder) as (redis, _):
        yield SharedServers(broker, redis)
