"""`cardiacnets cmr-worker`: draws the cines of flagged ECGs."""

from __future__ import annotations

from .options import Broker, GeneratorFolder, HttpPort, RedisUrl, settings_with


def cmr_worker_command(
    broker: Broker = None,
    redis: RedisUrl = None,
    generator: GeneratorFolder = None,
    http_port: HttpPort = None,
) -> None:
    """Draw the cines of flagged ECGs and store them in Redis until SIGTERM, at a lower priority than screening."""
    from stream.cines.worker import run_cine_worker

    run_cine_worker(settings_with(broker=broker, redis=redis, generator=generator, http_port=http_port))
