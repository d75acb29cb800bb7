"""The bytes of a file, within a bound, whether the file is compressed by gzip or not."""

from __future__ import annotations

import errno
import gzip
import io
import os
import re
import zlib
from pathlib import Path

from engines.regular_file import SPECIAL_FILE as NEVER_OPENED
from engines.regular_file import SpecialFile, open_regular
from schemas.errors import UnreadableFile

MAX_FILE_BYTES = 64 * 2**20
GZIP = b"\x1f\x8b"
HEAD_BYTES = 4096
SPECIAL_FILE = f"{NEVER_OPENED}: save the ECG as a file"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def read_content(path: Path) -> bytes:
    """Return the content of a file, decompressed if it is a gzip.

    Raises:
        UnreadableFile: the file is larger than an ECG, or its compression is broken.
        OSError: the file cannot be read.
    """
    with open_regular(path) as file:
        # A read of as much as is allowed would take that much memory first.
        content = file.read(min(os.fstat(file.fileno()).st_size, MAX_FILE_BYTES) + 1)
    if len(content) > MAX_FILE_BYTES:
        raise _huge(path)
    return decompressed(content, path) if content.startswith(GZIP) else content


def head_of(path: Path, size: int = HEAD_BYTES) -> bytes:
    """Return the first bytes of a file's content, by which its format is recognised, or fewer if it is compressed.

    Raises:
        OSError: the file cannot be read.
    """
    with open_regular(path) as file:
        head = file.raw.read(size) or b""
    if not head.startswith(GZIP):
        return head
    try:
        return zlib.decompressobj(wbits=31).decompress(head, size)
    except zlib.error:
        return head


def decompressed(content: bytes, path: Path) -> bytes:
    """Return what a gzip holds: all of its members, for some programs write one after the other.

    Raises:
        UnreadableFile: it holds more than an ECG has, or is broken.
    """
    try:
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(content)).read(MAX_FILE_BYTES + 1)
    except EOFError as error:
        raise UnreadableFile(f"{path} is a gzip that is cut short: copy the file again") from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableFile(f"{path} is a gzip that cannot be decompressed: copy the file again") from error
    if len(unpacked) > MAX_FILE_BYTES:
        raise UnreadableFile(f"{path} holds more than {MAX_FILE_BYTES >> 20} MiB: not a 12-lead ECG at rest")
    return unpacked


def refuse_huge(*files: Path) -> None:
    """Refuse files that are larger than an ECG.

    Raises:
        UnreadableFile: one is.
    """
    for file in files:
        if file.exists() and file.stat().st_size > MAX_FILE_BYTES:
            raise _huge(file)


def _huge(path: Path) -> UnreadableFile:
    return UnreadableFile(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB: not a 12-lead ECG at rest")


def printable(path: Path) -> str:
    """Return the path as text that can be printed in one line, even if its bytes are no text."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], os.fsencode(path).decode(errors="replace"))


def why_unreadable(path: Path, error: OSError) -> UnreadableFile:
    """Return in words what the system has against reading a file, or a folder."""
    named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else path
    start, shown = f"{printable(path)} cannot be read as an ECG", printable(named)
    if isinstance(error, SpecialFile):
        return UnreadableFile(f"{start}: {shown} is {SPECIAL_FILE}", code="special_file")
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.ELOOP:
            why = f"{shown} is not there, or is a link that leads nowhere: check the path"
            return UnreadableFile(f"{start}: {why}", code="missing_file")
        case errno.EACCES | errno.EPERM:
            why = f"{shown} may not be read by this user: change its permissions"
            return UnreadableFile(f"{start}: {why}", code="permission_denied")
        case errno.EISDIR:
            return UnreadableFile(f"{start}: {shown} is a folder, where a file is needed", code="missing_file")
        case errno.ENAMETOOLONG:
            return UnreadableFile(f"{start}: no file has so long a name: check the path", code="missing_file")
    said = error.strerror or type(error).__name__
    why = f"the system could not read {shown} ({said}): check the disk, or the network drive"
    return UnreadableFile(f"{start}: {why}", code="read_error")
