"""Server-sent events to the pages: numbered, and kept for a while, so that a page that comes back misses nothing."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import NamedTuple

from sse_starlette import ServerSentEvent

EVENTS_KEPT = 512
CHARACTERS_KEPT = 2**20
"""The bound on all events that are kept. In a replay, one event may carry hundreds of alerts."""
WAITING = 128
"""How many events a page may be behind. A slower page is disconnected, and comes back for the events that it missed."""
RETRY_MS = 1000
BEAT_S = 10
SILENCE_S = 3 * BEAT_S
"""A page that receives nothing for this long takes its connection for dead, and connects again."""
NUMBER = re.compile(r"[0-9]{1,15}")


class _Event(NamedTuple):
    number: int
    name: str
    data: str


class Hub:
    """Sends each event to every page.

    An event's id is `boot-number`. A number of another process means nothing here, so a page that brings one gets a
    snapshot.

    Args:
        snapshot: returns the events (name, data) that a new page starts from.
    """

    def __init__(self, snapshot: Callable[[], Iterable[tuple[str, str]]]) -> None:
        self._snapshot = snapshot
        self._boot = secrets.token_hex(4)
        self._number = 0
        self._kept: deque[_Event] = deque()
        self._characters = 0
        self._pages: set[asyncio.Queue[_Event | None]] = set()
        self._closed = False

    @property
    def pages(self) -> int:
        """How many pages are connected."""
        return len(self._pages)

    def publish(self, name: str, data: str) -> None:
        """Send an event to every page."""
        self._number += 1
        event = _Event(self._number, name, data)
        self._remember(event)
        for page in list(self._pages):
            self._hand(page, event)

    def close(self) -> None:
        """End every stream, and start no new one."""
        self._closed = True
        for page in list(self._pages):
            self._cut(page)

    async def stream(self, last_id: str | None) -> AsyncIterator[ServerSentEvent]:
        """Yield the events that a page missed, or a snapshot; then each new event."""
        page: asyncio.Queue[_Event | None] = asyncio.Queue(WAITING)
        missed, start = self._missed(last_id), self._number
        self._pages.add(page)
        if self._closed:
            self._cut(page)
        try:
            if missed is None:
                for name, data in self._snapshot():
                    yield ServerSentEvent(data=data, event=name, retry=RETRY_MS)
                yield ServerSentEvent(data="{}", event="ready", id=self._id(start))
            for known in missed or ():
                yield self._sent(known)
            while (event := await page.get()) is not None:
                yield self._sent(event)
        finally:
            self._pages.discard(page)

    def _remember(self, event: _Event) -> None:
        self._kept.append(event)
        self._characters += len(event.data)
        while len(self._kept) > EVENTS_KEPT or (self._characters > CHARACTERS_KEPT and len(self._kept) > 1):
            self._characters -= len(self._kept.popleft().data)

    def _hand(self, page: asyncio.Queue[_Event | None], event: _Event) -> None:
        try:
            page.put_nowait(event)
        except asyncio.QueueFull:
            self._cut(page)

    def _cut(self, page: asyncio.Queue[_Event | None]) -> None:
        """End a page's stream now, and drop what waits in its queue."""
        self._pages.discard(page)
        while not page.empty():
            page.get_nowait()
        page.put_nowait(None)

    def _missed(self, last_id: str | None) -> list[_Event] | None:
        """Return the events after the page's last event; None if they are no longer kept."""
        boot, _, number = (last_id or "").partition("-")
        if boot != self._boot or not NUMBER.fullmatch(number):
            return None
        seen = int(number)
        oldest = self._kept[0].number if self._kept else self._number + 1
        return [event for event in self._kept if event.number > seen] if oldest - 1 <= seen <= self._number else None

    def _sent(self, event: _Event) -> ServerSentEvent:
        return ServerSentEvent(data=event.data, event=event.name, id=self._id(event.number))

    def _id(self, number: int) -> str:
        return f"{self._boot}-{number}"
