"""The progress bar of long commands, on standard error: a bar for each step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class ShowProgress(Protocol):
    """Shows how far a step is."""

    def __call__(self, step: str, done: int, total: int | None = None) -> None:
        """Show that `done` of `total` are done; a total that is not known yet is None."""


@contextmanager
def progress_bar() -> Iterator[ShowProgress]:
    """Show the bars while the block runs. A step gets its bar when it is first named."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    from stream.plain_console import PlainConsole

    columns = (TextColumn("{task.description:>18}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    steps: dict[str, TaskID] = {}
    with Progress(*columns, console=PlainConsole(stderr=True)) as bars:

        def show(step: str, done: int, total: int | None = None) -> None:
            if step not in steps:
                steps[step] = bars.add_task(step.replace("_", " "), total=total)
            bars.update(steps[step], completed=done, total=total)

        yield show
