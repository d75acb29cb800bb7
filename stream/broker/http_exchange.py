"""One question to an HTTP server, and its answer, within a limit for the whole exchange."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from threading import Timer
from typing import NamedTuple
from urllib.parse import SplitResult


class HttpServer(NamedTuple):
    """Where questions go, and how long an exchange may take.

    Attributes:
        address: with scheme, host and port; its path is not looked at.
        context: of TLS; None: without.
        step_s: the limit of each step.
        whole_s: the limit of the whole: a server that sends byte by byte meets that of every step.
        max_bytes: of an answer, which is cut there.
    """

    address: SplitResult
    context: ssl.SSLContext | None
    step_s: float
    whole_s: float
    max_bytes: int

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: str | None = None) -> tuple[int, bytes]:
        """Return the status and the content of an answer. No redirect is followed, so credentials go nowhere else.

        Raises:
            OSError, http.client.HTTPException: there is no answer in time.
        """
        with closing(self._connection()) as connection:
            connection.connect()
            with _hung_up_after(self.whole_s, connection.sock):
                connection.request(method, path, body=body, headers=headers)
                response = connection.getresponse()
                return response.status, response.read(self.max_bytes)

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self.address.hostname or "", self.address.port
        if self.context:
            return http.client.HTTPSConnection(host, port, timeout=self.step_s, context=self.context)
        return http.client.HTTPConnection(host, port, timeout=self.step_s)


@contextmanager
def _hung_up_after(limit_s: float, connection: socket.socket) -> Iterator[None]:
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
