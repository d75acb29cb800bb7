"""`cardiacnets alert-keeper`: keeps the alerts, whoever shows them."""

from __future__ import annotations

from .options import Broker, HttpPort, settings_with


def alert_keeper_command(broker: Broker = None, http_port: HttpPort = None) -> None:
    """Move alerts to escalated, expired and acknowledged until SIGTERM. Of several keepers one is at work."""
    import asyncio

    from stream.alerting.keeper_process import serve_alert_keeper
    from stream.logs import configure_logs
    from stream.runtime.early_end import end_at_once_by_sigterm

    end_at_once_by_sigterm()
    settings = settings_with(broker=broker, http_port=http_port)
    configure_logs(settings.process.log_level, settings.process.log_format)
    asyncio.run(serve_alert_keeper(settings))
