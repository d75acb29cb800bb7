"""Server-sent events to the pages: numbered, and kept for a while, so that a page that comes back misses nothing."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
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
SNAPSHOT_S = 2.0
"""For this long a snapshot serves every page that opens. After it such a page gets what has happened since."""
NUMBER = re.compile(r"[0-9]{1,15}")


class SentEvent(ServerSentEvent):
    """An event that is encoded once, for all pages."""

    @cached_property
    def wire(self) -> bytes:
        """The bytes that go to the pages."""
        return super().encode()

    def encode(self) -> bytes:
        """Return the bytes that go to the pages."""
        return self.wire


class _Event(NamedTuple):
    number: int
    size: int
    sent: SentEvent


class _Snapshot(NamedTuple):
    """What a new page starts from: the state as of an event."""

    made_at: float
    last_id: str
    events: list[SentEvent]


@dataclass(eq=False, slots=True)
class _Page:
    """A page that is connected: the events that wait for it, and the session that opened it."""

    session: str
    waiting: asyncio.Queue[SentEvent | None] = field(default_factory=lambda: asyncio.Queue(WAITING))


class Hub:
    """Sends each event to every page.

    An event's id is `boot-number`. A number of another process means nothing here, so a page that brings one gets a
    snapshot. Pages that open at the same time share one snapshot.

    Args:
        snapshot: returns the events (name, data) that a new page starts from.
    """

    def __init__(self, snapshot: Callable[[], Iterable[tuple[str, str]]]) -> None:
        self._make_snapshot = snapshot
        self._boot = secrets.token_hex(4)
        self._number = 0
        self._kept: deque[_Event] = deque()
        self._characters = 0
        self._pages: set[_Page] = set()
        self._snapshot: _Snapshot | None = None
        self._closed = False

    @property
    def pages(self) -> int:
        """How many pages are connected."""
        return len(self._pages)

    @property
    def sessions(self) -> int:
        """How many sessions have a page that is connected."""
        return len({page.session for page in self._pages})

    def publish(self, name: str, data: str) -> None:
        """Send an event to every page."""
        self._number += 1
        sent = SentEvent(data=data, event=name, id=self._id(self._number))
        self._remember(_Event(self._number, len(data), sent))
        for page in list(self._pages):
            self._hand(page, sent)

    def close(self) -> None:
        """End every stream, and start no new one."""
        self._closed = True
        for page in list(self._pages):
            self._cut(page)

    def end_session(self, session: str) -> None:
        """End the streams of a session."""
        for page in list(self._pages):
            if page.session == session:
                self._cut(page)

    async def stream(
        self, last_id: str | None, *, session: str = "", lasts_s: float | None = None
    ) -> AsyncIterator[ServerSentEvent]:
        """Yield the events that a page missed, or a snapshot and what came since; then each new event.

        Args:
            session: whose page it is.
            lasts_s: after this long the stream ends.
        """
        page = _Page(session)
        self._pages.add(page)
        end = asyncio.get_running_loop().call_later(lasts_s, self._cut, page) if lasts_s is not None else None
        try:
            for sent in self._beginning(last_id):
                yield sent
            if self._closed:
                return
            while (event := await page.waiting.get()) is not None:
                yield event
        finally:
            self._pages.discard(page)
            if end is not None:
                end.cancel()

    def _beginning(self, last_id: str | None) -> list[SentEvent]:
        """Return the events that a page starts with; nothing may happen between this and its first new event."""
        missed = self._missed(last_id)
        if missed is not None:
            return missed
        snapshot = self._fresh_snapshot()
        ready = SentEvent(data="{}", event="ready", id=snapshot.last_id)
        return [*snapshot.events, ready, *(self._missed(snapshot.last_id) or ())]

    def _fresh_snapshot(self) -> _Snapshot:
        kept, now = self._snapshot, time.monotonic()
        if kept is None or now - kept.made_at > SNAPSHOT_S or self._missed(kept.last_id) is None:
            events = [SentEvent(data=data, event=name, retry=RETRY_MS) for name, data in self._make_snapshot()]
            self._snapshot = kept = _Snapshot(now, self._id(self._number), events)
        return kept

    def _remember(self, event: _Event) -> None:
        self._kept.append(event)
        self._characters += event.size
        while len(self._kept) > EVENTS_KEPT or (self._characters > CHARACTERS_KEPT and len(self._kept) > 1):
            self._characters -= self._kept.popleft().size

    def _hand(self, page: _Page, event: SentEvent) -> None:
        try:
            page.waiting.put_nowait(event)
        except asyncio.QueueFull:
            self._cut(page)

    def _cut(self, page: _Page) -> None:
        """End a page's stream now, and drop what waits in its queue."""
        self._pages.discard(page)
        while not page.waiting.empty():
            page.waiting.get_nowait()
        page.waiting.put_nowait(None)

    def _missed(self, last_id: str | None) -> list[SentEvent] | None:
        """Return the events after the page's last event; None if they are no longer kept."""
        boot, _, number = (last_id or "").partition("-")
        if boot != self._boot or not NUMBER.fullmatch(number):
            return None
        seen = int(number)
        oldest = self._kept[0].number if self._kept else self._number + 1
        if not oldest - 1 <= seen <= self._number:
            return None
        return [event.sent for event in self._kept if event.number > seen]

    def _id(self, number: int) -> str:
        return f"{self._boot}-{number}"
