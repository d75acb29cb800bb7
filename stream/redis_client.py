"""How we speak to Redis, alone or behind Sentinels: short time-outs, one further try, keys that do not expire together.

A connection that nobody used for a while may be dead: Redis (`timeout`), a proxy or a firewall has closed it, with or
without a word. So each one is looked at before it is used, and a command that failed is tried once more on a new one.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from redis.asyncio import Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError
from redis.maint_notifications import MaintNotificationsConfig

from schemas.errors import InvalidSettings

from .settings import RedisSettings

TTL_JITTER = 0.1
REDIS_PORT, SENTINEL_PORT = 6379, 26379
SENTINELS = "+sentinel"
OF_SENTINELS = "sentinel_"
"""What stands before an option of the URL that is for the Sentinels alone."""


class SentinelPlace(NamedTuple):
    """Where a master is asked for.

    Attributes:
        sentinels: host and port of each.
        master: its name.
        database: the number.
    """

    sentinels: tuple[tuple[str, int], ...]
    master: str
    database: int


class RedisBehindSentinels(Redis):
    """A client of whichever server the Sentinels call the master; it closes what asks them as well."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Disconnect."""
        await super().aclose(close_connection_pool)
        sentinels: Any = self.connection_pool
        await sentinels.sentinel_manager.aclose()


def new_redis(settings: RedisSettings) -> Redis:
    """Return a client, which connects when it is asked for something.

    A command that failed is tried once more, at once and on a new connection: the old one was closed meanwhile, a
    restart has cut it, or a failover has left it with a replica, which takes no writes.

    Raises:
        InvalidSettings: the URL cannot be used; redis-py would say so at the first command.
    """
    url = urlsplit(settings.url)
    try:
        client = _behind_sentinels(url, settings) if SENTINELS in url.scheme else _alone(settings)
        client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    except TypeError as error:
        raise InvalidSettings(f"CARDIACNETS_REDIS has an option that redis-py does not know: {error}") from error
    except ValueError:  # its text may hold a piece of the password
        raise InvalidSettings(
            "CARDIACNETS_REDIS is not a URL: check its port, its options and its password. In the password, write %23 "
            "for # and %2F for /"
        ) from None
    return client


def redis_place(settings: RedisSettings) -> str:
    """Return where Redis is, for a message. The URL may hold a password and must not be shown."""
    url = urlsplit(settings.url)
    if SENTINELS not in url.scheme:
        return f"{url.hostname or 'localhost'}:{url.port or REDIS_PORT}"
    place = sentinel_place(url)
    return f"the master {place.master} of the Sentinels {', '.join(f'{host}:{port}' for host, port in place.sentinels)}"


def sentinel_place(url: SplitResult) -> SentinelPlace:
    """Return what a URL with `redis+sentinel://` names.

    Raises:
        InvalidSettings: it lacks the master's name, or names no number for the database.
    """
    _, _, hosts = url.netloc.rpartition("@")
    addresses = [urlsplit(f"//{host}") for host in hosts.split(",")]
    master, _, database = url.path.strip("/").partition("/")
    if not master or not (database or "0").isdigit() or not all(address.hostname for address in addresses):
        raise InvalidSettings(
            "CARDIACNETS_REDIS must name the Sentinels, the master and the database: "
            "redis+sentinel://host-1:26379,host-2:26379,host-3:26379/mymaster/0"
        )
    sentinels = tuple((str(address.hostname), address.port or SENTINEL_PORT) for address in addresses)
    return SentinelPlace(sentinels, master, int(database or 0))


def spread_ttl_s(ttl_s: int) -> int:
    """Return a time to live that is spread, so that what was stored together does not expire together."""
    return round(ttl_s * random.uniform(1 - TTL_JITTER, 1 + TTL_JITTER))  # noqa: S311


def longest_ttl_s(ttl_s: int) -> int:
    """Return the longest time to live that `spread_ttl_s` gives."""
    return round(ttl_s * (1 + TTL_JITTER))


def _manners(settings: RedisSettings) -> dict[str, Any]:
    return {
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
        "retry": Retry(NoBackoff(), 1),
        "retry_on_error": [ReadOnlyError],  # a replica since a failover: its connection is dropped, as a cut one
        # Where these may come, redis-py uses a connection without a look whether it was closed meanwhile.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


def _alone(settings: RedisSettings) -> Redis:
    client: Redis = Redis.from_url(settings.url, **_manners(settings))
    return client


def _behind_sentinels(url: SplitResult, settings: RedisSettings) -> Redis:
    place = sentinel_place(url)
    user, _, _ = url.netloc.rpartition("@")
    options: dict[str, Any] = dict(parse_url(f"redis://{user}@localhost/{place.database}?{url.query}"))
    del options["host"]
    login = {name.removeprefix(OF_SENTINELS): options.pop(name) for name in list(options) if OF_SENTINELS in name}
    common = _manners(settings) | ({"ssl": True} if url.scheme.startswith("rediss") else {})
    certificates = {name: value for name, value in options.items() if name.startswith("ssl_")}
    sentinel = Sentinel(place.sentinels, sentinel_kwargs=common | certificates | login)  # type: ignore[no-untyped-call]
    client: Redis = sentinel.master_for(place.master, redis_class=RedisBehindSentinels, **common, **options)
    return client
