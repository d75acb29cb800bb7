"""Cines in Redis: a hash for each record, which expires, and a lock for each request, so that it is drawn once.

A hash holds everything about its cine, so that nobody ever sees half a cine:

    version     of this layout
    geometry    JSON of CineGeometry
    provenance  JSON of CineProvenance: record, report, models, seed, and the notices that every picture carries
    seconds     how long the drawing took
    frames      uint8, zstd

Data from Redis is not trusted: sizes are checked before anything is decompressed.
"""

# ruff: noqa: N818 -- the errors are leaves of the tree in schemas/errors.py, and name the condition

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self, cast

import msgspec
import numpy as np
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, OutOfMemoryError, RedisError, ResponseError

from inference.cine import Cine, CineGeometry, CineProvenance
from schemas.errors import CardiacNetsError, TransientError
from schemas.zstd_frames import UnusableFrame, compress, decompress
from stream.end_tasks import end_tasks
from stream.redis_bounds import RedisBound
from stream.redis_client import new_redis, redis_place, spread_ttl_s
from stream.settings import RedisSettings

VERSION = b"1"
MAX_FRAMES_BYTES = 32 * 2**20
"""The bound on a decompressed cine: 70 times a cine of the published shape."""
MAX_FIELD_BYTES = 64 * 2**10
"""The bound on each other field: twice that on a request, whose ids and whose model the provenance repeats."""
LOCK_S = 10.0
"""A lock whose owner died is free after this time. A living owner renews its lock."""
LOCK_RENEWALS = 3
RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
RENEW = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"
ABOUT = ("version", "geometry", "provenance", "seconds")


class RedisUnavailable(TransientError):
    """Redis cannot be reached, or does not answer as it should."""

    code: ClassVar[str] = "redis_unavailable"


class RedisFull(TransientError):
    """Redis is at its memory limit and may not evict anything."""

    code: ClassVar[str] = "redis_full"


class OversizedCine(CardiacNetsError):
    """The cine is larger than what its readers take, so it is not stored."""

    code: ClassVar[str] = "oversized_cine"


class CorruptCine(CardiacNetsError):
    """The value at a cine's key is not a cine of this version."""

    code: ClassVar[str] = "corrupt_cine"


@dataclass(frozen=True, slots=True)
class StoredCine:
    """Everything about a cine in Redis except its frames."""

    geometry: CineGeometry
    provenance: CineProvenance
    seconds: float
    size_bytes: int
    """The size of the compressed frames."""


def cine_key(record_id: str) -> str:
    """Return the Redis key of a record's cine."""
    return f"cardiacnets:cine:{record_id}"


def lock_key(request_id: str) -> str:
    """Return the Redis key of the lock on a request."""
    return f"cardiacnets:cine-lock:{request_id}"


class CineStore:
    """Stores and fetches cines, with short time-outs and one retry. It is an asynchronous context manager.

    Every method raises `RedisUnavailable` or `RedisFull` when Redis cannot serve. The caller decides how long to retry.

    Args:
        settings: of Redis.
        ttl_s: how long a cine is kept, more or less.
        lock_s: a lock whose owner died is free after this time.
        removed: is told how many cines made room for newer ones.
    """

    def __init__(
        self,
        settings: RedisSettings,
        *,
        ttl_s: int,
        lock_s: float = LOCK_S,
        removed: Callable[[int], object] = lambda number: None,  # noqa: ARG005
    ) -> None:
        self._ttl_s = ttl_s
        self._lock_s = lock_s
        self._redis = new_redis(settings)
        self._bound = RedisBound(self._redis, "cine", limit=settings.cines_at_most, key_of=cine_key, count=removed)
        self._place = redis_place(settings)

    async def __aenter__(self) -> Self:
        """Return the store. It connects with the first request."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        await self._redis.aclose()

    async def put(self, record_id: str, cine: Cine, *, seconds: float) -> int:
        """Store the record's cine until it expires, in place of an earlier one. Return its compressed size in bytes.

        Args:
            seconds: how long the drawing took.

        Raises:
            OversizedCine: nobody could read it again.
        """
        frames = await asyncio.to_thread(_compressed, cine)
        fields: dict[Any, Any] = {
            "version": VERSION,
            "geometry": msgspec.json.encode(cine.geometry),
            "provenance": msgspec.json.encode(cine.provenance),
            "seconds": msgspec.json.encode(seconds),
            "frames": frames,
        }
        sizes = {name: len(value) for name, value in fields.items()}
        if oversized := _oversized({**sizes, "frames": max(len(frames), cine.frames.nbytes)}):
            raise OversizedCine(f"the cine is too large to be kept: {oversized}")
        with self._errors():
            async with self._redis.pipeline(transaction=True) as commands:
                commands.delete(cine_key(record_id))
                commands.hset(cine_key(record_id), mapping=fields)
                commands.expire(cine_key(record_id), spread_ttl_s(self._ttl_s))
                await commands.execute()
            await self._bound.add(record_id)
        return len(frames)

    async def get(self, record_id: str) -> Cine | None:
        """Return the record's cine, or None if there is none or it has expired.

        Raises:
            CorruptCine: the key holds something else.
        """
        about = await self.find(record_id)
        if about is None:
            return None
        with self._errors():
            frames = await cast("Awaitable[bytes | None]", self._redis.hget(cine_key(record_id), "frames"))
        return None if frames is None else await asyncio.to_thread(read_cine, about, frames)

    async def find(self, record_id: str) -> StoredCine | None:
        """Return everything about the record's cine without fetching its frames, or None if there is no cine.

        Raises:
            CorruptCine: the key holds something else.
        """
        key = cine_key(record_id)
        with self._errors():
            async with self._redis.pipeline(transaction=True) as commands:
                for name in (*ABOUT, "frames"):
                    commands.hstrlen(key, name)
                commands.exists(key)
                *sizes, there = await commands.execute()
            if not there:
                return None
            check_sizes(dict(zip((*ABOUT, "frames"), sizes, strict=True)))
            values = await cast("Awaitable[list[Any]]", self._redis.hmget(key, list(ABOUT)))
        return None if None in values else read_about(values, sizes[-1], record_id)

    async def prolong(self, record_id: str) -> bool:
        """Restart the time until the record's cine expires. Return whether the cine was still there."""
        with self._errors():
            return bool(await self._redis.expire(cine_key(record_id), spread_ttl_s(self._ttl_s)))

    async def claim(self, request_id: str) -> Claim | None:
        """Return the lock on a request, or None while another worker has it.

        A lock only saves work. Drawing is deterministic, so a lost lock costs a second drawing of the same cine.
        """
        key, token = lock_key(request_id), secrets.token_hex(16)
        with self._errors():
            taken = await self._redis.set(key, token, nx=True, px=round(1000 * self._lock_s))
            # Our own token is there already if the client repeated the command after a time-out.
            ours = taken or await self._redis.get(key) == token.encode()
        return Claim(self._redis, key, token, self._lock_s) if ours else None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OutOfMemoryError as error:
            raise RedisFull(f"Redis at {self._place} is at its memory limit") from error
        except (RedisError, OSError) as error:
            if "WRONGTYPE" in str(error):
                raise CorruptCine("the key holds something that is no hash") from error
            if isinstance(error, ResponseError | AuthenticationError):
                raise RedisUnavailable(f"Redis at {self._place} refuses: {error}") from error
            raise RedisUnavailable(f"Redis at {self._place} does not answer: {type(error).__name__}") from error


