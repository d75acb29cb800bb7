"""The producer of every process: it knows topics by the contract's names, and no message waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError

from stream.settings import KafkaSettings

DELIVERY_S = 60.0
"""How long messages may wait while the broker confirms none. Without a limit aiokafka lets no message of an idempotent
producer expire."""
LOOK_S = 1.0
LEAVE_S = 5.0
"""How long a request that is under way may take when the producer leaves."""


class ContractProducer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka is untyped
    """A producer for topics by the contract's names: `send` and `send_and_wait` put the prefix before them.

    A message that is given up may still be delivered, if the broker comes back before the producer is stopped.
    """

    def __init__(self, settings: KafkaSettings, **options: Any) -> None:
        super().__init__(**options)
        self._settings = settings
        self._unconfirmed: set[asyncio.Future[Any]] = set()
        self._moved_at = time.monotonic()
        self._has_given_up = False
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect."""
        await super().start()
        self._watching = asyncio.create_task(self._watch())

    async def send(self, topic: str, *arguments: Any, **options: Any) -> Any:
        """Hand a message to the producer, and return the future of its confirmation."""
        delivery = await super().send(self._settings.topic(topic), *arguments, **options)
        if not self._unconfirmed:
            self._moved_at = time.monotonic()
        self._unconfirmed.add(delivery)
        delivery.add_done_callback(self._done)
        return delivery

    async def flush(self) -> None:
        """Wait until each message is confirmed or given up."""
        if self._unconfirmed:
            await asyncio.wait(list(self._unconfirmed))

    async def stop(self) -> None:
        """Wait until each message is confirmed or given up, and disconnect."""
        await self.flush()
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        if self._has_given_up:
            await self._leave()
        else:
            await super().stop()

    async def _leave(self) -> None:
        """Disconnect without the messages that were given up: aiokafka would wait for them."""
        self._closed = True
        sending = self._sender.sender_task
        sending.cancel()
        await asyncio.wait([sending], timeout=LEAVE_S)
        await self.client.close()

    def _done(self, delivery: asyncio.Future[Any]) -> None:
        self._unconfirmed.discard(delivery)
        self._moved_at = time.monotonic()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if self._unconfirmed and time.monotonic() - self._moved_at > DELIVERY_S:
                self._give_up()

    def _give_up(self) -> None:
        self._has_given_up = True
        for delivery in list(self._unconfirmed):
            if not delivery.done():
                delivery.set_exception(_given_up())


def _given_up() -> KafkaTimeoutError:
    return KafkaTimeoutError(f"the broker has confirmed no message for {DELIVERY_S:.0f} s")
