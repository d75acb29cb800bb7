"""`cardiacnets dashboard`: serves the dashboard and prints its address."""

from __future__ import annotations

from typing import Annotated

import typer

from stream.plain_text import print_plain

from .options import MAX_PORT, Broker, RedisUrl, settings_with


def dashboard_command(
    broker: Broker = None,
    redis: RedisUrl = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Only this machine by default.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=MAX_PORT, help="Port to listen on. 0 takes any free port.")
    ] = None,
) -> None:
    """Serve the dashboard until SIGTERM: alerts, ECGs, cines and measurements in a browser.

    The command prints the address. Without CARDIACNETS_DASHBOARD_TOKEN the address opens the dashboard once, and the
    command prints the next one when it was used.
    """
    import asyncio

    from stream.dashboard.serving import serve_dashboard
    from stream.logs import configure_logs
    from stream.runtime.early_end import end_at_once_by_sigterm

    end_at_once_by_sigterm()
    settings = settings_with(broker=broker, redis=redis, dashboard_host=host, dashboard_port=port)
    configure_logs(settings.process.log_level, settings.process.log_format)
    asyncio.run(serve_dashboard(settings, _announce))


def _announce(address: str) -> None:
    print_plain(f"dashboard: {address}")
