"""Ends tasks, also those that lose a cancellation: what speaks to Redis may."""

from __future__ import annotations

import asyncio
from typing import Any

AGAIN_S = 0.5


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and return when all have ended. An error that nobody has taken is logged by asyncio.

    In Python 3.11 `asyncio.wait_for`, by which redis-py sends, loses a cancellation that comes at the moment at which
    what it waits for is done. So a task that goes on is cancelled again.
    """
    while going := [task for task in tasks if not task.done()]:
        for task in going:
            task.cancel()
        await asyncio.wait(going, timeout=AGAIN_S)
