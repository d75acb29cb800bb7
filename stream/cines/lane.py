"""The cine lane: takes requests from the topic, one at a time in each partition, and acknowledges each in order.

Each request passes four steps:

1. accept       wait for room (the bound on memory), then queue behind the other requests of the partition
2. make         read the request and make its cine; a failure is a result as well
3. publish      send the result, and wait until the broker has confirmed it
4. acknowledge  only then, so that a worker that dies leaves the request to another worker

A value that is not a request never blocks its partition. If its ids can be read, it is answered by a failed result;
otherwise it is only logged and counted, as is a place on the topic that cannot be read. An unforeseen error ends the
lane, and its requests stay unacknowledged, as in `ScreeningLane`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from contextlib import contextmanager

import msgspec
import structlog

from schemas.errors import MalformedRecord, ShuttingDown
from schemas.identity import cine_seed, report_id, request_id
from schemas.messages import CmrRequest, CmrResult, Identifier, decode_message
from schemas.topics import CMR_REQUESTS, LARGEST, sound_key
from stream.broker.unreadable_place import refusal_of
from stream.runtime.event import Event

from .maker import CineMaker, failure

MALFORMED_REQUEST = "malformed_request"
MAX_REQUEST_BYTES = LARGEST[CMR_REQUESTS]
LENGTH_TOLERANCE = 1e-2
HELD = 16
"""How many requests are held at once: one of each partition at work, and the others in the queue."""

log = structlog.get_logger(__name__)


class _Ids(msgspec.Struct, frozen=True):
    """The part of a request that an answer needs."""

    request_id: Identifier
    report_id: Identifier
    record_id: Identifier


class CineLane:
    """Runs the lane over one maker.

    Args:
        publish: sends one result with the key of its request, or with the record's id if that key is not one of ours;
            returns after the broker has confirmed it.
        count: called with every outcome: 'generated', or the code of the failure.
    """

    def __init__(
        self,
        maker: CineMaker,
        publish: Callable[[bytes | None, CmrResult], Awaitable[None]],
        count: Callable[[str, CmrResult | None], object],
    ) -> None:
        self._maker = maker
        self._publish = publish
        self._count = count
        self._places = asyncio.Semaphore(HELD)
        self._lines: dict[int, asyncio.Queue[Event | None]] = {}
        self._closing = False
        self._at_work = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.held = 0
        self.finished = 0

    async def run(self, events: AsyncIterable[Event]) -> None:
        """Work until the events end, then finish the accepted requests."""
        async with asyncio.TaskGroup() as tasks:
            async for event in events:
                await self._places.acquire()
                self.held += 1
                partition = event.message.partition
                if partition not in self._lines:
                    self._lines[partition] = asyncio.Queue()
                    tasks.create_task(self._work(self._lines[partition]))
                self._lines[partition].put_nowait(event)
            for line in self._lines.values():
                line.put_nowait(None)

    async def finish(self, within_s: float) -> None:
        """Start no more requests, and wait for the one at work in each partition; the rest stays unacknowledged."""
        self._closing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._idle.wait()

    async def _work(self, line: asyncio.Queue[Event | None]) -> None:
        while event := await line.get():
            if self._closing:
                return
            with self._working():
                try:
                    await self._answer(event)
                except ShuttingDown:
                    return
            event.ack()
            self.held -= 1
            self.finished += 1
            self._places.release()

    @contextmanager
    def _working(self) -> Iterator[None]:
        self._at_work += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._at_work -= 1
            if not self._at_work:
                self._idle.set()

    async def _answer(self, event: Event) -> None:
        if refusal := refusal_of(event.value):
            self._note(event, refusal.wire_code)
            self._count(refusal.wire_code, None)
            return
        result = await self._result(event)
        if result:
            await self._publish(sound_key(event.key) or result.record_id.encode(), result)
        self._count((result.code if result else MALFORMED_REQUEST) or "generated", result)

    async def _result(self, event: Event) -> CmrResult | None:
        try:
            request = read_request(event.value or b"")
        except MalformedRecord as error:
            self._note(event, MALFORMED_REQUEST)
            ids = _readable_ids(event.value or b"")
            return failure(ids, MALFORMED_REQUEST, error.detail, self._maker.reference) if ids else None
        return await self._maker.make(request)

    def _note(self, event: Event, code: str) -> None:
        message = event.message
        log.warning(code, topic=message.topic, partition=message.partition, offset=message.offset)


def read_request(value: bytes) -> CmrRequest:
    """Return the request that a message holds.

    Raises:
        MalformedRecord: it holds no request, or a request that no cine can be drawn from.
    """
    if len(value) > MAX_REQUEST_BYTES:
        raise MalformedRecord(f"the request has {len(value)} bytes; at most {MAX_REQUEST_BYTES} are allowed")
    request = decode_message(CmrRequest, value)
    length = math.hypot(*request.embedding)  # this does not raise, however large the numbers are
    if not abs(length - 1) <= LENGTH_TOLERANCE:  # this catches infinity as well
        raise MalformedRecord("the embedding does not have length 1")
    if not _follows_from_its_record(request):
        raise MalformedRecord("its ids and its seed are not those of its record and model, so it may replace no cine")
    return request


def _follows_from_its_record(request: CmrRequest) -> bool:
    """Return whether the ids and the seed are those that a worker derives from the record's id and the model."""
    report = report_id(request.record_id, request.model)
    seed = cine_seed(request.record_id, request.model)
    return (request.report_id, request.request_id, request.seed) == (report, request_id(report), seed)


def _readable_ids(value: bytes) -> _Ids | None:
    if len(value) > MAX_REQUEST_BYTES:
        return None
    try:
        return msgspec.json.decode(value, type=_Ids)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
