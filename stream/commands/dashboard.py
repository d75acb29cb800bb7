"""`cardiacnets dashboard`: serves the dashboard and prints its address."""

from __future__ import annotations

import asyncio

from stream.dashboard.serving import serve_dashboard
from stream.settings import Settings


def dashboard_command(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C; the address that is printed holds the token, and opens the dashboard."""
    asyncio.run(serve_dashboard(settings, _announce))


def _announce(address: str) -> None:
    print(f"dashboard: {address}", flush=True)
