"""Which alerts leave a full book first.

1. closed ones, the oldest first
2. of a device that has more open alerts than its share: what is more
3. the other open ones

Of open alerts the least urgent leave first, and of equally urgent ones those in the middle of the line: neither the
longest waiting nor the newest. A quarter of the open alerts, those that wait longest, leaves after all others. So
whoever floods the book pushes out neither what has waited for long nor what comes next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, groupby, islice
from typing import Protocol, TypeVar

SHARE = 0.1
"""Of a full book: so much of it a device may fill with open alerts before its own leave first."""
SPARED = 0.25


class Leaving(Protocol):
    """An alert as far as this module looks at it."""

    @property
    def open(self) -> bool:
        """Whether somebody still has to look at the alert."""

    @property
    def rank(self) -> int:
        """Its place in the list: the least is the most urgent."""

    @property
    def since(self) -> float:
        """When it was raised, in seconds since 1970."""

    @property
    def source(self) -> str | None:
        """The device."""


EntryT = TypeVar("EntryT", bound=Leaving)


def leaving_order(entries: Collection[EntryT], share: int) -> Iterator[EntryT]:
    """Yield the alerts in the order in which they leave.

    Args:
        share: how many open alerts a device may have before its own leave before those of the others.
    """
    closed = sorted((entry for entry in entries if not entry.open), key=_age)
    waiting = sorted((entry for entry in entries if entry.open), key=_age)
    spared = round(SPARED * len(waiting))
    surplus = list(_surplus(waiting, waiting[spared:], share))
    gone = set(map(id, surplus))
    others = [entry for entry in waiting[spared:] if id(entry) not in gone]
    return chain(closed, surplus, _least_urgent_first(others), _least_urgent_first(waiting[:spared]))


def _surplus(waiting: Iterable[EntryT], others: Sequence[EntryT], share: int) -> Iterator[EntryT]:
    """Yield what each device has beyond its share, the device with the most alerts first."""
    for source, number in Counter(entry.source for entry in waiting).most_common():
        if number <= share:
            return
        own = [entry for entry in others if entry.source == source]
        yield from islice(_least_urgent_first(own), number - share)


def _least_urgent_first(by_age: Sequence[EntryT]) -> Iterator[EntryT]:
    """Yield the alerts by urgency, and those of one urgency from the middle of their line to its ends."""
    by_rank = sorted(by_age, key=_rank, reverse=True)
    for _, equal in groupby(by_rank, key=_rank):
        line = list(equal)
        middle = (len(line) - 1) / 2
        yield from (line[place] for place in sorted(range(len(line)), key=lambda place: abs(place - middle)))


def _age(entry: Leaving) -> float:
    return entry.since


def _rank(entry: Leaving) -> int:
    return entry.rank
