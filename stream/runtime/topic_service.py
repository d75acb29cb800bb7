"""The parts around the lanes of a process that works on a topic: producer, metrics, health, watchdog, gauges."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from typing import Any

import structlog
from mode import Service
from prometheus_client import CollectorRegistry

from engines.batcher import Batcher
from stream.broker.clients import new_producer
from stream.broker.event_producer import EventProducer
from stream.settings import Settings

from .batcher_metrics import BatcherCollector
from .group import Group
from .group_metrics import GroupCollector
from .health import health_server
from .watchdog import Watchdog

SHUTDOWN_GRACE_S = 15.0
GAUGES_EVERY_S = 1.0

log = structlog.get_logger(__name__)


class TopicService(Service):
    """Starts and stops the parts in order. A subclass says which parts its lanes share.

    Args:
        registry: holds the metrics of the process.
        source: the URI of the process, in the envelope of what it sends.
        group: the consumer group of the process.
        progress_word: what counts as progress, as `/healthz` says it: 'record finished'.
        drain_phases: how many times the shutdown may wait for `drain_s`, one after the other.
    """

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry,
        *,
        source: str,
        group: Group,
        progress_word: str,
        drain_phases: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._settings = settings
        self._registry = registry
        self._source = source
        self._group = group
        self._progress_word = progress_word
        self._shutdown_s = drain_phases * settings.process.drain_s + SHUTDOWN_GRACE_S
        self._watchdog = Watchdog(
            self._pending, self._finished, settings.process.watchdog_s, outside=lambda: group.outside
        )
        self._stack = AsyncExitStack()

    @abstractmethod
    async def _start_parts(self, stack: AsyncExitStack) -> Batcher[Any, Any, Any]:
        """Start the parts that the lanes share, and return the batcher. The producer runs already."""

    @abstractmethod
    def _close(self) -> None:
        """Release the model, after the parts have stopped."""

    @abstractmethod
    def _held(self) -> int:
        """Return how much work is held here."""

    @abstractmethod
    def _finished(self) -> int:
        """Return a count that grows with every step of progress."""

    @abstractmethod
    def _measure(self) -> None:
        """Set the gauges."""

    async def on_start(self) -> None:
        """Start the parts, those that others need first."""
        settings, enter = self._settings, self._stack.enter_async_context
        self._events = EventProducer(await enter(new_producer(settings.kafka)), self._source)
        self._registry.register(BatcherCollector(await self._start_parts(self._stack)))
        self._registry.register(GroupCollector(self._group))
        port = await enter(
            health_server(
                settings.process.http_host,
                settings.process.http_port,
                registry=self._registry,
                healthy=self._unhealthy,
                ready=lambda: self._group.unready,
            )
        )
        self._watchdog.start()
        log.info("service_started", http=f"http://{settings.process.http_host}:{port}")

    async def on_stop(self) -> None:
        """Stop the parts in reverse order."""
        await self._stack.aclose()
        self._watchdog.stop()
        self._close()

    @property
    def is_refused(self) -> bool:
        """Whether the broker has refused what the process cannot do without."""
        return self._group.refusal is not None

    async def work(self, lane: Awaitable[None]) -> None:
        """Wait for the work of a lane; end the process in order if the broker refuses its answers."""
        await self._group.work(lane)

    def shutdown_begins(self) -> None:
        """Give the process a deadline by which it must have ended."""
        self._watchdog.allow(self._shutdown_s)

    def _pending(self) -> int:
        """Return how much work there is: held here, or known to wait on the topics; to come into the group is some."""
        return self._held() + sum(self._group.reading.readable.values()) + bool(self._group.outside)

    def _unhealthy(self) -> str | None:
        stalled = self._watchdog.stalled_s
        if stalled <= self._settings.process.watchdog_s / 2:
            return None
        return self._group.outside or f"no {self._progress_word} for {stalled:.0f} s"

    @Service.task
    async def _set_gauges(self) -> None:
        while not self.should_stop:
            self._measure()
            await asyncio.sleep(GAUGES_EVERY_S)
