"""A process in which libraries read what others have written, within limits of memory and time.

A library that takes gigabytes for a small file, never ends, or dies of it takes only the child with it. The child is
started when it is first needed, serves one question after the other, and is replaced when it has died. It gives bytes
for bytes: nothing that comes from it is unpickled.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal, TypeAlias

LENGTH = struct.Struct("<Q")
MAX_ANSWER_BYTES = 256 * 2**20
ANSWER, NO_MEMORY, BROKEN = b"a", b"m", b"b"
"""How an answer begins: with what was asked for, or with why there is none."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Each thread of these libraries takes address space."""
BEGIN = (
    "import json, sys; sys.path[:], limits = json.loads(sys.argv[1]); "
    "from inference.bounded_child_loop import serve; serve(*limits)"
)

Reason: TypeAlias = Literal["memory", "time", "died", "broken"]


class ChildFailed(Exception):  # noqa: N818 -- it names the condition, as the others do
    """There is no answer.

    Attributes:
        reason: `memory` or `time`: the limit was reached; `died`: the child ended; `broken`: the function raised.
        kind: the name of what it raised.
    """

    def __init__(self, reason: Reason, kind: str = "") -> None:
        super().__init__(reason, kind)
        self.reason, self.kind = reason, kind


@dataclass(frozen=True, slots=True)
class Limits:
    """What one question may take.

    Attributes:
        memory: bytes of address space, of which the libraries themselves take some.
        processor_s: time of the processor.
        wall_s: time, however little of the processor it takes: of a disk that does not answer.
        written: bytes of a file that is written.
    """

    memory: int
    processor_s: int
    wall_s: float
    written: int


class BoundedChild:
    """A child process that answers; see the module. Any thread may ask. One at a time is answered."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._interrupted = False
        atexit.register(self.close)

    def ask(self, place: str, question: bytes) -> bytes:
        """Return what a function answers in the child.

        A child that has served before may be at its limits because of that. Its failure is not believed until a new
        child has failed as well.

        Args:
            place: module and name of the function, which takes and returns bytes: `inference.reading.in_child:answer`.
            question: what it is given.

        Raises:
            ChildFailed: it did not answer.
        """
        with self._lock:
            self._interrupted = False
            has_served = self._is_running()
            try:
                return self._ask(place, question)
            except ChildFailed as failure:
                if self._interrupted or not has_served or failure.reason not in ("memory", "died"):
                    raise
            return self._ask(place, question)

    def interrupt(self) -> None:
        """Let a question that another thread waits for fail at once. The next question starts another child."""
        self._interrupted = True
        if (process := self._process) and self._owner == os.getpid():
            process.kill()

    def close(self) -> None:
        """End the child, whatever it does. The next question starts another one."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():  # a forked process has no child of its parent
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with suppress(OSError):
                    pipe.close()

    def _is_running(self) -> bool:
        return self._process is not None and self._owner == os.getpid() and self._process.poll() is None

    def _ask(self, place: str, question: bytes) -> bytes:
        process = self._process if self._is_running() else None
        deadline = time.monotonic() + self._limits.wall_s
        try:
            process = process or self._start()
            _write(process, place.encode(), question)
            answer = _read(process, deadline)
        except (OSError, EOFError) as error:
            raise self._ended() from error
        except BaseException:  # a key of the user's: what the child still does concerns nobody
            self.close()
            raise
        kind, content = answer[:1], answer[1:]
        if kind == NO_MEMORY:
            self.close()  # what it still holds is not known
            raise ChildFailed("memory")
        if kind == BROKEN:
            raise ChildFailed("broken", content.decode("utf-8", errors="replace"))
        return content

    def _start(self) -> subprocess.Popen[bytes]:
        self.close()
        limits = self._limits
        start = json.dumps([
            [str(Path(entry).absolute()) for entry in sys.path],
            [limits.memory, limits.processor_s, limits.written],
        ])  # fmt: skip
        # In a session of its own, for the interrupt key is the parent's. It inherits no other file.
        self._process = subprocess.Popen(  # noqa: S603 -- our own interpreter
            [sys.executable, "-I", "-c", BEGIN, start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries print what they find, which may be a name
            bufsize=0,
            env=os.environ | ONE_THREAD,
            start_new_session=True,
        )
        self._owner = os.getpid()
        return self._process

    def _ended(self) -> ChildFailed:
        """Return why the child is gone, and clear it away."""
        process = self._process
        if process is None:
            return ChildFailed("died")
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
        code = process.poll()
        self.close()
        slow = code is None or code in (-signal.SIGXCPU, -signal.SIGALRM)
        return ChildFailed("time" if slow else "died")


def _write(process: subprocess.Popen[bytes], *parts: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 -- it is a pipe
    content = b"".join(LENGTH.pack(len(part)) + part for part in parts)
    while content:
        content = content[process.stdin.write(content) or 0 :]


def _read(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    """Return an answer.

    Raises:
        EOFError: the child ended before it, or is too late.
    """
    (length,) = LENGTH.unpack(_read_exactly(process, LENGTH.size, deadline))
    if length > MAX_ANSWER_BYTES:
        raise EOFError
    return _read_exactly(process, length, deadline)


def _read_exactly(process: subprocess.Popen[bytes], size: int, deadline: float) -> bytes:
    assert process.stdout is not None  # noqa: S101 -- it is a pipe
    parts: list[bytes] = []
    while size:
        ready, _, _ = select.select([process.stdout], [], [], max(deadline - time.monotonic(), 0))
        part = process.stdout.read(min(size, 2**20)) if ready else b""
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
