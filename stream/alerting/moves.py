"""Hands the new states of alerts on to whoever tells people, each at least once.

The offset of the keeper's group says up to where this is done. A keeper that takes over begins there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog

from schemas.messages import Alert, AlertStatus

OnMoved: TypeAlias = Callable[[Alert, AlertStatus], Awaitable[object]]
"""Is called once for each state of an alert that comes on `ecg.alerts.v1`, raised too, with the alert as it is there,
and in the topic's order for one patient. What it returns is awaited beside the keeper's work, and may take minutes. It
has to have a deadline. A keeper that ends before has the state handed on again by the next one, so a receiver has to
keep the ids: `webhook_id(alert)`. An error that it raises is logged, and the state is not handed on again."""

UNDER_WAY = 2_000
"""So many states are handed on at once. One more is passed over, and counted: a receiver that is down for long must not
keep the keeper from its work."""

log = structlog.get_logger(__name__)


async def to_nobody(_alert: Alert, _status: AlertStatus) -> None:
    """Hand a state on to nobody."""


class Moves:
    """The states that are being handed on, and up to which offset of each partition all of them are.

    Args:
        on_moved: gets each state.

    Attributes:
        passed_over: how many states were not handed on, since too many were under way.
    """

    def __init__(self, on_moved: OnMoved) -> None:
        self._on_moved = on_moved
        self._lines: dict[int, deque[tuple[int, asyncio.Task[None]]]] = {}
        self._read: dict[int, int] = {}
        self._under_way = 0
        self.passed_over = 0

    def read(self, partition: int, offset: int) -> None:
        """Take note that all before this offset was read."""
        self._read[partition] = offset

    def hand_on(self, partition: int, offset: int, alert: Alert) -> None:
        """Hand on the state of an alert that lies at this offset."""
        if self._under_way >= UNDER_WAY:
            self.passed_over += 1
            return
        self._under_way += 1
        task = asyncio.create_task(self._tell(alert))
        self._lines.setdefault(partition, deque()).append((offset, task))

    def done(self, partition: int) -> int | None:
        """Return the offset up to which all states of a partition are handed on; None before anything was read."""
        line = self._lines.get(partition, deque())
        while line and line[0][1].done():
            line.popleft()
        return line[0][0] if line else self._read.get(partition)

    async def finish(self, within_s: float) -> None:
        """Wait for those that are under way, and give up the rest: the next keeper hands it on."""
        tasks = [task for line in self._lines.values() for _, task in line]
        if tasks:
            await asyncio.wait(tasks, timeout=within_s)
        self.give_up()
        await asyncio.gather(*tasks, return_exceptions=True)

    def give_up(self) -> None:
        """Hand on nothing more: the next keeper does."""
        for line in self._lines.values():
            for _, task in line:
                task.cancel()

    async def _tell(self, alert: Alert) -> None:
        try:
            await self._on_moved(alert, alert.status)
        except Exception:  # a bug of the receiver must not end what keeps the alerts
            log.exception("move_not_handed_on", effect="this state of an alert is not handed on")
        finally:
            self._under_way -= 1
