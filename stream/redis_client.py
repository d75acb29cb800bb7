"""How we speak to Redis: short time-outs, few further tries, keys that do not all expire at once."""

from __future__ import annotations

import random

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError

from schemas.errors import InvalidSettings

from .settings import RedisSettings

TTL_JITTER = 0.1


def new_redis(settings: RedisSettings, *, retries: int) -> Redis:
    """Return a client, which connects when it is asked for something.

    Args:
        retries: of a command that failed; one of them replaces at once a connection that a restart has cut, or that a
            failover has left with a replica, which takes no writes.

    Raises:
        InvalidSettings: the URL cannot be used; redis-py would say so at the first command.
    """
    try:
        client = Redis.from_url(
            settings.url,
            socket_timeout=settings.timeout_s,
            socket_connect_timeout=settings.timeout_s,
            retry=Retry(NoBackoff(), retries),
            retry_on_error=[ReadOnlyError],  # a replica since a failover: its connection is dropped, as a cut one
        )
        client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    except TypeError as error:
        raise InvalidSettings(f"CARDIACNETS_REDIS has an option that redis-py does not know: {error}") from error
    except ValueError:  # its text may hold a piece of the password
        raise InvalidSettings(
            "CARDIACNETS_REDIS is not a URL: check its port, its options and its password. In the password, write %23 "
            "for # and %2F for /"
        ) from None
    return client


def spread_ttl_s(ttl_s: int) -> int:
    """Return a time to live that is spread, so that what was stored together does not expire together."""
    return round(ttl_s * random.uniform(1 - TTL_JITTER, 1 + TTL_JITTER))  # noqa: S311


def longest_ttl_s(ttl_s: int) -> int:
    """Return the longest time to live that `spread_ttl_s` gives."""
    return round(ttl_s * (1 + TTL_JITTER))
