"""Runs the dashboard: feed and web server together, until a signal ends them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack

from schemas.errors import DeploymentError
from stream.cines.store import CineStore
from stream.redis_check import DASHBOARD, check_redis
from stream.redis_client import new_redis
from stream.runtime.http_server import Server, affordable_connections, listen, new_server
from stream.settings import DashboardSettings, Settings

from .app import make_app
from .feed import Feed
from .front_door import FrontDoor

OTHER_CONNECTIONS = 100
"""Beside the streams of the pages: what pages fetch, and those who ask for the health."""


async def serve_dashboard(settings: Settings, started: Callable[[str], object]) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        started: called with the address when the dashboard answers. Where there is neither a token nor a proxy, the
            address holds a code that works once; when it was used, the next one is told.

    Raises:
        DeploymentError: Kafka cannot be reached, Redis cannot serve, or the port is taken.
    """
    listener = _listen(settings.dashboard.host, settings.dashboard.port)
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        await check_redis(settings.redis, DASHBOARD)
        redis = new_redis(settings.redis)
        stack.push_async_callback(redis.aclose)
        cines = await stack.enter_async_context(CineStore(settings.redis, ttl_s=settings.cines.ttl_s))
        feed = await stack.enter_async_context(Feed(settings, redis))
        codes = settings.dashboard.token is None and settings.dashboard.user_header is None
        door = FrontDoor(
            settings.dashboard.token,
            codes=codes,
            announce=lambda code: started(_address(listener, settings.dashboard, code)),
        )
        connections = affordable_connections(settings.dashboard.pages + OTHER_CONNECTIONS)
        pages = min(settings.dashboard.pages, 2 * connections // 3)
        app = make_app(feed, redis, cines, settings.dashboard, door=door, max_pages=pages)
        server = new_server(app, connections=connections)
        await _run(server, feed, listener, door.begin)


async def _run(server: Server, feed: Feed, listener: socket.socket, started: Callable[[], object]) -> None:
    """Run the server until a signal comes or the feed fails."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    jobs = {serving, asyncio.create_task(stop.wait()), asyncio.create_task(feed.watch())}
    started()
    try:
        done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
    finally:
        feed.hub.close()
        server.should_exit = True
        await serving
        for job in jobs - {serving}:
            job.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await job
    for job in done:
        job.result()


def _listen(host: str, port: int) -> socket.socket:
    advice = (
        "set CARDIACNETS_DASHBOARD_HOST to an address of this machine, and CARDIACNETS_DASHBOARD_PORT to a free port "
        "or to 0, which takes any free port"
    )
    return listen(
        host,
        port,
        lambda error: DeploymentError(f"the dashboard cannot listen on {host}:{port} ({error}); {advice}"),
    )


def _address(listener: socket.socket, settings: DashboardSettings, code: str | None) -> str:
    host, folder = settings.host, settings.prefix or ""
    shown = socket.gethostname() if host in {"0.0.0.0", "::"} else host  # noqa: S104 -- compared, not bound
    name = f"[{shown}]" if ":" in shown else shown
    return f"http://{name}:{listener.getsockname()[1]}{folder}/" + (f"?code={code}" if code else "")
