"""Faust's Kafka transport with a short fetch wait.

Faust asks the broker to hold an empty fetch for 1.5 s. Apache Kafka answers as soon as a record arrives, all the same;
Tansu looks again only when the wait is over, so that a lone ECG would lie there for most of a second.
"""

from __future__ import annotations

from typing import Any

import faust
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport

from .kafka import FETCH_WAIT_MS


class PromptConsumerThread(AIOKafkaConsumerThread):
    """Makes aiokafka's consumer as Faust does, but for the wait."""

    def _create_worker_consumer(self, transport: Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001  Faust hard-codes the argument that sets it
        return consumer


class PromptConsumer(Consumer):
    """Faust's consumer on that thread."""

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return PromptConsumerThread(self, loop=self.loop, beacon=self.beacon)


class PromptTransport(Transport):
    """Faust's transport with that consumer."""

    Consumer = PromptConsumer


def use_prompt_transport(app: faust.App) -> None:
    """Have the app consume by it."""
    app.transport = PromptTransport(app.conf.broker_consumer, app)
