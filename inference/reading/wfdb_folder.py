"""Which files of a folder belong to WFDB records: a header owns its signal files, a master its segments."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

HEADER_SUFFIX = ".hea"
SIGNAL_SUFFIXES = (".dat", ".mat")
MAX_HEADER_BYTES = 2**20


class WfdbFolder(NamedTuple):
    """What the headers of a folder own.

    Attributes:
        signals: names of the files that headers name.
        segments: names of the headers that masters name: they are parts of the masters' records.
        stems: the headers' names without their endings; annotations have the same.
    """

    signals: frozenset[str] = frozenset()
    segments: frozenset[str] = frozenset()
    stems: frozenset[str] = frozenset()


def is_header(name: str) -> bool:
    """Return whether a file is a WFDB header by its name."""
    return name.lower().endswith(HEADER_SUFFIX)


def wfdb_folder(folder: Path, names: Iterable[str]) -> WfdbFolder:
    """Return what the headers among the files of a folder own. A header that cannot be read owns nothing."""
    headers = list(filter(is_header, names))
    if not headers:
        return WfdbFolder()
    signals: set[str] = set()
    segments: set[str] = set()
    for name in headers:
        lines = _lines(folder / name)
        if lines and "/" in lines[0].split()[0]:
            segments.update(f"{words[0]}{HEADER_SUFFIX}" for line in lines[1:] if (words := line.split()))
        else:
            signals.update(words[0] for line in lines[1:] if (words := line.split()))
    stems = frozenset(name[: -len(HEADER_SUFFIX)] for name in headers)
    return WfdbFolder(frozenset(signals), frozenset(segments), stems)


def _lines(header: Path) -> list[str]:
    """Return the lines of a header that are no comments."""
    try:
        with header.open("rb") as file:
            text = file.read(MAX_HEADER_BYTES).decode("utf-8", errors="surrogateescape")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
