"""What an archive may take of Redis: each thing of an archive takes one of so many slots.

A slot is a key whose name follows from the record's id, so no worker has to count, and a restart forgets nothing. The
keys lie among those of record ids, which a worker may read and write.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from types import TracebackType
from typing import Self

import msgspec
import structlog
from redis.exceptions import RedisError

from stream.redis_client import new_redis
from stream.settings import RedisSettings

MARK_BYTES = 8
TRIES = 8
"""A thing whose slot is taken looks at the next ones, so that nearly all slots fill."""
PAUSE_S = 5.0
"""After Redis did not answer it is not asked for so long."""

log = structlog.get_logger(__name__)


def mark(record_id: str) -> bytes:
    """Return 8 bytes that tell ids apart."""
    return hashlib.blake2b(record_id.encode(), digest_size=MARK_BYTES).digest()


def slot_key(what: str, record_id: str, slots: int, attempt: int = 0) -> str:
    """Return the Redis key of the slot of a record's id, or of the one so many further."""
    return f"cardiacnets:ecg-id:{what}:{(int.from_bytes(mark(record_id), 'big') + attempt) % slots}"


class ArchiveSlots:
    """At most so many things of an archive, such as waveforms. Whoever comes to a slot first has it until it expires.

    Args:
        what: they are, in one word.
        limit: how many there may be.
        ttl_s: of a slot; no less than of the thing.
    """

    def __init__(self, settings: RedisSettings, what: str, *, limit: int, ttl_s: int) -> None:
        self._what, self._limit, self._ttl_s = what, limit, ttl_s
        self._answer_s = settings.ecg_id_wait_s
        self._redis = new_redis(msgspec.structs.replace(settings, timeout_s=self._answer_s))
        self._asks_again_at = 0.0

    async def __aenter__(self) -> Self:
        """Connect when something is asked for."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        await self._redis.aclose()

    async def take(self, record_id: str) -> bool:
        """Return whether the record has its slot, now or since an earlier time. Without Redis it has none."""
        if time.monotonic() < self._asks_again_at:
            return False
        try:
            async with asyncio.timeout(2 * self._answer_s):
                return await self._take(record_id)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("redis_unavailable", error=type(error).__name__, effect=f"no {self._what} of archives are kept")
            self._asks_again_at = time.monotonic() + PAUSE_S
            return False

    async def _take(self, record_id: str) -> bool:
        for attempt in range(min(TRIES, self._limit)):
            key = slot_key(self._what, record_id, self._limit, attempt)
            async with self._redis.pipeline(transaction=False) as commands:
                commands.set(key, mark(record_id), nx=True, ex=self._ttl_s)
                commands.mget([key])
                _, (owner,) = await commands.execute()
            if owner == mark(record_id):
                return True
        return False
