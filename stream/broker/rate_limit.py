"""Keeps a steady rate."""

from __future__ import annotations

import asyncio
import time


class Pace:
    """Lets a loop run at most `rate_hz` times a second. Without a rate, the loop runs as fast as it can."""

    def __init__(self, rate_hz: float | None) -> None:
        self._interval_s = 1 / rate_hz if rate_hz else 0.0
        self._next_at = 0.0

    async def step(self) -> None:
        """Wait for the next turn. A loop that is more than one turn late does not catch up in a burst."""
        if not self._interval_s:
            return
        now = time.monotonic()
        self._next_at = max(self._next_at, now - self._interval_s) + self._interval_s
        if (wait_s := self._next_at - now) > 0:
            await asyncio.sleep(wait_s)
