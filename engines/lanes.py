"""Where work waits for a batch: two bounded lanes, and the rule by which batches are drawn from them."""

from __future__ import annotations

import enum
from asyncio import Future
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Lane(enum.Enum):
    """Whose turn it is first: realtime goes before backfill, always."""

    REALTIME = "realtime"
    BACKFILL = "backfill"


@dataclass(slots=True, eq=False)
class Job(Generic[Item, Result]):
    """An item, and who waits for its result.

    Attributes:
        alone: it must be run in a batch of its own.
    """

    item: Item
    future: Future[Result]
    alone: bool


class Lanes(Generic[Item, Result]):
    """Queued jobs by lane, first come first served. It has no lock: its owner keeps threads apart."""

    def __init__(self, max_queue: int) -> None:
        self.max_queue = max_queue
        self._queues: dict[Lane, deque[Job[Item, Result]]] = {lane: deque() for lane in Lane}

    def __bool__(self) -> bool:
        """Tell whether anything is queued."""
        return any(self._queues.values())

    def queued(self, lane: Lane) -> int:
        """Return how many are queued; one whose waiter was cancelled keeps its place until it is drawn."""
        return len(self._queues[lane])

    def is_full(self, lane: Lane) -> bool:
        """Tell whether the lane takes no more."""
        return len(self._queues[lane]) >= self.max_queue

    def put(self, lane: Lane, job: Job[Item, Result]) -> None:
        """Queue a job; its owner has seen that there is room."""
        self._queues[lane].append(job)

    def draw(self, max_batch: int) -> list[list[Job[Item, Result]]]:
        """Take up to `max_batch` jobs, realtime first, and return them as the batches to run, in order.

        Most often that is one batch. Jobs that must be alone take their place in the count and get a batch each:
        those of the realtime lane before the shared batch, since they have waited longest, those of the backfill lane
        after it, since nothing of theirs may delay realtime.
        """
        first: list[list[Job[Item, Result]]] = []
        shared: list[Job[Item, Result]] = []
        last: list[list[Job[Item, Result]]] = []
        room = max_batch
        for lane, alone in ((Lane.REALTIME, first), (Lane.BACKFILL, last)):
            queue = self._queues[lane]
            while room and queue:
                job = queue.popleft()
                if job.future.cancelled():
                    continue
                room -= 1
                if job.alone:
                    alone.append([job])
                else:
                    shared.append(job)
        return [*first, *([shared] if shared else []), *last]

    def clear(self) -> list[Job[Item, Result]]:
        """Take everything."""
        jobs = [job for queue in self._queues.values() for job in queue]
        for queue in self._queues.values():
            queue.clear()
        return jobs
