"""One question to an HTTP server, and its answer, within a limit for the whole exchange."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Timer
from typing import NamedTuple
from urllib.parse import SplitResult

from schemas.errors import DeploymentError


class HttpAnswer(NamedTuple):
    """What a server answered."""

    status: int
    content: bytes
    headers: http.client.HTTPMessage


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
        """Return the status and the content of an answer, as `exchange` does."""
        answer = self.exchange(method, path, headers, body)
        return answer.status, answer.content

    def exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: str | bytes | None = None
    ) -> HttpAnswer:
        """Return the answer to a question. No redirect is followed, so credentials go nowhere else.

        Raises:
            OSError, http.client.HTTPException: there is no answer in time.
        """
        with closing(self._connection()) as connection:
            connection.connect()
            with _hung_up_after(self.whole_s, connection.sock):
                connection.request(method, path, body=body, headers=headers)
                response = connection.getresponse()
                return HttpAnswer(response.status, response.read(self.max_bytes), response.headers)

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self.address.hostname or "", self.address.port
        if self.context:
            return http.client.HTTPSConnection(host, port, timeout=self.step_s, context=self.context)
        return http.client.HTTPConnection(host, port, timeout=self.step_s)


def tls_context(setting: str, ca_file: Path | None) -> ssl.SSLContext:
    """Return what checks a server's certificate, against the authority of a file or else those of the system.

    Args:
        setting: the variable that names the file.

    Raises:
        DeploymentError: the file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise DeploymentError(f"{setting}={ca_file} cannot be used: {error}") from error


def retry_after_s(text: str | None) -> float | None:
    """Return the pause that a `Retry-After` asks for, which holds seconds or a date; None if it asks for none."""
    if text is None:
        return None
    if text.strip().isdecimal() and len(text) < 10:
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - time.time())


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
