"""How long tests wait: for conditions, with one patience for all of them; never for seconds."""

import asyncio
import time

PATIENCE_S = 300.0
"""A guard against hanging, not a measure of speed. A machine may be ten times slower than ours, and busy as well."""


def wait_until(condition, poll_s=0.02):
    """Return when the condition holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "what the test waits for did not come"
        time.sleep(poll_s)


async def eventually(condition, poll_s=0.001):
    """Return when the condition holds; other tasks run meanwhile."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(poll_s)
