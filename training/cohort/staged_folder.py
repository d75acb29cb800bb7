"""Folders that are whole or not there: filled under a hidden name beside their place, then renamed."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import InvalidSettings


@contextmanager
def staged_folder(destination: Path, *, replaces: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield an empty folder. It takes the destination's place when the block ends and is removed when the block fails.

    Args:
        destination: a folder that is not there, that is empty, or that `replaces` accepts.
        replaces: returns whether a folder that holds something may be replaced.

    Raises:
        InvalidSettings: the destination is something else, or is being written by another process.
    """
    destination = destination.resolve()
    check_destination(destination, replaces)
    stage = destination.with_name(f".{destination.name}.unfinished")
    stage.mkdir(parents=True, exist_ok=True)
    lock = os.open(stage, os.O_RDONLY)
    try:
        _lock(lock, destination)
        _empty(stage)  # a killed process may have left files in it
        try:
            yield stage
            _put_in_place(stage, destination)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    finally:
        os.close(lock)


def check_destination(destination: Path, replaces: Callable[[Path], bool]) -> None:
    """Refuse a destination that holds something else.

    Raises:
        InvalidSettings: the destination is a file, or a folder with something else in it.
    """
    if destination.exists() and not destination.is_dir():
        raise InvalidSettings(f"{destination} is a file: name a folder")
    if destination.is_dir() and any(destination.iterdir()) and not replaces(destination):
        raise InvalidSettings(f"{destination} is not empty and would be lost: name a new or an empty folder")


def _lock(folder: int, destination: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InvalidSettings(f"{destination} is being written by another process") from None


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _put_in_place(stage: Path, destination: Path) -> None:
    if not destination.exists():
        stage.rename(destination)
        return
    former = destination.with_name(f".{destination.name}.former")
    shutil.rmtree(former, ignore_errors=True)
    destination.rename(former)
    stage.rename(destination)
    shutil.rmtree(former)
