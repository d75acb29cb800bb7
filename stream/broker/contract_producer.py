"""The producer of every process: it knows topics by the contract's names, and no message waits for ever.

Whether it is idempotent, the broker decides where no setting does: it is, if the broker gives it an id.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError, NoError, for_code
from aiokafka.protocol.transaction import InitProducerIdRequest

from schemas.errors import DeploymentError
from stream.settings import KafkaSettings

from .splittable_batches import SplittingAccumulator

DELIVERY_S = 60.0
"""How long messages may wait while the broker confirms none. Without a limit aiokafka lets no message of an idempotent
producer expire."""
LOOK_S = 1.0
LEAVE_S = 5.0
"""How long a request that is under way may take when the producer leaves."""
ID_POLL_S = 0.1
LEADERS_POLL_S = 0.5
"""How long it waits until it asks again who leads the partitions, when no broker answers. aiokafka's sender would ask
again at once, over and over, while it has a batch for a partition whose leader nobody knows."""
LONGEST_TRANSACTION_MS = 2**31 - 1
"""The request has a place for it, and a producer without transactions has none."""

log = structlog.get_logger(__name__)


class ContractProducer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka is untyped
    """A producer for topics by the contract's names: `send` and `send_and_wait` put the prefix before them.

    A message that is given up may still be delivered, if the broker comes back before the producer is stopped.
    """

    def __init__(self, settings: KafkaSettings, *, max_batch_size: int = 2**14, **options: Any) -> None:
        options = {"enable_idempotence": settings.idempotent_producer is not False, **options}
        super().__init__(max_batch_size=max_batch_size, **options)
        self._settings = settings
        self._message_accumulator = SplittingAccumulator(
            self._metadata,
            max_batch_size,
            0,  # what we send is compressed already
            self._request_timeout_ms / 1000,
            txn_manager=self._txn_manager,
            linger_ms=options.get("linger_ms", 0),
        )
        self._sender._message_accumulator = self._message_accumulator  # noqa: SLF001
        self.client._metadata_update = self._update_metadata  # noqa: SLF001
        self._unconfirmed: set[asyncio.Future[Any]] = set()
        self._moved_at = time.monotonic()
        self._has_given_up = False
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaConnectionError: the broker cannot be reached, or does not answer in time.
            DeploymentError: the producer shall have an id, and the broker gives it none.
        """
        await self.client.bootstrap()
        try:
            async with asyncio.timeout(DELIVERY_S):
                await self._settle_id()
                await self._sender.start()
        except BaseException as error:
            self._closed = True
            await self.client.close()
            if isinstance(error, TimeoutError):
                sentence = f"the broker has not said for {DELIVERY_S:.0f} s which id the producer has"
                raise KafkaConnectionError(sentence) from error
            raise
        self._watching = asyncio.create_task(self._watch())

    async def _settle_id(self) -> None:
        """Do without the broker's id for the producer, if it gives none and no setting asks for one."""
        if self._txn_manager is None or self._txn_manager.transactional_id is not None:
            return
        if (refusal := await self._ask_for_id()) is None:
            return
        if self._settings.idempotent_producer:
            raise DeploymentError(
                f"Kafka at {self._settings.broker} gives a producer no id ({refusal.__name__}), and "
                "CARDIACNETS_IDEMPOTENT_PRODUCER asks for one: leave it unset, or, with a Kafka before 2.8, give us "
                "the right IdempotentWrite on the cluster"
            )
        log.info("producer_without_id", reason=refusal.__name__, effect="what is sent again may be there twice")
        for part in (self, self._sender, self._message_accumulator):
            part._txn_manager = None  # noqa: SLF001

    async def _ask_for_id(self) -> type[KafkaError] | None:
        """Return why the broker gives this producer no id, or None if it gives one."""
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=LONGEST_TRANSACTION_MS)
        while True:
            try:
                answer = await self.client.send(self.client.get_random_node(), request)
                error: type[KafkaError] = for_code(answer.error_code)
            except KafkaError as failure:
                error = type(failure)
            if error is NoError:
                return None
            if not error.retriable:
                return error
            await asyncio.sleep(ID_POLL_S)
            await self.client.force_metadata_update()

    async def _update_metadata(self, *arguments: Any) -> bool:
        """Ask the brokers who leads the partitions, and return whether one has answered."""
        has_answered: bool = await AIOKafkaClient._metadata_update(self.client, *arguments)  # noqa: SLF001
        if not has_answered:
            await asyncio.sleep(LEADERS_POLL_S)
        return has_answered

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
        if not delivery.cancelled():
            delivery.exception()  # of several that fail together asyncio would report those that nobody awaits any more

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
