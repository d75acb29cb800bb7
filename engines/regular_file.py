"""Opens regular files and nothing else: a pipe hangs whoever opens it, and a device may never end."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

SPECIAL_FILE = "a pipe, a socket or a device, which is never opened"


class SpecialFile(OSError):  # noqa: N818 -- it names the condition, as the others do
    """A path leads to something that is neither a file nor a folder. Its `strerror` says so."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EPERM, f"it is {SPECIAL_FILE}", str(path))


def open_regular(path: Path) -> BufferedReader:
    """Return a file, open for reading. A link counts as what it leads to.

    It is looked at before it is opened, for opening some devices does something, and again once it is open, for it may
    have been exchanged meanwhile.

    Raises:
        SpecialFile: it is neither a file nor a folder.
        OSError: it is a folder, is not there, or cannot be opened.
    """
    _refuse(path.stat().st_mode, path)
    # Without O_NONBLOCK, a pipe that took the file's place would be waited for. Windows has neither.
    opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _refuse(os.fstat(opened).st_mode, path)
        return os.fdopen(opened, "rb")
    except BaseException:
        os.close(opened)
        raise


def _refuse(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise SpecialFile(path)
