"""Which offsets of which partition a file holds: its name says so, and nothing else does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from schemas.errors import InvalidSettings

DIGITS = 20
NAME = re.compile(rf"(?P<topic>.+)-(?P<partition>\d+)-(?P<first>\d{{{DIGITS}}})-(?P<last>\d{{{DIGITS}}})\.parquet")


class Place(NamedTuple):
    """A partition of a topic, by the broker's name."""

    topic: str
    partition: int

    def __str__(self) -> str:
        """Return the two as a text."""
        return f"{self.topic}-{self.partition}"


class Range(NamedTuple):
    """The offsets that a file holds, from the first to the last."""

    first: int
    last: int


class Segment(NamedTuple):
    """Offsets that no file holds yet, from the first one up to the end, which is not among them. None: without end."""

    first: int
    end: int | None


def file_name(place: Place, held: Range) -> str:
    """Return the name of the file that holds these offsets."""
    return f"{place}-{held.first:0{DIGITS}}-{held.last:0{DIGITS}}.parquet"


def ranges_in(folder: Path) -> dict[Place, list[Range]]:
    """Return what the files of a folder hold, in order. Files with other names hold nothing of a topic.

    Raises:
        InvalidSettings: two files hold the same offsets.
    """
    found: dict[Place, list[Range]] = {}
    for path in folder.iterdir():
        if match := NAME.fullmatch(path.name):
            place = Place(match["topic"], int(match["partition"]))
            found.setdefault(place, []).append(Range(int(match["first"]), int(match["last"])))
    for place, ranges in found.items():
        ranges.sort()
        _refuse_overlap(folder, place, ranges)
    return found


def segments(held: Iterable[Range], begin: int, end: int | None) -> list[Segment]:
    """Return the offsets from `begin` up to the end that no file holds. The ranges are in order."""
    free, at = [], begin
    for one in held:
        if one.first > at:
            free.append(Segment(at, one.first))
        at = max(at, one.last + 1)
    return [*free, Segment(at, end)] if end is None or at < end else free


def _refuse_overlap(folder: Path, place: Place, ranges: Sequence[Range]) -> None:
    for before, after in pairwise(ranges):
        if after.first <= before.last:
            both = f"{file_name(place, before)} and {file_name(place, after)}"
            raise InvalidSettings(f"{folder} has two files with the same offsets, {both}: remove one of them")
