"""Runs a backfill's processes on this machine, and watches what they and those of other machines finish."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool

import pyarrow.parquet as pq

from inference.reading.file_note import FileNote
from schemas.errors import DeploymentError
from training.cohort.process_pool import open_pool

from .dataset import REFUSED, Dataset
from .work import Work, do_work

POOLS = 3
"""So many times processes are started, if one of them is killed."""
LOOK_S = 0.5


class Progress:
    """What is done, as the dataset's folder shows it.

    Attributes:
        done: ECGs in the shards that are done.
    """

    def __init__(self, dataset: Dataset, work: Work, tell: Callable[[FileNote], object]) -> None:
        self._dataset, self._tell = dataset, tell
        self._open = [number for number in work.shards if not dataset.is_done(number)]
        self.total = sum(dataset.records_in(number) for number in work.shards)
        self.before = self.done = self.total - sum(dataset.records_in(number) for number in self._open)

    @property
    def is_open(self) -> bool:
        """Whether a shard was open at the last look."""
        return bool(self._open)

    def look(self) -> None:
        """Find the shards that have been done since the last look, and tell of the ECGs that were refused."""
        for number in [number for number in self._open if self._dataset.is_done(number)]:
            self._open.remove(number)
            self.done += self._dataset.records_in(number)
            for note in refusals(self._dataset, number):
                self._tell(note)


def run_processes(
    dataset: Dataset,
    work: Work,
    processes: int,
    *,
    tell: Callable[[FileNote], object] = lambda _: None,
    show: Callable[[Progress], object] = lambda _: None,
) -> Progress:
    """Do the work by so many processes, and return what is done at the end. A process that is killed is replaced.

    Raises:
        DeploymentError: processes are killed again and again.
    """
    progress = Progress(dataset, work, tell)
    for _ in range(POOLS):
        try:
            _run_pool(work, processes, progress, show)
        except BrokenProcessPool:
            continue
        return progress
    sentence = f"{POOLS} times a process was killed from outside: does the memory suffice for {processes} processes?"
    raise DeploymentError(f"{sentence} What is done is kept; the same command goes on")


def _run_pool(work: Work, processes: int, progress: Progress, show: Callable[[Progress], object]) -> None:
    with open_pool(processes) as pool:
        watch({pool.submit(do_work, work) for _ in range(processes)}, progress, show)


def watch(futures: set[Future[int]], progress: Progress, show: Callable[[Progress], object]) -> None:
    """Show what the folder shows until all have ended. What the first one that fails raises is raised."""
    while futures:
        finished, futures = wait(futures, LOOK_S, "FIRST_EXCEPTION")
        progress.look()
        show(progress)
        for future in finished:
            future.result()


def refusals(dataset: Dataset, number: int) -> Iterator[FileNote]:
    """Yield a note of each ECG of a shard that was refused."""
    table = pq.read_table(dataset.file(REFUSED, number), columns=["path", "code", "detail"])
    for row in table.to_pylist():
        yield FileNote(path=row["path"], status="refused", code=row["code"], detail=row["detail"])
