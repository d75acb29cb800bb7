"""The worker: a Faust app with one agent for each lane, and one screening service."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any, NoReturn

from mode.supervisors import CrashingSupervisor

from engines.batcher import Lane
from inference.screener import Screener
from stream.broker.clients import LANE_TOPICS
from stream.broker.needs import NEEDS
from stream.broker.schema_registry import find_schema_by
from stream.logs import configure_logs
from stream.redis_check import WORKER
from stream.runtime.early_end import end_at_once_by_sigterm
from stream.runtime.faust_app import ServingWorker, check_surroundings, create_app
from stream.runtime.group import Group
from stream.settings import KafkaSettings, Settings

from .model import load_screener
from .service import ScreeningService

if TYPE_CHECKING:
    from faust import App


def run_worker(settings: Settings) -> NoReturn:
    """Load the model, and screen records.

    Raises:
        DeploymentError: the broker, Redis, the port, the bundle, the engine or a certificate cannot be used.
    """
    end_at_once_by_sigterm()
    configure_logs(settings.process.log_level, settings.process.log_format)
    check_surroundings(settings, NEEDS["worker"], WORKER)
    find_schema = find_schema_by(settings.registry)
    serve(settings, load_screener(settings.model, max_batch=settings.screening.max_batch, find_schema=find_schema))


def serve(settings: Settings, screener: Screener) -> NoReturn:
    """Screen records until SIGTERM; exit 0 then, 1 after anything unforeseen.

    Raises:
        DeploymentError: the broker refuses the group to us.
    """
    group = Group(settings.kafka, settings.kafka.screening_group)
    app = create_app(settings.kafka, group, buffer=settings.screening.in_flight)
    service = ScreeningService(settings, screener, group=group)
    add_lanes(app, service, settings.kafka)
    gc.freeze()  # the model's objects live as long as the process: keep the collector from walking them
    ServingWorker(app, service, group, lambda: begin_shutdown(app, service)).serve()


def begin_shutdown(app: App, service: ScreeningService) -> None:
    """Give the process its deadline, and wait for the records in flight only if they can be finished by then.

    A record may wait for the schema registry longer than that, and the broker may have refused an answer. Then the
    records in flight stay unacknowledged, and the next worker screens them.
    """
    service.shutdown_begins()
    if service.waits_for_registry or service.is_refused:
        app.conf.stream_wait_empty = False


def add_lanes(app: App, service: ScreeningService, settings: KafkaSettings) -> None:
    """Give the app one agent for each lane. The lane acknowledges its records, and any error stops the process."""
    for lane, name in LANE_TOPICS.items():
        topic = app.topic(
            settings.topic(name), key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )

        async def screen(stream: Any, lane: Lane = lane) -> None:
            await service.work(service.new_lane(lane).run(stream.noack().events()))

        app.agent(topic, name=f"screen-{lane.value}", concurrency=1, supervisor_strategy=CrashingSupervisor)(screen)
