"""A pool of processes that end with the one that began them, however that comes."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import wait
from typing import TypeVar

from schemas.errors import DeploymentError

# Of glibc's <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# Arrays up to this size come from memory that was freed before, not from the kernel; glibc takes no larger one.
REUSED_BYTES = 32 * 2**20
KEPT_BYTES = 2**30
ITEMS_A_CHUNK = 16
"""That a process takes at a time: so many that handing them over costs nothing beside reading them."""
AHEAD = 2
"""Chunks that wait for each process: enough that none is idle, and a bound on memory."""

Item = TypeVar("Item")
Chunk = TypeVar("Chunk")
Result = TypeVar("Result")


@contextmanager
def open_pool(processes: int, begin: Callable[[], object] | None = None) -> Iterator[ProcessPoolExecutor]:
    """Give a pool; an error inside ends what is running, and is raised.

    Args:
        processes: how many.
        begin: called first in each; by name, for it is sent there.
    """
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(begin,))
    try:
        yield pool
    except BaseException:
        for child in set(multiprocessing.active_children()) - others:
            child.kill()  # Lightning catches SIGTERM and goes on; what it leaves is whole at any moment
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def each_in_order(
    work: Callable[[Sequence[Item]], Sequence[Result]], items: Iterable[Item], count: int, processes: int | None
) -> Iterator[Result]:
    """Yield the result of each item in order; as `in_order`, with so many items a chunk that it pays.

    Args:
        work: returns the results of a few items.
        items: taken as the work goes on.
        count: how many items there are: a few are not worth a second process.
        processes: how many; one a core by default.

    Raises:
        DeploymentError: something else ended a process.
    """
    remaining = iter(items)
    chunks = iter(lambda: list(islice(remaining, ITEMS_A_CHUNK)), [])
    most = min(processes or len(os.sched_getaffinity(0)), -(-count // ITEMS_A_CHUNK))
    for results in in_order(work, chunks, most):
        yield from results


def in_order(
    work: Callable[[Chunk], Result], chunks: Iterable[Chunk], processes: int | None = None
) -> Iterator[Result]:
    """Yield the result of each chunk in order, on several processes where that helps.

    Args:
        work: is sent to the processes.
        chunks: what is worked on; taken as the work goes on.
        processes: how many; one a core by default, and no more than there are chunks where their number is known.

    Raises:
        DeploymentError: something else ended a process.
    """
    processes = processes or len(os.sched_getaffinity(0))
    if isinstance(chunks, Sized):
        processes = min(processes, len(chunks))
    if processes <= 1:
        yield from map(work, chunks)
        return
    with open_pool(processes) as pool:
        remaining = iter(chunks)
        waiting: deque[Future[Result]] = deque(
            pool.submit(work, chunk) for chunk in islice(remaining, processes * AHEAD)
        )
        while waiting:
            result = _result_of(waiting.popleft())
            waiting.extend(pool.submit(work, chunk) for chunk in islice(remaining, 1))
            yield result


def _result_of(future: Future[Result]) -> Result:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise DeploymentError(
            "one of the processes that share the work was ended from outside, perhaps because memory ran out: "
            "see the system's log, and start again"
        ) from error


def _begin(begin: Callable[[], object] | None) -> None:
    """Leave the interrupt key to the parent, and end when it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch_parent, daemon=True).start()
    _keep_freed_memory()
    if begin:
        begin()


def _keep_freed_memory() -> None:
    """Let freed arrays serve the next ones.

    By default glibc hands them back to the kernel, which clears every page anew: a sixth of a simulation's time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none, and need none
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, REUSED_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def _watch_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
