"""Keeps the waveforms of flagged ECGs in Redis for the dashboard. Screening never waits for Redis.

What is kept is what was screened of an ECG, encoded by us: about 40 kB, and never more than `MAX_WAVEFORM_BYTES`. So a
device that sends long ECGs takes no more room than the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from types import TracebackType
from typing import NamedTuple, Self

import structlog
from redis.exceptions import AuthenticationError, ReadOnlyError
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as Unanswered

from inference.intake import screened_part
from schemas.codec import encode_ecg
from schemas.ecg_record import EcgRecord
from schemas.record_limits import MAX_HEADER_BYTES
from stream.redis_client import new_redis, spread_ttl_s
from stream.settings import RedisSettings

from .archive_slots import ArchiveSlots
from .metrics import Metrics

WAITING = 256
MAX_WAITING_BYTES = 64 * 2**20
"""Of the samples of the ECGs that wait to be stored."""
MAX_WAVEFORM_BYTES = 12 * 10_000 * 2 + MAX_HEADER_BYTES + 2**10
"""12 leads of 10 s at 1000 Hz that cannot be compressed, and the fields before them."""
HOLD_S = 60.0
"""How long a waveform waits at most while Redis does not answer: a restart and a failover take less."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 1.0
PASSES = (Disconnected, Unanswered, ReadOnlyError, OSError)
"""What a restart or a failover ends. A Redis that answers otherwise will answer so again."""
LOG_EVERY = 1000
MAX_WORDS = 200
ARCHIVE_TTL_S = 86_400
"""How long an archive's waveform is kept at most: a full Redis evicts it before the ward's of the same day."""

log = structlog.get_logger(__name__)


def waveform_key(record_id: str) -> str:
    """Return the Redis key of a record's waveform (an Avro value that names no schema)."""
    return f"cardiacnets:waveform:{record_id}"


class _Waiting(NamedTuple):
    """A waveform on its way to Redis, and when it has waited long enough."""

    record: EcgRecord
    of_archive: bool
    ends_at: float


class WaveformCache:
    """Stores waveforms in the background, with a bounded queue and short time-outs.

    While Redis does not answer, waveforms wait: as many as the queue holds, and for a minute at most.

    Args:
        archive: the slots of an archive's ECGs; None: none of them is stored.
        hold_s: how long a waveform waits at most.
    """

    def __init__(
        self, settings: RedisSettings, metrics: Metrics, *, archive: ArchiveSlots | None = None, hold_s: float = HOLD_S
    ) -> None:
        self._hold_s = hold_s
        self._ttl_s = settings.waveform_ttl_s
        self._archive = archive
        self._left_out = metrics.waveforms.labels("left_out")
        self._stored = metrics.waveforms.labels("stored")
        self._dropped = metrics.waveforms.labels("dropped")
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(WAITING)
        self._waiting_bytes = 0
        self._failures = 0
        self._redis = new_redis(settings)

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

    def store(self, record: EcgRecord, *, of_archive: bool = False) -> None:
        """Store what was screened of an ECG soon. If too much waits already, drop it.

        An archive's ECGs take half of the places at most, so those of the ward find one.
        """
        share = 2 if of_archive else 1
        is_full = self._waiting.qsize() >= WAITING // share
        if is_full or self._waiting_bytes + len(record.samples) > MAX_WAITING_BYTES // share:
            (self._left_out if of_archive else self._dropped).inc()
            return
        self._waiting_bytes += len(record.samples)
        self._waiting.put_nowait(_Waiting(record, of_archive, time.monotonic() + self._hold_s))

    async def _store_all(self) -> None:
        while True:
            waiting = await self._waiting.get()
            wait_s = FIRST_WAIT_S
            while not await self._is_settled(waiting):
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            self._waiting_bytes -= len(waiting.record.samples)

    async def _is_settled(self, waiting: _Waiting) -> bool:
        """Try to store a waveform, and return whether it is stored or given up."""
        try:
            is_stored = await self._store(waiting.record, of_archive=waiting.of_archive)
        except Exception as error:  # noqa: BLE001  it is logged, and the next waveform is stored
            self._tell(error)
            passes = isinstance(error, PASSES) and not isinstance(error, AuthenticationError)
            if passes and time.monotonic() < waiting.ends_at:
                return False
            self._dropped.inc()
        else:
            self._failures = 0
            (self._stored if is_stored else self._left_out).inc()
        return True

    async def _store(self, record: EcgRecord, *, of_archive: bool) -> bool:
        """Store a waveform, and return whether it is stored: an archive's needs a slot."""
        if of_archive and not (self._archive and await self._archive.take(record.record_id)):
            return False
        value = await asyncio.to_thread(_stored_form, record)
        ttl_s = min(self._ttl_s, ARCHIVE_TTL_S) if of_archive else self._ttl_s
        await self._redis.set(waveform_key(record.record_id), value, ex=spread_ttl_s(ttl_s))
        return True

    def _tell(self, error: Exception) -> None:
        if self._failures % LOG_EVERY == 0:
            effect = "waveforms wait for a minute, then they are dropped; screening goes on"
            log.warning("redis_unavailable", error=type(error).__name__, reason=str(error)[:MAX_WORDS], effect=effect)
        self._failures += 1


def _stored_form(record: EcgRecord) -> bytes:
    """Return an Avro value that names no schema, so it needs neither a message's headers nor a schema registry."""
    return encode_ecg(screened_part(record))
