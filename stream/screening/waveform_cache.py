"""Keeps waveforms in Redis for the dashboard. Screening never waits for Redis.

Those of flagged ECGs are kept for days, those of others for hours, if the site wants that (`brief_waveforms.py`). What
is kept is what was screened of an ECG: about 40 kB, and never more than `MAX_WAVEFORM_BYTES`. So a device that sends
long ECGs takes no more room than the others. A flagged ECG that came as we would encode it is kept as it came, since
encoding costs as much as the gate. What waits goes to Redis several at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Self

import structlog
from redis.exceptions import AuthenticationError, ReadOnlyError
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as Unanswered

from inference.intake import drawable_part, is_screened_whole
from schemas.codec import encode_ecg
from schemas.ecg_message import EcgMessage
from schemas.ecg_record import EcgRecord
from schemas.record_limits import MAX_HEADER_BYTES
from stream.end_tasks import end_tasks
from stream.redis_bounds import RedisBound
from stream.redis_client import new_redis, spread_ttl_s
from stream.settings import RedisSettings

from .archive_slots import ArchiveSlots
from .brief_waveforms import UNIT_BYTES, Allowance, is_drawable, units_of
from .metrics import Metrics

WAITING = 256
MAX_WAITING_BYTES = 64 * 2**20
"""Of the samples of the ECGs that wait to be stored."""
MAX_WAVEFORM_BYTES = 12 * 10_000 * 2 + MAX_HEADER_BYTES + 2**10
"""12 leads of 10 s at 1000 Hz that cannot be compressed, and the fields before them."""
TOGETHER = 8
"""So many waveforms go to Redis in one round trip: 2 MB at most."""
LEAST_SAVED = 2
"""A value that is kept as it came is smaller than its samples by at least this factor."""
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


def other_waveform_key(record_id: str) -> str:
    """Return the Redis key of the waveform of a record that was not flagged, or was rejected."""
    return waveform_key(f"other:{record_id}")


class _Waiting(NamedTuple):
    """A waveform on its way to Redis, and when it has waited long enough.

    Attributes:
        value: what is stored, if that is the ECG as it came.
        briefly: whether it is kept for hours, in the room for such ones.
    """

    record: EcgRecord
    value: bytes | None
    of_archive: bool
    briefly: bool
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
        self._ttl_s, self._brief_ttl_s = settings.waveform_ttl_s, settings.other_waveform_ttl_s
        self._allowance = Allowance()
        self._archive = archive
        self._left_out = metrics.waveforms.labels("left_out")
        self._stored = metrics.waveforms.labels("stored")
        self._dropped = metrics.waveforms.labels("dropped")
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(WAITING)
        self._waiting_bytes = 0
        self._failures = 0
        self._redis = new_redis(settings)
        self._bound = RedisBound(
            self._redis,
            "waveform",
            limit=settings.waveforms_at_most,
            key_of=waveform_key,
            count=metrics.waveforms.labels("removed").inc,
        )
        self._brief_bound = RedisBound(
            self._redis,
            "other-waveform",
            limit=max(1, settings.other_waveforms_bytes // UNIT_BYTES),
            key_of=other_waveform_key,
            count=None,
        )

    async def __aenter__(self) -> Self:
        """Start storing."""
        self._task = asyncio.create_task(self._store_all())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop storing, and drop the waveforms that still wait."""
        await end_tasks(self._task)
        await self._redis.aclose()

    def store(self, record: EcgRecord, *, came_as: EcgMessage | None = None, of_archive: bool = False) -> None:
        """Store what was screened of an ECG soon. If too much waits already, drop it.

        An archive's ECGs take half of the places at most, so those of the ward find one.

        Args:
            came_as: the message that the ECG was decoded from.
        """
        share = 2 if of_archive else 1
        is_full = self._waiting.qsize() >= WAITING // share
        if is_full or self._waiting_bytes + len(record.samples) > MAX_WAITING_BYTES // share:
            (self._left_out if of_archive else self._dropped).inc()
            return
        self._enqueue(record, value=_as_it_came(record, came_as), of_archive=of_archive)

    def store_briefly(self, record: EcgRecord) -> None:
        """Store for some hours what can be drawn of an ECG that was not flagged, or was rejected.

        These ECGs take half of the places at most. They have keys of their own, so that one that was rejected does not
        take the place of a flagged one of the same id.
        """
        is_full = self._waiting.qsize() >= WAITING // 2 or self._waiting_bytes > MAX_WAITING_BYTES // 2
        if is_full or not is_drawable(record, MAX_WAVEFORM_BYTES) or not self._allowance.take():
            self._left_out.inc()
            return
        self._enqueue(record, briefly=True)

    def _enqueue(
        self, record: EcgRecord, *, value: bytes | None = None, of_archive: bool = False, briefly: bool = False
    ) -> None:
        self._waiting_bytes += len(record.samples)
        ends_at = time.monotonic() + self._hold_s
        self._waiting.put_nowait(_Waiting(record, value, of_archive, briefly, ends_at))

    async def _store_all(self) -> None:
        while True:
            some = [await self._waiting.get()]
            while len(some) < TOGETHER and not self._waiting.empty():
                some.append(self._waiting.get_nowait())
            if len(some) == 1 or not await self._are_stored(some):
                for one in some:  # each has its own errors, and its own time
                    await self._settle(one)
            self._waiting_bytes -= sum(len(one.record.samples) for one in some)

    async def _are_stored(self, some: Sequence[_Waiting]) -> bool:
        """Try to store several waveforms at once, and return whether that did."""
        try:
            self._count(some, await self._store(some))
        except Exception:  # noqa: BLE001  what it is shows when each is stored alone
            return False
        return True

    async def _settle(self, waiting: _Waiting) -> None:
        wait_s = FIRST_WAIT_S
        while not await self._is_settled(waiting):
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    async def _is_settled(self, waiting: _Waiting) -> bool:
        """Try to store a waveform, and return whether it is stored or given up."""
        try:
            self._count([waiting], await self._store([waiting]))
        except Exception as error:  # noqa: BLE001  it is logged, and the next waveform is stored
            self._tell(error)
            passes = isinstance(error, PASSES) and not isinstance(error, AuthenticationError)
            if passes and time.monotonic() < waiting.ends_at:
                return False
            self._dropped.inc()
        return True

    def _count(self, some: Sequence[_Waiting], stored: int) -> None:
        self._failures = 0
        self._stored.inc(stored)
        self._left_out.inc(len(some) - stored)

    async def _store(self, some: Sequence[_Waiting]) -> int:
        """Store waveforms in one round trip, and return how many of them have a place."""
        placed = [one for one in some if await self._has_slot(one)]
        values = zip(placed, await _stored_forms(placed), strict=True)
        kept = [(one, value) for one, value in values if await self._is_entered(one, value)]
        if kept:
            async with self._redis.pipeline(transaction=False) as commands:
                for one, value in kept:
                    key_of = other_waveform_key if one.briefly else waveform_key
                    commands.set(key_of(one.record.record_id), value, ex=spread_ttl_s(self._ttl_of(one)))
                await commands.execute()
        if bounded := [one.record.record_id for one, _ in kept if not (one.of_archive or one.briefly)]:
            await self._bound.add(*bounded)
        return len(kept)

    def _ttl_of(self, one: _Waiting) -> int:
        if one.briefly:
            return self._brief_ttl_s
        return min(self._ttl_s, ARCHIVE_TTL_S) if one.of_archive else self._ttl_s

    async def _has_slot(self, one: _Waiting) -> bool:
        """Return whether a waveform has a slot, if it needs one: an archive's does."""
        return not one.of_archive or (self._archive is not None and await self._archive.take(one.record.record_id))

    async def _is_entered(self, one: _Waiting, value: bytes) -> bool:
        """Return whether a waveform is in the list that bounds its kind, if it has to be before it is stored."""
        return not one.briefly or await self._brief_bound.add(*[one.record.record_id] * units_of(len(value)))

    def _tell(self, error: Exception) -> None:
        if self._failures % LOG_EVERY == 0:
            effect = "waveforms wait for a minute, then they are dropped; screening goes on"
            log.warning("redis_unavailable", error=type(error).__name__, reason=str(error)[:MAX_WORDS], effect=effect)
        self._failures += 1


def _as_it_came(record: EcgRecord, message: EcgMessage | None) -> bytes | None:
    """Return the value that an ECG was decoded from, if it is as good as what we would store in its place.

    That is an Avro value that names no schema, so it needs neither a message's headers nor a schema registry; that
    holds what was screened and no more; and whose samples are compressed.
    """
    value = message.value if message is not None and not message.names_schema else None
    is_small = value is not None and len(value) <= min(MAX_WAVEFORM_BYTES, len(record.samples) // LEAST_SAVED)
    return value if is_small and is_screened_whole(record) else None


async def _stored_forms(some: Sequence[_Waiting]) -> list[bytes]:
    """Return the values that are stored."""
    if not all(one.value for one in some):
        return await asyncio.to_thread(lambda: [one.value or _encoded(one.record) for one in some])
    return [one.value for one in some if one.value]


def _encoded(record: EcgRecord) -> bytes:
    """Return an Avro value that names no schema."""
    return encode_ecg(drawable_part(record))
