"""Run a command that dies with its parent: `python -m stream.demo.die_with_parent PARENT_PID COMMAND…`.

On Linux the kernel ends the command: PR_SET_PDEATHSIG survives the exec that replaces this process by the command.
On other systems this process stays, watches its parent and passes signals on.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
PARENT_CHECK_S = 0.5
STOP_S = 10.0


def main(arguments: list[str]) -> int:
    """Replace this process by the command, or watch the command and return its exit code."""
    parent, command = int(arguments[0]), arguments[1:]
    if platform.system() == "Linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
            return os.EX_OSERR
        if os.getppid() != parent:  # the parent died before the call above
            return os.EX_TEMPFAIL
        os.execvp(command[0], command)  # noqa: S606
    return _watch(parent, command)


def _watch(parent: int, command: list[str]) -> int:
    child = subprocess.Popen(command)  # noqa: S603
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: child.send_signal(received))
    while child.poll() is None:
        if os.getppid() != parent:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(STOP_S)
            child.kill()
        time.sleep(PARENT_CHECK_S)
    return child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
