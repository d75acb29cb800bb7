"""Bounds what a kind of thing may take of Redis: so many of it, and then the oldest makes room.

A list in Redis has the ids in the order in which they came. All processes share it, and a restart forgets nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

MOST_AT_ONCE = 100
"""How many make room together, after the bound was set lower."""
LOG_EVERY = 10_000

log = structlog.get_logger(__name__)


def order_key(kind: str) -> str:
    """Return the Redis key of the list of a kind."""
    return f"cardiacnets:order:{kind}"


class RedisBound:
    """At most so many things of a kind.

    Args:
        kind: of the things, in one word.
        limit: how many there may be.
        key_of: gives the key at which the thing of an id lies.
        count: is told how many made room, and the first of them is logged; None where that is how it should be.
    """

    def __init__(
        self,
        redis: Redis,
        kind: str,
        *,
        limit: int,
        key_of: Callable[[str], str],
        count: Callable[[int], object] | None,
    ) -> None:
        self._redis, self._kind, self._limit = redis, kind, limit
        self._key_of, self._count = key_of, count
        self._removed = self._refused = 0

    async def add(self, *record_ids: str) -> bool:
        """Write down that things are there, and remove the oldest that are too many; return whether that was allowed.

        Without the right to, nothing is bounded but by its time. That is told.
        """
        try:
            there = await self._redis.rpush(order_key(self._kind), *record_ids)
            if there > self._limit:
                await self._remove(min(there - self._limit, MOST_AT_ONCE))
        except NoPermissionError as error:
            self._tell_refusal(error)
            return False
        return True

    async def _remove(self, number: int) -> None:
        asked = cast("Awaitable[list[bytes] | None]", self._redis.lpop(order_key(self._kind), number))
        keys = [self._key_of(record_id.decode()) for record_id in await asked or []]
        removed = int(await self._redis.unlink(*keys)) if keys else 0
        if self._count is None:
            return
        if removed and self._removed % LOG_EVERY == 0:
            effect = "the oldest are removed before their time"
            log.warning("redis_bound_reached", kind=self._kind, at_most=self._limit, effect=effect)
        self._removed += removed
        self._count(removed)

    def _tell_refusal(self, error: NoPermissionError) -> None:
        if self._refused % LOG_EVERY == 0:
            log.warning(
                "redis_refuses", reason=str(error)[:200], effect=f"nothing bounds how many {self._kind}s there are"
            )
        self._refused += 1
