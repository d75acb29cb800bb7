"""Takes items from an iterator in a thread, a batch ahead, so that a slow disk does not stop the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from inference.reading.in_child import interrupted_with_us

ItemT = TypeVar("ItemT")

ITEMS_A_BATCH = 16
"""At most twice as many items wait: a bound on memory."""


async def read_ahead(items: Iterator[ItemT], batch: int = ITEMS_A_BATCH) -> AsyncGenerator[ItemT, None]:
    """Yield the items in order. The iterator runs in one thread, and what it raises comes after the items before it."""
    loop = asyncio.get_running_loop()

    def take() -> list[ItemT]:
        return list(islice(items, batch))

    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread, interrupted_with_us():
        upcoming = loop.run_in_executor(thread, take)
        while taken := await upcoming:
            upcoming = loop.run_in_executor(thread, take)
            for item in taken:
                yield item
