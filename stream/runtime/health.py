"""The worker's HTTP: `/metrics` for Prometheus, `/healthz` and `/readyz` for an orchestrator."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas.errors import DeploymentError

from .http_server import affordable_connections, listen, new_server

CONNECTIONS = 64
"""Those who ask are an orchestrator and a collector of metrics. The descriptors of the process are Kafka's as well."""

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

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    routes = [Route("/metrics", metrics), Route("/healthz", _answer(healthy)), Route("/readyz", _answer(ready))]
    listener = listen(host, port, lambda error: _taken(host, port, error))
    server = new_server(Starlette(routes=routes), connections=affordable_connections(CONNECTIONS))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        await serving
        listener.close()


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


def _answer(check: Check) -> Callable[[Request], Awaitable[Response]]:
    async def handler(_: Request) -> Response:
        trouble = check()
        words = json.dumps({"status": "ok" if trouble is None else trouble})
        return Response(words, 503 if trouble else 200, media_type="application/json")

    return handler
