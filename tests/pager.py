"""A pager's entrance on a loopback port: a receiver of webhooks that is up, slow, out of order, gone or away."""

import base64
import hashlib
import hmac
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from waiting import PATIENCE_S

KEY = bytes(range(32))
TAKEN = (204,)
SECRET = "whsec_" + base64.b64encode(KEY).decode()


class Try(NamedTuple):
    """A message as it came: when, what, whether its signature is right, what was answered, and whether it was known."""

    at: float
    message_id: str
    body: bytes
    signed: bool
    answered: int | None
    is_known: bool


class Pager:
    """Keeps the ids of what it took.

    `answer` is a status, and a pause that it asks for or a place that it redirects to. None: it takes what comes, and
    answers nobody.
    """

    def __init__(self, key=KEY, context=None):
        self.key, self.context, self.port = key, context, 0
        self.answer, self.tries, self.kept = TAKEN, [], {}
        self._server = None

    def open(self):
        """Listen, at the port of the last time if there was one."""
        handler = type("Handler", (_Handler,), {"pager": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self._server.daemon_threads = True
        if self.context:
            self._server.socket = self.context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self):
        """Go away; nobody listens."""
        if self._server:
            self._server.shutdown()
            self._thread.join(PATIENCE_S)
            self._server.server_close()
            self._server = None

    def take(self, headers, body):
        """Take a message in, and return the answer."""
        name, at = headers["webhook-id"], headers["webhook-timestamp"]
        mac = base64.b64encode(hmac.digest(self.key, f"{name}.{at}.".encode() + body, hashlib.sha256)).decode()
        signed = f"v1,{mac}" in headers["webhook-signature"].split() and abs(time.time() - int(at)) < 300
        answer = self.answer
        self.tries.append(Try(time.time(), name, body, signed, answer and answer[0], name in self.kept))
        if answer in {None, TAKEN}:
            self.kept.setdefault(name, body)
        while self.answer is None:
            time.sleep(0.01)
        return answer


class _Handler(BaseHTTPRequestHandler):
    pager = None

    def do_POST(self):
        answer = self.pager.take(self.headers, self.rfile.read(int(self.headers["content-length"])))
        if answer is None:
            self.close_connection = True
            return
        status, *rest = answer
        with suppress(OSError):  # the sender has given up
            self.send_response(status)
            for text in rest:
                self.send_header("Location" if text.startswith("http") else "Retry-After", text)
            self.end_headers()

    def do_GET(self):
        self.pager.tries.append(Try(time.time(), "GET", b"", signed=False, answered=204, is_known=False))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        """Write nothing."""


@contextmanager
def pager(**options):
    """Give one that is up."""
    one = Pager(**options)
    one.open()
    try:
        yield one
    finally:
        one.answer = one.answer or TAKEN
        one.close()
