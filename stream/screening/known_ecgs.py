"""Knows which ECG each record id belongs to.

Two ECGs under one id would have one report id: whoever keeps the first answer to an id would lose the second patient's.
The first ECG that passes the gate owns its id. The same ECG again is answered as before; another one is refused.

    device thread     look_up(…)   the ECGs of a batch that passed the gate, just before the device runs them
    event loop        one batch after the other: digests in a thread, one round trip to Redis, decide
    lane              await claim.is_foreign() before it publishes the answer; by then the decision is there

An archive has thousands of ids, and must not fill the Redis of a ward. So its ids lie apart: in memory, where they push
out none of the ward's, and in Redis in a bounded number of slots (`archive_slots.py`), of which a newer id may take an
older one's. The ward's ids are asked for all the same: an archive's ECG gets no id that a ward's has.

Redis lets all workers know the same, and outlives them. Without Redis each worker knows what it has seen itself, as far
as its memory goes. Screening waits for Redis for a moment at most, and asks a Redis that is away now and then only.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self

import structlog
from redis.exceptions import RedisError

from engines.batcher import Lane
from inference.screener import ReceivedEcg
from schemas.ecg_record import EcgRecord
from schemas.errors import ShuttingDown
from schemas.identity import ecg_digest
from stream.bounded import RecentDict
from stream.end_tasks import end_tasks
from stream.settings import RedisSettings

from .id_owners import Seen, SharedOwners
from .metrics import Metrics

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
"""After Redis did not answer it is not asked for so long: twice as long each time."""
DRAIN_S = 1.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _LookUp:
    """One batch: its records with their lanes, and, once it is decided, whether each id belongs to another ECG."""

    records: Sequence[tuple[EcgRecord, Lane]]
    decided: asyncio.Future[Sequence[bool]]


class Claim(NamedTuple):
    """One ECG's place in a look-up."""

    look_up: _LookUp
    place: int

    async def is_foreign(self) -> bool:
        """Return whether the ECG's id belongs to another ECG.

        Raises:
            ShuttingDown: serving stopped before it was decided.
        """
        decided = self.look_up.decided
        return (decided.result() if decided.done() else await asyncio.shield(decided))[self.place]


@dataclass(slots=True)
class ClaimingEcg(ReceivedEcg):
    """An ECG as it came, with its claim on its id once it has passed the gate."""

    lane: Lane = Lane.REALTIME
    claim: Claim | None = None


