"""`cardiacnets worker`: screens the ECGs of the Kafka topics."""

from __future__ import annotations

from .options import Broker, BundleFolder, EngineName, HttpPort, RedisUrl, settings_with


def worker_command(
    broker: Broker = None,
    redis: RedisUrl = None,
    bundle: BundleFolder = None,
    engine: EngineName = None,
    http_port: HttpPort = None,
) -> None:
    """Screen the ECGs of the Kafka topics until SIGTERM. CARDIACNETS_* variables change every setting (README)."""
    from stream.screening.worker import run_worker

    run_worker(settings_with(broker=broker, redis=redis, bundle=bundle, engine=engine, http_port=http_port))
