"""The cmr-worker: a Faust app with one agent, which makes cines for flagged ECGs.

The process lowers its own priority, so that screening goes first on a shared machine.
"""

from __future__ import annotations

import gc
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NoReturn

import structlog
from mode.supervisors import CrashingSupervisor

from schemas.identity import result_event_id
from schemas.messages import CmrResult
from schemas.topics import CMR_REQUESTS, CMR_RESULTS
from stream.broker.clients import UNHURRIED_WAIT_MS
from stream.broker.event_producer import EventProducer
from stream.broker.needs import NEEDS
from stream.logs import configure_logs
from stream.redis_check import CMR_WORKER
from stream.runtime.early_end import end_at_once_by_sigterm
from stream.runtime.event import Tries
from stream.runtime.faust_app import ServingWorker, check_surroundings, create_app
from stream.runtime.group import Group
from stream.runtime.topic_service import TopicService
from stream.settings import Settings

from .lane import HELD, CineLane
from .maker import CineBatcher, CineMaker, Generator
from .metrics import CineMetrics
from .open_generator import open_generator
from .store import CineStore

if TYPE_CHECKING:
    from faust import App

SOURCE = "urn:cardiacnets:cmr-worker"
NICENESS = 10
CINES_A_BATCH = 1

log = structlog.get_logger(__name__)


class CineService(TopicService):
    """Owns the parts that the lane needs.

    Args:
        group: the consumer group of the cmr-workers.
    """

    def __init__(
        self,
        settings: Settings,
        generator: Generator,
        *,
        group: Group,
        **options: Any,
    ) -> None:
        self.metrics = CineMetrics()
        super().__init__(
            settings,
            self.metrics.registry,
            source=SOURCE,
            group=group,
            progress_word="request moved",
            drain_phases=2,
            **options,
        )
        self._generator = generator
        self._lane: CineLane | None = None
        self._steps = 0

    async def finish(self) -> None:
        """Finish the cines that are being drawn, and start no more."""
        if self._lane:
            await self._lane.finish(self._settings.process.drain_s)

    def new_lane(self) -> CineLane:
        """Return the lane over the shared batcher and store."""
        settings = self._settings
        maker = CineMaker(
            self._batcher,
            self._store,
            tries=Tries(settings.cines.tries, settings.process.retry_backoff_s),
            deadline_s=settings.cines.deadline_s,
            step=self._step,
        )
        self._lane = CineLane(maker, self._publish, self.metrics.count)
        return self._lane

    async def _start_parts(self, stack: AsyncExitStack) -> CineBatcher:
        self._store = await stack.enter_async_context(
            CineStore(self._settings.redis, ttl_s=self._settings.cines.ttl_s, removed=self.metrics.removed.inc)
        )
        self._batcher = await stack.enter_async_context(
            CineBatcher(
                self._generator, cines_a_batch=CINES_A_BATCH, max_queue=HELD, drain_s=self._settings.process.drain_s
            )
        )
        self.metrics.model.info({"name": self._generator.reference.name, "version": self._generator.reference.version})
        return self._batcher

    async def _publish(self, key: bytes | None, result: CmrResult) -> None:
        await publish_result(self._events, key, result)
        self._step()

    def _step(self) -> None:
        self._steps += 1

    def _close(self) -> None:
        self._generator.close()

    def _held(self) -> int:
        return self._lane.held if self._lane else 0

    def _finished(self) -> int:
        return self._steps

    def _measure(self) -> None:
        self.metrics.held.set(self._held())
        self.metrics.lag.set(sum(self._group.reading.left.values()))


async def publish_result(events: EventProducer, key: bytes | None, result: CmrResult) -> None:
    """Send a result, and wait until the broker has confirmed it."""
    await events.publish(CMR_RESULTS, result_event_id(result), result, key, time=result.created_at)


def run_cine_worker(settings: Settings) -> NoReturn:
    """Load the generator, and draw cines.

    Raises:
        DeploymentError: the broker, Redis, the port or the generator cannot be used.
    """
    end_at_once_by_sigterm()
    configure_logs(settings.process.log_level, settings.process.log_format)
    check_surroundings(settings, NEEDS["cmr-worker"], CMR_WORKER)
    serve_cines(settings, open_generator(settings))


def serve_cines(settings: Settings, generator: Generator) -> NoReturn:
    """Draw cines until SIGTERM; exit 0 then, 1 after anything unforeseen.

    Raises:
        DeploymentError: the broker refuses the group to us.
    """
    os.nice(NICENESS)
    group = Group(settings.kafka, settings.cine_group)
    app = create_cine_app(settings, group)
    service = CineService(settings, generator, group=group)
    add_lane(app, service, settings.kafka.topic(CMR_REQUESTS))
    log.info("generator_ready", model=generator.reference.name, version=generator.reference.version)
    gc.freeze()  # the model's objects live as long as the process: keep the collector from walking them
    ServingWorker(app, service, group, service.shutdown_begins).serve()


def create_cine_app(settings: Settings, group: Group) -> App:
    """Return a Faust app like the screening worker's, in its own group.

    By default Faust waits until every fetched request is acknowledged, before it gives partitions away or ends. That
    would be minutes of drawing, in which the group would take this worker for dead. Instead the service finishes the
    cines that are being drawn, and the rest stays unacknowledged. If two workers then hold a request, its lock makes
    sure that it is drawn once.
    """
    app = create_app(settings.kafka, group, buffer=settings.screening.in_flight, fetch_wait_ms=UNHURRIED_WAIT_MS)
    app.conf.stream_wait_empty = False
    return app


def add_lane(app: App, service: CineService, requests: str) -> None:
    """Give the app its agent on the topic of requests: the lane acknowledges, and any error stops the process.

    The signal comes between the last fetch and the last commit, when finished requests can still be acknowledged.
    """
    topic = app.topic(requests, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    async def draw_cines(stream: Any) -> None:
        await service.work(service.new_lane().run(stream.noack().events()))

    async def finish(*_: Any, **__: Any) -> None:
        await service.finish()

    app.on_before_shutdown.connect(finish)
    app.agent(topic, name="draw-cines", concurrency=1, supervisor_strategy=CrashingSupervisor)(draw_cines)
