"""Who has a shard in work: a file beside the dataset, which its owner touches while the owner lives.

No server is needed, and nothing depends on a claim: two processes that do one shard write the same rows, and a file is
whole or not there. A claim only keeps them from doing it at one time.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engines.whole_file import is_running

TOUCHES = 4
"""A claim is touched so many times before it would end."""


class Claims:
    """The claims of a dataset's shards.

    Args:
        folder: of the claims; processes on several machines may share it.
        lasts_s: a claim that was not touched for so long has ended, by the clock of the file system.
    """

    def __init__(self, folder: Path, lasts_s: float) -> None:
        self._folder, self._lasts_s = folder, lasts_s
        self._me = f"{socket.gethostname()}\n{os.getpid()}\n{uuid.uuid4().hex}"
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def claim(self, number: int) -> Iterator[bool]:
        """Yield whether this process has the shard now. The claim is touched until the block ends."""
        path = self._folder / f"{number:05}.claim"
        if not (self._take(path) or (self._has_ended(path) and self._take(path))):
            yield False
            return
        done = threading.Event()
        keeper = threading.Thread(target=self._touch, args=(path, done), daemon=True)
        keeper.start()
        try:
            yield True
        finally:
            done.set()
            keeper.join()
            self._release(path)

    def _take(self, path: Path) -> bool:
        try:
            with path.open("x") as file:
                file.write(self._me)
        except FileExistsError:
            return False
        return True

    def _has_ended(self, path: Path) -> bool:
        """Remove a claim that has ended, and return whether this process removed it."""
        try:
            age_s = self._now() - path.stat().st_mtime
            if age_s <= self._lasts_s and not _owner_is_gone(path.read_text()):
                return False
            taken = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
            path.rename(taken)  # of several that try, one succeeds
        except FileNotFoundError:
            return True
        taken.unlink(missing_ok=True)
        return True

    def _now(self) -> float:
        """Return the time by the clock of the file system, which may be another machine's."""
        probe = self._folder / f".{uuid.uuid4().hex}.now"
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    def _touch(self, path: Path, done: threading.Event) -> None:
        while not done.wait(self._lasts_s / TOUCHES):
            with suppress(OSError):  # another process took it over: both finish, and write the same
                os.utime(path)

    def _release(self, path: Path) -> None:
        with suppress(OSError):
            if path.read_text() == self._me:
                path.unlink()


def _owner_is_gone(owner: str) -> bool:
    """Return whether the owner was a process of this host, and is none any more."""
    host, _, rest = owner.partition("\n")
    process = rest.partition("\n")[0]
    return host == socket.gethostname() and not is_running(process)
