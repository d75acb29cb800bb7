"""Keeps the waveforms of flagged ECGs in Redis for the dashboard. Screening never waits for Redis."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

import structlog

from stream.redis_client import new_redis, spread_ttl_s
from stream.settings import RedisSettings

from .metrics import Metrics

WAITING = 256
LOG_EVERY = 1000

log = structlog.get_logger(__name__)


def waveform_key(record_id: str) -> str:
    """Return the Redis key of a record's waveform (an Avro value that names no schema)."""
    return f"cardiacnets:waveform:{record_id}"


class WaveformCache:
    """Stores waveforms in the background, with a bounded queue, short time-outs and no retries.

    While Redis does not answer, waveforms are dropped.
    """

    def __init__(self, settings: RedisSettings, metrics: Metrics) -> None:
        self._ttl_s = settings.waveform_ttl_s
        self._stored = metrics.waveforms.labels("stored")
        self._dropped = metrics.waveforms.labels("dropped")
        self._waiting: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(WAITING)
        self._failures = 0
        self._redis = new_redis(settings, retries=0)

    async def __aenter__(self) -> Self:
        """Start storing."""
        self._task = asyncio.create_task(self._store_all())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop storing, and drop the waveforms that still wait."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._redis.aclose()

    def store(self, record_id: str, value: bytes) -> None:
        """Store a waveform soon. If too many wait already, drop it."""
        try:
            self._waiting.put_nowait((record_id, value))
        except asyncio.QueueFull:
            self._dropped.inc()

    async def _store_all(self) -> None:
        while True:
            record_id, value = await self._waiting.get()
            try:
                await self._redis.set(waveform_key(record_id), value, ex=spread_ttl_s(self._ttl_s))
            except Exception as error:  # noqa: BLE001  it is logged, and the next waveform is stored
                self._drop(error)
            else:
                self._failures = 0
                self._stored.inc()

    def _drop(self, error: Exception) -> None:
        self._dropped.inc()
        if self._failures % LOG_EVERY == 0:
            log.warning("redis_unavailable", error=type(error).__name__, effect="waveforms dropped, screening goes on")
        self._failures += 1
