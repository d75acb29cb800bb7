"""Uvicorn with bounds: on connections, on the time that a request may take to arrive, and on clients that read nothing.

Uvicorn itself has no time-out for the head of a request or for a body, and does not close a connection whose client
has stopped reading. So whoever may open a connection could hold all descriptors of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from schemas.errors import DeploymentError
from stream.bounded import RecentDict

UNTAKEN_S = 30
"""The kernel gives a connection up whose client takes nothing, or has vanished, for this long."""
SEND_BUFFER = 128 * 1024
"""What the kernel holds for a client that does not read. Linux takes twice as much."""
BACKLOG = 128
"""How many connections may wait to be taken. As many are taken at once, before those that gave way are closed."""
SHUTDOWN_S = 3
TICK_S = 1.0
SAME_LINE_S = 60.0
"""A server says the same thing in its log once in this time: else a stranger could fill the log."""
MESSAGES_KNOWN = 100


class BoundedProtocol(H11Protocol):
    """One connection. It is the client's turn until a whole request has come, and again after the answer.

    A connection that is one too many replaces the connection whose client has been waited for the longest. A client
    that is being answered is never replaced.

    Attributes:
        most: how many connections the server holds.
        request_s: how long a client has for a request, its body included, and until its next request.
        stalled_s: a client that reads nothing of its answer for this long is cut off.
    """

    most = BACKLOG
    request_s = 10.0
    stalled_s = 20.0
    _turn_since: float | None = None
    _request_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, and close another one if there are too many."""
        super().connection_made(transport)
        self._watch_turn()
        if len(self.connections) > self.most:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        super().data_received(data)
        self._watch_turn()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch_turn()

    def timeout_keep_alive_handler(self) -> None:
        """Do nothing: `_watch_turn` has a timer of its own."""

    def pause_writing(self) -> None:
        """Cut the client off unless it reads on."""
        super().pause_writing()
        self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        _cancel(self._stall_timer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        _cancel(self._request_timer)
        _cancel(self._stall_timer)
        super().connection_lost(exc)

    def _watch_turn(self) -> None:
        """Begin to wait for the client, or stop to, whichever has become true."""
        cycle: RequestResponseCycle | None = self.cycle  # Uvicorn declares it without the None that it begins with
        is_its_turn = cycle is None or cycle.response_complete or cycle.more_body
        if is_its_turn and self._turn_since is None:
            self._turn_since = time.monotonic()
            self._request_timer = self.loop.call_later(self.request_s, self._give_up)
        elif not is_its_turn:
            self._turn_since = None
            _cancel(self._request_timer)

    def _give_up(self) -> None:
        """Close the connection; what has been answered already has a while to reach the client."""
        self.transport.close()
        self._request_timer = self.loop.call_later(self.stalled_s, self.transport.abort)

    def _watch_reader(self, unread: int) -> None:
        _cancel(self._stall_timer)
        self._stall_timer = self.loop.call_later(self.stalled_s, self._cut_unless_read, unread)

    def _cut_unless_read(self, unread: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left >= unread:
            self.transport.abort()
        else:
            self._watch_reader(left)

    def _make_room(self) -> None:
        others = (one for one in self.connections if isinstance(one, BoundedProtocol) and one.transport is not None)
        waiting = [(one._turn_since, id(one), one) for one in others if one._turn_since is not None]  # noqa: SLF001
        _, _, longest = min(waiting, default=(0.0, 0, self))
        longest._turn_since = None  # noqa: SLF001  it goes at the loop's next turn
        longest.transport.abort()


class Server(uvicorn.Server):
    """Uvicorn without its signal handlers: the process itself says in which order its parts end.

    It is told to end, where Uvicorn looks ten times a second whether it shall.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        self._ends = asyncio.Event()
        super().__init__(config)

    @property
    def should_exit(self) -> bool:
        """Whether the server shall end. Set it in the server's own thread."""
        return self._ends.is_set()

    @should_exit.setter
    def should_exit(self, ends: bool) -> None:
        if ends:
            self._ends.set()

    async def main_loop(self) -> None:
        """Serve until it shall end; what Uvicorn does from time to time is done once a second."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._ends.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signal."""
        yield


class NewsFilter(logging.Filter):
    """Lets a message of a server pass once a minute, and says how often it was said in between."""

    def __init__(self) -> None:
        super().__init__()
        self._said: RecentDict[str, tuple[float, int]] = RecentDict(MESSAGES_KNOWN)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the message is news."""
        kind = record.exc_info[0] if record.exc_info else None
        text, now = f"{record.msg} {kind}", time.monotonic()
        at, more = self._said.get(text) or (-SAME_LINE_S, 0)
        if now - at < SAME_LINE_S:
            self._said.put(text, (at, more + 1))
            return False
        self._said.put(text, (now, 0))
        if more:
            record.msg = f"{str(record.msg).strip()} (and {more} times since this was said last)"
        return True


def new_server(app: Any, *, connections: int, **times: float) -> Server:
    """Return a server for an ASGI application. Headers about a proxy are the application's business.

    Args:
        connections: how many connections it holds at most.
        times: other times than those of `BoundedProtocol`.
    """
    protocol = type("Protocol", (BoundedProtocol,), {"most": connections, **times})
    for name in ("uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        if not any(isinstance(one, NewsFilter) for one in logger.filters):
            logger.addFilter(NewsFilter())
    return Server(
        uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            loop="none",
            backlog=BACKLOG,
            lifespan="off",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
    )


def affordable_connections(wanted: int) -> int:
    """Return how many connections a server may hold: half of the descriptors that a burst of new ones leaves."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else max(8, min(wanted, (soft - BACKLOG) // 2))


def listen(host: str, port: int, explain: Callable[[OSError], DeploymentError]) -> socket.socket:
    """Return a listening socket whose connections are given up by the kernel where nobody takes what is sent.

    Args:
        explain: returns the error to raise where the port is taken.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # connections inherit both
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * UNTAKEN_S)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise explain(error) from error
    return listener


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
