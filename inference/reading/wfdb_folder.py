"""Which files of a folder belong to WFDB records: a header owns its signal files, a master its segments."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .content import head_of
from .wfdb_header import MAX_HEADER_BYTES

HEADER_SUFFIX = ".hea"
COMPRESSED = ".gz"
SIGNAL_SUFFIXES = (".dat", ".mat")
"""Of signal files. They are read through their headers."""


class WfdbFolder(NamedTuple):
    """What the headers of a folder own.

    Attributes:
        named: names of the signal files that headers name, and of the headers of segments that masters name. A name may
            begin with that of a folder below.
        stems: the headers' names without their endings, in lower case; annotations have the same.
    """

    named: frozenset[str] = frozenset()
    stems: frozenset[str] = frozenset()

    def names(self, file: str) -> bool:
        """Return whether a header names a file, which may be compressed and spelled in capitals or other Unicode."""
        return bool(self.named) and _spelled(file).removesuffix(COMPRESSED) in self.named

    def named_in(self, folder: str) -> frozenset[str]:
        """Return the names of those of the files that lie in a folder below, or below that."""
        start = f"{_spelled(folder)}/"
        return frozenset(name.removeprefix(start) for name in self.named if name.startswith(start))


def is_header(name: str) -> bool:
    """Return whether a file is a WFDB header, which may be compressed, by its name."""
    return name.lower().removesuffix(COMPRESSED).endswith(HEADER_SUFFIX)


def wfdb_folder(folder: Path, names: Iterable[str], named_above: frozenset[str] = frozenset()) -> WfdbFolder:
    """Return what the headers among the files of a folder own. A header that cannot be read owns nothing.

    Args:
        named_above: the files of this folder that headers in folders above own.
    """
    headers = list(filter(is_header, names))
    if not headers:
        return WfdbFolder(named_above)
    named: set[str] = set()
    for name in headers:
        first, *others = _first_words(folder / name) or [""]
        named.update(f"{word}{HEADER_SUFFIX}" if "/" in first else word.removesuffix(COMPRESSED) for word in others)
    stems = frozenset(name.lower().removesuffix(COMPRESSED).removesuffix(HEADER_SUFFIX) for name in headers)
    return WfdbFolder(named_above | {_spelled(PurePosixPath(name).as_posix()) for name in named}, stems)


def _first_words(header: Path) -> list[str]:
    """Return the first word of each line of a header that is no comment: a record, and its signals or segments."""
    try:
        text = head_of(header, MAX_HEADER_BYTES).decode("utf-8", errors="surrogateescape")
    except OSError:
        return []
    lines = (line.split() for line in text.splitlines() if not line.lstrip().startswith("#"))
    return [words[0] for words in lines if words]


def _spelled(name: str) -> str:
    return (name if name.isascii() else unicodedata.normalize("NFC", name)).lower()
