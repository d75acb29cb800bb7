"""Which ECG owns each record id, as Redis remembers it: the ward's ids one by one, an archive's in a bounded number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from engines.batcher import Lane
from stream.redis_bounds import RedisBound
from stream.redis_client import new_redis
from stream.settings import RedisSettings

from .archive_slots import MARK_BYTES, mark, slot_key

ARCHIVE_TTL_S = 86_400
"""A full Redis that evicts by `volatile-ttl` evicts an archive's ids before the ward's."""


def owner_key(record_id: str) -> str:
    """Return the Redis key of the digest of the ECG that owns an id. The 1 is the version of the digest."""
    return f"cardiacnets:ecg-id:1:{record_id}"


class Seen(NamedTuple):
    """An ECG by its id and its digest, and where it came from.

    Attributes:
        of_archive: the digest of an archive's ECG that owns the id, as this process remembers it.
    """

    record_id: str
    digest: bytes
    lane: Lane
    of_archive: bytes | None = None


class _Owners(NamedTuple):
    """Who owns an id as Redis said: an ECG of the ward, an ECG of an archive, or nobody.

    Attributes:
        claimed: whether the ward's ECG was written as the owner just now, since the ward knew none.
    """

    ward: bytes | None
    archive: bytes | None
    claimed: bool


class SharedOwners:
    """Claims ids in Redis."""

    def __init__(self, settings: RedisSettings, count_removed: Callable[[int], object]) -> None:
        self._ttl_s, self._slots = settings.ecg_id_ttl_s, settings.backfill_ecg_ids
        self._redis = new_redis(msgspec.structs.replace(settings, timeout_s=settings.ecg_id_wait_s))
        self._bound = RedisBound(
            self._redis, "ecg-id", limit=settings.ecg_ids_at_most, key_of=owner_key, count=count_removed
        )

    async def close(self) -> None:
        """Disconnect."""
        await self._redis.aclose()

    async def claim(self, seen: Sequence[Seen]) -> dict[str, bytes]:
        """Claim each id that nobody owns, and return the owners of the others.

        Ids that are known take one round trip, and new ones two.

        Raises:
            RedisError: Redis does not answer.
        """
        owned = await self._ask(seen)
        found: dict[str, bytes] = {}
        writes: dict[str, tuple[bytes, int]] = {}
        for one, owners in zip(seen, owned, strict=True):
            if owner := _owner_of(one, owners):
                found.setdefault(one.record_id, owner)  # of two ECGs of one batch the first one says it
                if owners.claimed:  # the ward wrote itself down, and an archive's ECG had been there before
                    writes[owner_key(one.record_id)] = owner, self._ttl_s
            elif one.lane is Lane.BACKFILL and self._slots:
                value = mark(one.record_id) + one.digest
                writes.setdefault(self._slot(one), (value, ARCHIVE_TTL_S))
        await self._write(writes)
        if claimed := [one.record_id for one, owners in zip(seen, owned, strict=True) if owners.claimed]:
            await self._bound.add(*claimed)
        return found

    async def _ask(self, seen: Sequence[Seen]) -> list[_Owners]:
        """Return who owns the ids, after an attempt to claim those of the ward, in one round trip."""
        wards = [place for place, one in enumerate(seen) if one.lane is Lane.REALTIME]
        async with self._redis.pipeline(transaction=False) as commands:
            for place in wards:
                commands.set(owner_key(seen[place].record_id), seen[place].digest, nx=True, ex=self._ttl_s)
            commands.mget([owner_key(one.record_id) for one in seen])
            if self._slots:
                commands.mget([self._slot(one) for one in seen])
            answers = await commands.execute()
        claims, owners = dict(zip(wards, answers, strict=False)), answers[len(wards)]
        slots = answers[len(wards) + 1] if self._slots else [None] * len(seen)
        return [
            _Owners(owners[place], one.of_archive or _in_slot(slots[place], one.record_id), bool(claims.get(place)))
            for place, one in enumerate(seen)
        ]

    async def _write(self, writes: Mapping[str, tuple[bytes, int]]) -> None:
        if not writes:
            return
        async with self._redis.pipeline(transaction=False) as commands:
            for key, (value, ttl_s) in writes.items():
                commands.set(key, value, ex=ttl_s)
            await commands.execute()

    def _slot(self, one: Seen) -> str:
        return slot_key("archive", one.record_id, self._slots)


def _owner_of(one: Seen, owners: _Owners) -> bytes | None:
    """Return the ECG that owned an id before, of the ward or of an archive; None if nobody did."""
    if owners.claimed:
        return owners.archive if owners.archive != one.digest else None
    return owners.ward or owners.archive


def _in_slot(value: bytes | None, record_id: str) -> bytes | None:
    """Return the digest that a slot holds, if it is of this id."""
    is_its = value is not None and value.startswith(mark(record_id))
    return value[MARK_BYTES:] if value is not None and is_its else None