class Claim:
    """A lock that is held and renewed until the block ends. Only its owner can release it."""

    def __init__(self, redis: Redis, key: str, token: str, lock_s: float) -> None:
        self._redis = redis
        self._key = key
        self._token = token
        self._lock_s = lock_s

    async def __aenter__(self) -> Self:
        """Begin to renew the lock."""
        self._renewing = asyncio.create_task(self._renew())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock. If Redis cannot be reached, the lock expires by itself."""
        await end_tasks(self._renewing)
        with contextlib.suppress(RedisError, OSError):
            await cast("Awaitable[int]", self._redis.eval(RELEASE, 1, self._key, self._token))

    async def _renew(self) -> None:
        lock_ms = str(round(1000 * self._lock_s))
        while True:
            await asyncio.sleep(self._lock_s / LOCK_RENEWALS)
            with contextlib.suppress(RedisError, OSError):
                await cast("Awaitable[int]", self._redis.eval(RENEW, 1, self._key, self._token, lock_ms))


def _compressed(cine: Cine) -> bytes:
    return compress(np.ascontiguousarray(cine.frames).tobytes())


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Check how much Redis would send before it sends anything."""
    if not all(sizes.values()):
        missing = ", ".join(name for name, size in sizes.items() if not size)
        raise CorruptCine(f"the hash lacks {missing}")
    if oversized := _oversized(sizes):
        raise CorruptCine(f"a field of the hash is over its bound: {oversized}")


def _oversized(sizes: Mapping[str, int]) -> str | None:
    """Return the field that is larger than its bound, and the bound. Who writes and who reads ask the same."""
    for name, size in sizes.items():
        bound = MAX_FRAMES_BYTES if name == "frames" else MAX_FIELD_BYTES
        if size > bound:
            return f"{name} has {size} bytes, at most {bound} are allowed"
    return None


def read_about(values: Sequence[bytes], size_bytes: int, record_id: str) -> StoredCine:
    """Return what a hash says of its cine.

    Args:
        values: of the fields `ABOUT`.
        size_bytes: of the frames.
        record_id: of the record at whose key the hash lies.

    Raises:
        CorruptCine: the values are not those of a cine of this record.
    """
    version, geometry, provenance, seconds = values
    if version != VERSION:
        raise CorruptCine(f"a cine of layout {version[:16]!r}; this release reads {VERSION!r}")
    try:
        stored = StoredCine(
            msgspec.json.decode(geometry, type=CineGeometry),
            msgspec.json.decode(provenance, type=CineProvenance),
            msgspec.json.decode(seconds, type=float),
            size_bytes,
        )
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise CorruptCine(f"a field of the hash is not what it should be: {error}") from error
    if stored.provenance.record_id != record_id:
        raise CorruptCine("it names another record")
    return stored


def read_cine(about: StoredCine, stored: bytes) -> Cine:
    """Return the cine whose frames were stored.

    Raises:
        CorruptCine: they do not fill its geometry.
    """
    shape = about.geometry.shape
    expected = np.prod(shape, dtype=object)  # of Python's integers, which do not overflow
    if min(shape) < 1 or expected > MAX_FRAMES_BYTES:
        raise CorruptCine(f"frames of {shape} are over the bound of {MAX_FRAMES_BYTES} bytes")
    try:
        frames = decompress(stored, max_bytes=MAX_FRAMES_BYTES, size=expected, must_claim=True)
    except UnusableFrame as error:
        raise CorruptCine(f"the frames cannot be decompressed: {error}") from error
    return Cine(np.frombuffer(frames, np.uint8).reshape(shape), about.geometry, about.provenance)