class KnownEcgs:
    """Decides which ECG owns an id. It is an asynchronous context manager, shared by the lanes of a worker.

    Args:
        limit: how many ids of each lane this process remembers; 0 switches the check off.
    """

    def __init__(self, settings: RedisSettings, metrics: Metrics, *, limit: int) -> None:
        self._limit = limit
        self._shared = SharedOwners(settings, metrics.ecg_ids.labels("removed").inc)
        self._answer_s = settings.ecg_id_wait_s
        self._owners: dict[Lane, RecentDict[str, bytes]] = {lane: RecentDict(limit) for lane in Lane}
        self._outcomes = {name: metrics.ecg_ids.labels(name) for name in ("new", "repeated", "foreign")}
        self._unshared = metrics.unshared_ids
        self._pause_s = FIRST_PAUSE_S
        self._asks_again_at = 0.0
        self._waiting: asyncio.Queue[_LookUp | None] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        """Start deciding."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._decide_all())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Decide what still waits, within `DRAIN_S`."""
        await asyncio.sleep(0)  # what threads have begun arrives first
        self._waiting.put_nowait(None)
        await asyncio.wait([self._task], timeout=DRAIN_S)
        await end_tasks(self._task)
        while not self._waiting.empty():
            if look_up := self._waiting.get_nowait():
                _fail(look_up, ShuttingDown("serving stopped before a record id was looked up"))
        await self._shared.close()

    def look_up(self, ecgs: Sequence[ClaimingEcg]) -> None:
        """Begin to decide about ECGs that passed the gate. Any thread may call this."""
        claiming = [(ecg, ecg.record) for ecg in ecgs if ecg.record is not None and ecg.claim is None]
        if not claiming or not self._limit:
            return
        look_up = _LookUp([(record, ecg.lane) for ecg, record in claiming], self._loop.create_future())
        for place, (ecg, _) in enumerate(claiming):
            ecg.claim = Claim(look_up, place)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._take, look_up)

    def _take(self, look_up: _LookUp) -> None:
        if self._task.done():
            _fail(look_up, ShuttingDown("serving stopped before a record id was looked up"))
        else:
            self._waiting.put_nowait(look_up)

    async def _decide_all(self) -> None:
        """Decide one batch after the other, in the order of arrival: of two ECGs under one id the first one owns it."""
        while look_up := await self._waiting.get():
            try:
                foreign = await self._decide(look_up.records)
            except asyncio.CancelledError:
                _fail(look_up, ShuttingDown("serving stopped while a record id was looked up"))
                raise
            except Exception as error:  # noqa: BLE001  whatever it is, the lane is told, and ends as after any bug
                _fail(look_up, error)
            else:
                look_up.decided.set_result(foreign)
            look_up.records = ()

    async def _decide(self, records: Sequence[tuple[EcgRecord, Lane]]) -> list[bool]:
        digests = await asyncio.to_thread(lambda: [ecg_digest(record) for record, _ in records])
        seen = [
            Seen(record.record_id, digest, lane, self._owners[Lane.BACKFILL].get(record.record_id))
            for (record, lane), digest in zip(records, digests, strict=True)
        ]
        unknown = [one for one in seen if self._must_ask(one)]
        shared = await self._shared_owners(unknown) if unknown else {}
        return [self._is_foreign(one, shared) for one in seen]

    def _is_foreign(self, one: Seen, shared: dict[str, bytes]) -> bool:
        ours = self._owners[one.lane].get(one.record_id)
        known = ours or shared.get(one.record_id) or self._owner_in_memory(one.record_id)
        owner = known or one.digest
        self._owners[one.lane].put(one.record_id, owner)
        self._outcomes["new" if known is None else "repeated" if owner == one.digest else "foreign"].inc()
        return owner != one.digest

    def _must_ask(self, one: Seen) -> bool:
        """Return whether Redis is asked: an id of the ward is written there, whatever an archive's memory says."""
        return one.record_id not in self._owners[Lane.REALTIME] and (one.lane is Lane.REALTIME or not one.of_archive)

    def _owner_in_memory(self, record_id: str) -> bytes | None:
        return next((owner for owners in self._owners.values() if (owner := owners.get(record_id))), None)

    async def _shared_owners(self, seen: Sequence[Seen]) -> dict[str, bytes]:
        """Claim the ids in Redis, and return the owners of those that were claimed before.

        Nothing is returned while Redis does not answer.
        """
        if self._loop.time() < self._asks_again_at:
            self._unshared.inc(len(seen))
            return {}
        try:
            async with asyncio.timeout(2 * self._answer_s):  # to connect, and to be answered
                owners = await self._shared.claim(seen)
        except (RedisError, OSError, TimeoutError) as error:
            self._pause(error, len(seen))
            return {}
        self._pause_s = FIRST_PAUSE_S
        return owners

    def _pause(self, error: Exception, ids: int) -> None:
        self._unshared.inc(ids)
        if self._pause_s == FIRST_PAUSE_S:
            effect = "record ids are checked against what this process has seen alone; screening goes on"
            log.warning("redis_unavailable", error=type(error).__name__, effect=effect)
        self._asks_again_at = self._loop.time() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


def _fail(look_up: _LookUp, error: Exception) -> None:
    look_up.decided.set_exception(error)
    look_up.decided.exception()  # retrieved: an ECG that was refused meanwhile does not ask
