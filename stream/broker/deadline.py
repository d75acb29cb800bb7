"""A limit for a whole exchange with an HTTP server, which sends byte by byte and so meets every other limit."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Timer


@contextmanager
def hung_up_after(limit_s: float, connection: socket.socket) -> Iterator[None]:
    """Cut the connection when the block takes too long."""

    def hang_up() -> None:
        with suppress(OSError):  # the server was quicker
            connection.shutdown(socket.SHUT_RDWR)

    timer = Timer(limit_s, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
