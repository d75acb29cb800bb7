"""Ends a worker that has work but makes no progress, so that its group gives its partitions to other workers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import structlog

CHECK_S = 1.0
EXIT_CODE = 70  # EX_SOFTWARE

log = structlog.get_logger(__name__)


class Watchdog:
    """Watches in its own thread, because a blocked event loop is one of the things that it watches for.

    Args:
        pending: returns how much work there is: records held here, or known to wait on the topics.
        finished: returns a count that grows with every finished record.
        patience_s: how long work may wait without any progress.
        outside: returns why the process cannot work with its group; None while it can.
        end: ends the process; tests give another function.
    """

    def __init__(
        self,
        pending: Callable[[], int],
        finished: Callable[[], int],
        patience_s: float,
        *,
        outside: Callable[[], str | None] = lambda: None,
        check_s: float = CHECK_S,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._pending = pending
        self._finished = finished
        self._patience_s = patience_s
        self._outside = outside
        self._check_s = check_s
        self._end = end
        self._stop = threading.Event()
        self._deadline: float | None = None
        self.stalled_s = 0.0

    def start(self) -> None:
        """Start to watch."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()

    def allow(self, seconds: float) -> None:
        """Give the process `seconds` from now to end by itself, because a shutdown has begun."""
        self._deadline = time.monotonic() + seconds

    def _watch(self) -> None:
        seen, pending, since = -1, 0, time.monotonic()
        while not self._stop.wait(self._check_s):
            now = time.monotonic()
            try:
                finished, pending = self._finished(), self._pending()
            except Exception:  # whatever the error is: it must not end this thread, or nobody would watch any longer
                log.exception("work_not_measured", effect="this counts as no progress")
            else:
                if finished != seen or not pending:
                    seen, since = finished, now
            self.stalled_s = now - since
            if self.stalled_s > self._patience_s:
                self._bite("work_stalled", pending=pending, stalled_s=round(self.stalled_s, 1), outside=self._outside())
            if self._deadline is not None and now > self._deadline:
                self._bite("shutdown_overdue", pending=pending)

    def _bite(self, event: str, **facts: object) -> None:
        log.critical(event, **facts)
        self._stop.set()
        self._end(EXIT_CODE)
