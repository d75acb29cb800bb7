"""Child processes that end when this process ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Self

STOP_S = 15.0
KILL_S = 5.0


class Child:
    """A child process that stops when the `with` block ends: by SIGTERM and, after a deadline, by SIGKILL.

    Start children from the main thread. On Linux, a child ends with the thread that started it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stop_s: float = STOP_S,
    ) -> None:
        self._stop_s = stop_s
        self.log = log
        guardian = [sys.executable, "-m", "stream.demo.die_with_parent", str(os.getpid()), *command]
        output: IO[bytes] | int = log.open("ab") if log else subprocess.DEVNULL
        try:
            # In its own session the child gets no Ctrl-C of the terminal: this process stops its children in order.
            self.process = subprocess.Popen(  # noqa: S603
                guardian,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        finally:
            if not isinstance(output, int):
                output.close()

    def __enter__(self) -> Self:
        """Return the running child."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the child."""
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self.process.poll() is None

    def stop(self) -> int:
        """Stop the child, first by SIGTERM. Return its exit code."""
        if self.running:
            self.process.terminate()
            try:
                self.process.wait(self._stop_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait(KILL_S)

    def said(self, beginning: str) -> str | None:
        """Return the rest of the last line of the child's log that begins so; None if there is none."""
        lines = [] if self.log is None or not self.log.exists() else self.log.read_text(errors="replace").splitlines()
        return next(
            (line.removeprefix(beginning).strip() for line in reversed(lines) if line.startswith(beginning)), None
        )

    def last_words(self, lines: int = 20) -> str:
        """Return the end of the child's log, for an error message."""
        if self.log is None or not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
