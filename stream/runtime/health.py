"""The worker's HTTP: `/metrics` for Prometheus, `/healthz` and `/readyz` for an orchestrator."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from schemas.errors import DeploymentError

Check = Callable[[], str | None]
"""Returns what is wrong, or None."""


@asynccontextmanager
async def health_server(
    host: str, port: int, *, registry: CollectorRegistry, healthy: Check, ready: Check
) -> AsyncIterator[int]:
    """Serve until the block ends, and yield the port. If `port` is 0, a free port is chosen.

    Raises:
        DeploymentError: the port is taken.
    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    application.router.add_get("/healthz", _answer(healthy))
    application.router.add_get("/readyz", _answer(ready))
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise _taken(host, port, error) from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def check_port(host: str, port: int) -> None:
    """Check that the port is free, before anything slow is done.

    Raises:
        DeploymentError: the port is taken.
    """
    try:
        socket.create_server((host, port), family=_family(host)).close()
    except OSError as error:
        raise _taken(host, port, error) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _taken(host: str, port: int, error: OSError) -> DeploymentError:
    return DeploymentError(
        f"cannot serve HTTP on {host}:{port} ({error}); set CARDIACNETS_HTTP_PORT or --http-port to a free port"
    )


def _answer(check: Check) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(_: web.Request) -> web.StreamResponse:
        trouble = check()
        return web.json_response({"status": "ok" if trouble is None else trouble}, status=503 if trouble else 200)

    return handler
