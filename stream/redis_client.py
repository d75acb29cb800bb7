"""How we speak to Redis: short time-outs, few further tries, keys that do not all expire at once."""

from __future__ import annotations

import random

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from .settings import Settings

TTL_JITTER = 0.1


def new_redis(settings: Settings, *, retries: int) -> Redis:
    """Return a client, which connects when it is asked for something.

    Args:
        retries: of a command that failed; one of them replaces at once a connection that a restart has cut.
    """
    return Redis.from_url(
        settings.redis,
        socket_timeout=settings.redis_timeout_s,
        socket_connect_timeout=settings.redis_timeout_s,
        retry=Retry(NoBackoff(), retries),
    )


def spread_ttl_s(ttl_s: int) -> int:
    """Return a time to live that is spread, so that what was stored together does not expire together."""
    return round(ttl_s * random.uniform(1 - TTL_JITTER, 1 + TTL_JITTER))  # noqa: S311
