"""The screening service: the batcher and all that stands around it, alive from before the first event to the last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from mode import Service

from engines.batcher import Batcher, Lane
from inference.screener import PreparedBatch, ScreenedOrRefused, Screener

from .health import health_server
from .kafka import ensure_topics, new_producer
from .lane import ScreeningLane, Tries
from .metrics import BatcherCollector, Metrics
from .publisher import AnswerPublisher
from .refractory import Refractory
from .settings import Settings
from .watchdog import Watchdog
from .waveform_cache import WaveformCache

SHUTDOWN_GRACE_S = 15.0
GAUGES_EVERY_S = 1.0

log = structlog.get_logger(__name__)


class ScreeningService(Service):
    """Owns what the lanes share, and starts and stops it in order.

    Args:
        lag: records on the topics that the group has not yet acknowledged, by topic.
        ready: whether the group has been joined.
    """

    def __init__(
        self,
        settings: Settings,
        screener: Screener,
        *,
        lag: Callable[[], dict[str, int]],
        ready: Callable[[], bool],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._settings = settings
        self._screener = screener
        self._lag = lag
        self._ready = ready
        self.metrics = Metrics()
        self._refractory = Refractory.from_settings(settings)  # one for both lanes: a patient may come by either
        self._lanes: dict[Lane, ScreeningLane] = {}
        self._watchdog = Watchdog(self._pending, self._finished, settings.watchdog_s)
        self._stack = AsyncExitStack()

    async def on_start(self) -> None:
        """Start the parts, the most basic first."""
        settings, enter = self._settings, self._stack.enter_async_context
        await ensure_topics(settings)
        self._producer: AIOKafkaProducer = await enter(new_producer(settings))
        self._waveforms = await enter(WaveformCache(settings, self.metrics))
        self._batcher: Batcher[bytes, PreparedBatch, ScreenedOrRefused] = await enter(self._new_batcher())
        self.metrics.registry.register(BatcherCollector(self._batcher))
        port = await enter(
            health_server(
                settings.http_host,
                settings.http_port,
                registry=self.metrics.registry,
                healthy=self._unhealthy,
                ready=self._unready,
            )
        )
        model = self._screener.bundle.reference
        self.metrics.model.info({"name": model.name, "version": model.version, "engine": self._screener.engine.name})
        self._watchdog.start()
        log.info("service_started", http=f"http://{settings.http_host}:{port}")

    async def on_stop(self) -> None:
        """Stop the parts in the opposite order."""
        await self._stack.aclose()
        self._watchdog.stop()
        self._screener.engine.close()

    def shutdown_begins(self) -> None:
        """Give the process a deadline to end by itself."""
        self._watchdog.allow(self._settings.drain_s + SHUTDOWN_GRACE_S)

    def new_lane(self, lane: Lane) -> ScreeningLane:
        """Return a lane over the shared batcher."""
        settings = self._settings
        model = self._screener.bundle.reference
        publisher = AnswerPublisher(
            lane, self._producer, model, self._waveforms, self.metrics, refractory=self._refractory
        )
        tries = Tries(settings.engine_tries, settings.retry_backoff_s)
        self._lanes[lane] = ScreeningLane(self._batcher, lane, publisher, tries=tries, in_flight=settings.in_flight)
        return self._lanes[lane]

    def _new_batcher(self) -> Batcher[bytes, PreparedBatch, ScreenedOrRefused]:
        return Batcher(
            prepare=self._screener.prepare_values,
            run=self._screener.run,
            max_batch=self._settings.max_batch,
            max_queue=self._settings.max_queue,
            drain_s=self._settings.drain_s,
        )

    def _pending(self) -> int:
        return sum(lane.held for lane in self._lanes.values()) + sum(self._lag().values())

    def _finished(self) -> int:
        return sum(lane.finished for lane in self._lanes.values())

    def _unhealthy(self) -> str | None:
        stalled = self._watchdog.stalled_s
        return f"no record finished for {stalled:.0f} s" if stalled > self._settings.watchdog_s / 2 else None

    def _unready(self) -> str | None:
        return None if self._ready() else "joining the consumer group"

    @Service.task
    async def _set_gauges(self) -> None:
        while not self.should_stop:
            for lane, worker in self._lanes.items():
                self.metrics.held.labels(lane.value).set(worker.held)
            for topic, records in self._lag().items():
                self.metrics.lag.labels(topic).set(records)
            await asyncio.sleep(GAUGES_EVERY_S)
