"""The bytes of a file, within a bound, whether the file is compressed by gzip or not."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from schemas.errors import UnreadableFile

MAX_FILE_BYTES = 64 * 2**20
GZIP = b"\x1f\x8b"
HEAD_BYTES = 4096


def read_content(path: Path) -> bytes:
    """Return the content of a file, decompressed if it is a gzip.

    Raises:
        UnreadableFile: the file is larger than an ECG, or its compression is broken.
        OSError: the file cannot be read.
    """
    refuse_huge(path)
    content = path.read_bytes()
    return decompressed(content, path) if content.startswith(GZIP) else content


def head_of(path: Path) -> bytes:
    """Return the first bytes of a file's content, by which its format is recognised; empty if they cannot be had."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        return zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES) if head.startswith(GZIP) else head
    except (OSError, zlib.error):
        return b""


def decompressed(content: bytes, path: Path) -> bytes:
    """Return what a gzip holds.

    Raises:
        UnreadableFile: it holds more than an ECG has, or is broken.
    """
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(content, MAX_FILE_BYTES + 1)
    except zlib.error as error:
        raise UnreadableFile(f"{path} is a gzip that cannot be decompressed: copy the file again") from error
    if len(unpacked) > MAX_FILE_BYTES:
        raise UnreadableFile(f"{path} holds more than {MAX_FILE_BYTES >> 20} MiB: not a 12-lead ECG at rest")
    if not unpacker.eof:
        raise UnreadableFile(f"{path} is a gzip that is cut short: copy the file again")
    return unpacked


def refuse_huge(*files: Path) -> None:
    """Refuse files that are larger than an ECG.

    Raises:
        UnreadableFile: one is.
    """
    for file in files:
        if file.exists() and file.stat().st_size > MAX_FILE_BYTES:
            raise UnreadableFile(f"{file} is larger than {MAX_FILE_BYTES >> 20} MiB: not a 12-lead ECG at rest")


def printable(path: Path) -> str:
    """Return the path as text that can be printed, even if its bytes are no text."""
    return os.fsencode(path).decode(errors="replace")
