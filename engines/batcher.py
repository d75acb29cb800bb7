"""The batcher: asyncio in front, threads behind; batches grow by themselves while the device is busy.

    submit ─▶ lanes ─▶ preparer threads ─▶ a line of batches in order ─▶ device thread ─▶ futures
              bounded  prepare(items)      one place a preparer          run(batch)

A batch is formed when a preparer and a place in the line are both free, and not before. The line holds the batches that
are prepared now and those that are ready. So an idle batcher takes a lone item at once (there is no timer), and a busy
one with one preparer has one batch running and one ready, while the queue grows into the next. Several preparers work
at the same time, and the device takes their batches in the order in which they were formed.

Realtime never waits behind queued backfill: a batch takes realtime items first and fills up with backfill. What has
been formed already is not undone, so backfill delays a realtime item by at most the batch that runs and those in the
line: with one preparer, twice `max_batch` items. Backfill gets the room that realtime leaves, and stands still for as
long as realtime alone fills every batch: by design, since whoever sends backfill has time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Condition, Lock, Thread
from types import TracebackType
from typing import Generic, Self, TypeVar, cast

from schemas.errors import EngineFailed, Overloaded, ShuttingDown

from .lanes import Job, Lane, Lanes

__all__ = ["Batcher", "BatcherCounts", "Lane", "preparers_for"]

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")

DRAIN_S = 10.0
JOIN_S = 1.0
CORES_A_PREPARER = 8
MOST_PREPARERS = 4
"""More threads would wait for each other: a third of the work is Python's, of which only one thread at a time does
some."""

log = logging.getLogger(__name__)


def preparers_for(cores: int) -> int:
    """Return how many threads should prepare batches on so many cores."""
    return max(1, min(MOST_PREPARERS, cores // CORES_A_PREPARER))


@dataclass(slots=True)
class BatcherCounts:
    """What the device thread has done so far; any thread may read it."""

    batches: int = 0
    items: int = 0
    failures: int = 0
    """Batches whose `run` raised or answered in the wrong number."""
    busy_s: float = 0.0
    """Time spent in `run`."""
    sizes: Counter[int] = field(default_factory=Counter)
    """How many batches had how many items."""


@dataclass(slots=True, eq=False)
class _Batch(Generic[Item, Prepared, Result]):
    jobs: list[Job[Item, Result]]
    prepared: Prepared | None = None
    is_ready: bool = False


class Batcher(Generic[Item, Prepared, Result]):
    """Runs items in batches on one device; an asynchronous context manager, used from its event loop's thread.

    Args:
        prepare: makes a batch of items ready; called from as many threads as there are preparers, beside `run`.
        run: returns one result an item, in order; always called from one thread, which owns the device. A result
            that is an exception is raised to its waiter alone.
        max_batch: items a batch.
        max_queue: items a lane that may wait for a batch.
        preparers: threads that prepare batches, and batches that may be prepared or ready at one time.
        drain_s: on exit, how long to wait for the batches that were formed already.
    """

    def __init__(
        self,
        *,
        prepare: Callable[[Sequence[Item]], Prepared],
        run: Callable[[Prepared], Sequence[Result]],
        max_batch: int,
        max_queue: int,
        preparers: int = 1,
        drain_s: float = DRAIN_S,
    ) -> None:
        if max_batch < 1 or max_queue < 1:
            raise ValueError(f"a batch and a queue hold at least one item, not {max_batch} and {max_queue}")
        if preparers < 1:
            raise ValueError(f"at least one thread prepares batches, not {preparers}")
        self.counts = BatcherCounts()
        self._prepare = prepare
        self._run = run
        self._max_batch = max_batch
        self._preparers = preparers
        self._drain_s = drain_s

        self._lock = Lock()  # guards everything below
        self._work = Condition(self._lock)  # preparers wait: for items and a place in the line
        self._handed_over = Condition(self._lock)  # the device waits: for the first batch of the line to be ready
        self._lanes: Lanes[Item, Result] = Lanes(max_queue)
        self._formed: deque[_Batch[Item, Prepared, Result]] = deque()
        self._line: deque[_Batch[Item, Prepared, Result]] = deque()
        self._unsettled: set[_Batch[Item, Prepared, Result]] = set()
        self._room_waiters: dict[Lane, list[asyncio.Future[None]]] = {lane: [] for lane in Lane}
        self._open = False
        self._abandoned = False
        self._preparing_threads = preparers

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._drained = asyncio.Event()
        # Daemons: a thread that is stuck in the device must not keep the process from ending.
        self._threads = [
            *(
                Thread(target=self._prepare_batches, name="batcher-preparer", daemon=True)
                for _ in range(self._preparers)
            ),
            Thread(target=self._run_batches, name="batcher-device", daemon=True),
        ]
        self._open = True
        for thread in self._threads:
            thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell the queued ones, wait for the formed ones, and leave nobody waiting.

        1. Refuse new items; those still queued end with `ShuttingDown`.
        2. Wait until the batches that were formed have run, `drain_s` at most.
        3. What has not come by then ends with `ShuttingDown` too, also when this wait itself is cancelled. A thread
           that is stuck is left behind and logged: raising would hide the error that ended the body.
        """
        self._refuse_more()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._drain_s):
                    await self._drained.wait()
        finally:
            self._leave_nobody_waiting()

    def queued(self, lane: Lane) -> int:
        """Return how many items of the lane wait for a batch."""
        return self._lanes.queued(lane)

    def submit(self, item: Item, *, lane: Lane = Lane.REALTIME, alone: bool = False) -> asyncio.Future[Result]:
        """Queue an item and return the future of its result, without waiting.

        Cancelling the future drops the item if it is still queued; its neighbours notice nothing.

        Args:
            item: what `prepare` takes.
            lane: where it waits.
            alone: run it in a batch of its own, as the further try of an item whose batch failed.

        Raises:
            Overloaded: the lane is full; see `room`.
            ShuttingDown: the batcher is closing, or closed.
        """
        with self._lock:
            if not self._open:
                raise ShuttingDown("the batcher takes no items: it is closed")
            if self._lanes.is_full(lane):
                raise Overloaded(f"{self._lanes.max_queue} items of the {lane.value} lane are waiting already")
            future: asyncio.Future[Result] = self._loop.create_future()
            self._lanes.put(lane, Job(item, future, alone))
            if self._has_place():  # else the device wakes a preparer when it takes a batch from the line
                self._work.notify()
        return future

    async def room(self, lane: Lane) -> None:
        """Wait until `submit` has room in the lane, or refuses everything because of closing."""
        while True:
            with self._lock:
                if not self._open or not self._lanes.is_full(lane):
                    return
                waiter: asyncio.Future[None] = self._loop.create_future()
                self._room_waiters[lane].append(waiter)
            await waiter

    async def admit(self, item: Item, *, lane: Lane = Lane.REALTIME, alone: bool = False) -> asyncio.Future[Result]:
        """Wait for room, then `submit`; return the future of the result.

        Raises:
            ShuttingDown: the batcher is closing, or closed.
        """
        while True:
            await self.room(lane)
            try:
                return self.submit(item, lane=lane, alone=alone)
            except Overloaded:  # another waiter of this lane was quicker
                continue

    def _refuse_more(self) -> None:
        with self._lock:
            self._open = False
            queued = self._lanes.clear()
            for lane in Lane:
                self._wake_room_waiters(lane)
            self._work.notify_all()
        for job in queued:
            _settle_future(job.future, ShuttingDown("serving stopped while the item was queued"))

    def _leave_nobody_waiting(self) -> None:
        with self._lock:
            self._abandoned = True
            unsettled = list(self._unsettled)
            self._work.notify_all()
            self._handed_over.notify()
        for batch in unsettled:
            for job in batch.jobs:
                _settle_future(job.future, ShuttingDown("serving stopped before the item's batch had run"))
        if self._drained.is_set():
            for thread in self._threads:
                thread.join(JOIN_S)
        else:
            log.error("a batch did not end within %g s of closing; its thread is abandoned", self._drain_s)

    # The preparer threads

    def _prepare_batches(self) -> None:
        while (batch := self._next_batch()) is not None:
            try:
                batch.prepared = self._prepare([job.item for job in batch.jobs])
            except BaseException as error:  # noqa: BLE001  whatever it is, the waiters are told
                self._settle(batch, [error] * len(batch.jobs))
                self._leave_line(batch)
            else:
                self._hand_over(batch)
            del batch  # an idle thread keeps no batch alive
        with self._lock:
            self._preparing_threads -= 1
            self._work.notify_all()
            self._handed_over.notify()

    def _next_batch(self) -> _Batch[Item, Prepared, Result] | None:
        """Wait until a batch can be formed and has a place in the line; None when there will be no more."""
        with self._lock:
            while not self._abandoned:
                if self._has_place():
                    if not self._formed and self._lanes:
                        self._form()
                    if self._formed:
                        return self._into_line(self._formed.popleft())
                if not self._open and not self._formed:
                    return None
                self._work.wait()
            return None

    def _has_place(self) -> bool:
        return len(self._line) < self._preparers

    def _into_line(self, batch: _Batch[Item, Prepared, Result]) -> _Batch[Item, Prepared, Result]:
        self._line.append(batch)
        if self._has_place() and (self._formed or self._lanes):
            self._work.notify()
        return batch

    def _form(self) -> None:
        for jobs in self._lanes.draw(self._max_batch):
            batch = _Batch[Item, Prepared, Result](jobs)
            self._formed.append(batch)
            self._unsettled.add(batch)
        for lane in Lane:
            if self._room_waiters[lane] and not self._lanes.is_full(lane):
                self._wake_room_waiters(lane)

    def _wake_room_waiters(self, lane: Lane) -> None:
        waiters, self._room_waiters[lane] = self._room_waiters[lane], []
        if waiters:
            self._call_in_loop(_wake, waiters)

    def _hand_over(self, batch: _Batch[Item, Prepared, Result]) -> None:
        with self._lock:
            batch.is_ready = True
            self._handed_over.notify()

    def _leave_line(self, batch: _Batch[Item, Prepared, Result]) -> None:
        with self._lock:
            self._line.remove(batch)
            self._work.notify()
            self._handed_over.notify()

    # The device thread

    def _run_batches(self) -> None:
        while (batch := self._take_ready_batch()) is not None:
            self._settle(batch, self._run_batch(batch))
            del batch  # an idle thread keeps no batch alive
        self._call_in_loop(self._drained.set)

    def _take_ready_batch(self) -> _Batch[Item, Prepared, Result] | None:
        """Wait until the first batch of the line is ready, and take it; None when there will be no more."""
        with self._lock:
            while not self._abandoned:
                if self._line and self._line[0].is_ready:
                    self._work.notify()
                    return self._line.popleft()
                if not self._line and not self._preparing_threads:
                    return None
                self._handed_over.wait()
            return None

    def _run_batch(self, batch: _Batch[Item, Prepared, Result]) -> Sequence[Result | BaseException]:
        size = len(batch.jobs)
        outcomes: Sequence[Result | BaseException]
        started = time.perf_counter()
        try:
            outcomes = self._results(batch)
        except BaseException as error:  # noqa: BLE001  whatever it is, the waiters are told
            outcomes = [error] * size
            self.counts.failures += 1
        self.counts.busy_s += time.perf_counter() - started
        self.counts.batches += 1
        self.counts.items += size
        self.counts.sizes[size] += 1
        return outcomes

    def _results(self, batch: _Batch[Item, Prepared, Result]) -> Sequence[Result]:
        results = list(self._run(cast("Prepared", batch.prepared)))
        if len(results) != len(batch.jobs):
            raise EngineFailed(f"{len(batch.jobs)} items were run, and {len(results)} results came back")
        return results

    # From the threads back to the loop

    def _settle(self, batch: _Batch[Item, Prepared, Result], outcomes: Sequence[Result | BaseException]) -> None:
        self._call_in_loop(self._settle_in_loop, batch, outcomes)

    def _settle_in_loop(
        self, batch: _Batch[Item, Prepared, Result], outcomes: Sequence[Result | BaseException]
    ) -> None:
        with self._lock:
            self._unsettled.discard(batch)
        for job, outcome in zip(batch.jobs, outcomes, strict=True):
            _settle_future(job.future, outcome)

    def _call_in_loop(self, callback: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(callback, *arguments)


def _wake(waiters: Sequence[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


def _settle_future(future: asyncio.Future[Result], outcome: Result | BaseException) -> None:
    if future.done():  # cancelled, or told already that serving stopped
        return
    if isinstance(outcome, BaseException):
        future.set_exception(_raisable(outcome))
        future.exception()  # retrieved: a waiter that went away is nothing to complain about
    else:
        future.set_result(outcome)


def _raisable(error: BaseException) -> Exception:
    """Return the error, or a stand-in where it would end the waiter's task or loop rather than be its answer."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    stand_in = RuntimeError(f"{type(error).__name__} was raised in a batch")
    stand_in.__cause__ = error
    return stand_in
