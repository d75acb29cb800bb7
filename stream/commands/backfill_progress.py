"""Shows how far a backfill is: a bar for a person, lines of JSON for a program."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from .output import print_json

SHOW_EVERY_S = 5.0


class Progress(Protocol):
    """How far the work is."""

    @property
    def done(self) -> int:
        """By all runs."""

    @property
    def total(self) -> int | None:
        """None where nobody knows it."""

    @property
    def before(self) -> int:
        """By earlier runs."""


@dataclass(slots=True)
class HowFar:
    """How far the work is, where nobody else says so."""

    done: int
    total: int | None
    before: int


@contextmanager
def show_progress(begin: float, *, as_json: bool, of: str = "ECGs") -> Iterator[Callable[[Progress], object]]:
    """Yield what shows progress.

    Args:
        begin: a reading of the monotonic clock.
        as_json: whether a program reads it.
        of: what is counted.
    """
    if as_json:
        yield JsonLines(begin)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    from stream.plain_console import PlainConsole

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{{task.fields[rate]}} {of}/s, left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=PlainConsole(stderr=True)) as bars:
        bar = bars.add_task("", total=None, rate="-")

        def show(progress: Progress) -> None:
            if progress.before and not bars.tasks[0].completed:  # the time that is left follows from this run's rate
                bars.reset(bar, completed=progress.before)
            rate = _rate(progress, begin)
            bars.update(bar, completed=progress.done, total=progress.total, rate=f"{rate:.0f}" if rate else "-")

        yield show


class JsonLines:
    """Prints how far the work is, every few seconds."""

    def __init__(self, begin: float) -> None:
        self._begin = self._shown = begin

    def __call__(self, progress: Progress) -> None:
        """Print a line, if the last one is old enough."""
        now = time.monotonic()
        if now - self._shown < SHOW_EVERY_S:
            return
        self._shown = now
        rate = _rate(progress, self._begin)
        left_s = round((progress.total - progress.done) / rate) if rate and progress.total is not None else None
        print_json(
            {
                "done": progress.done,
                "total": progress.total,
                "records_per_s": round(rate, 1) if rate else None,
                "seconds_left": left_s,
            }
        )


def _rate(progress: Progress, begin: float) -> float | None:
    """Return ECGs a second of this run, or None while no shard is done."""
    did = progress.done - progress.before
    return did / (time.monotonic() - begin) if did else None
