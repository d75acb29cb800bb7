"""How a process that serves ends while it only starts: at once."""

from __future__ import annotations

import os
import signal


def end_at_once_by_sigterm() -> None:
    """Let SIGTERM end the process at once, until somebody else handles it.

    Nothing has been taken up yet, so nothing has to be finished. An exception would be raised wherever the process is
    just then: in a finaliser it would be lost and the process would serve on, and while an engine computes it would
    take the memory away under the engine's threads.
    """
    signal.signal(signal.SIGTERM, lambda number, _frame: os._exit(128 + number))
