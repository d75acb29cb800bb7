"""Files that are whole or not there, even if the process is killed: written beside their place, then renamed."""

from __future__ import annotations

import glob
import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = "partial"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write a file to. The file takes its place at `path` when the block ends, and goes if it fails.

    Until then the file lies in the same folder under a hidden name of its own, so that threads and processes may write
    the same file at the same time: the last one wins. A process that is killed leaves its unfinished file behind. The
    next process of the same host that writes to `path` removes it. Containers that share a folder are hosts of their
    own: none of them sees the processes of another.
    """
    _remove_leftovers(path)
    unfinished = unfinished_path(path, os.getpid())
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def unfinished_path(path: Path, process: int) -> Path:
    """Return a new hidden path beside `path`, for a process of this host that writes the file."""
    return path.with_name(f".{path.name}.{_host()}.{process}.{secrets.token_hex(4)}.{SUFFIX}")


def write_whole(path: Path, content: bytes) -> None:
    """Write the content to `path`, whole or not at all."""
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content)


def _remove_leftovers(path: Path) -> None:
    for unfinished in path.parent.glob(f".{glob.escape(path.name)}.{_host()}.*.*.{SUFFIX}"):
        if not is_running(unfinished.name.split(".")[-3]):
            unfinished.unlink(missing_ok=True)


def _host() -> str:
    """Return this host's name as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())


def is_running(process: str) -> bool:
    """Return whether a process has this number. A number that cannot be read belongs to somebody else's file."""
    try:
        os.kill(int(process), 0)  # signal 0 asks and does not disturb
    except (ProcessLookupError, OverflowError):
        return False
    except (PermissionError, ValueError):
        return True
    return True
