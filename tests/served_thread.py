"""Serves on a loop in a thread of its own, beside a test that is no coroutine."""

import asyncio
import threading
from contextlib import contextmanager

from waiting import PATIENCE_S


@contextmanager
def served(server):
    """Run `server.serve(started)`, which sets the event, and have `server.leave()` end it after the block."""
    started = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(started)), daemon=True)
    thread.start()
    assert started.wait(PATIENCE_S)
    try:
        yield server
    finally:
        server.leave()
        thread.join(PATIENCE_S)
