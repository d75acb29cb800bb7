"""Sends messages to Kafka, each as a CloudEvent: the one place that knows the envelope."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from schemas.cloudevents import AVRO, JSON, event_headers
from schemas.messages import Message, encode_message

REFUSALS = (MessageSizeTooLargeError, RecordListTooLargeError, TopicAuthorizationFailedError)
"""What trying again does not help against."""


class MessageRefused(KafkaError):  # type: ignore[misc]  # noqa: N818  the broker works as it should
    """The broker refuses a message, and would refuse it again.

    Attributes:
        topic: by the contract's name.
        size: bytes of the value.
        reason: what the broker said.
    """

    def __init__(self, topic: str, size: int, reason: KafkaError) -> None:
        super().__init__(f"{topic} refuses a message of {size} bytes: {type(reason).__name__}")
        self.topic, self.size, self.reason = topic, size, reason


class Delivery(NamedTuple):
    """A message that is under way; who awaits it waits until the broker has confirmed it.

    Attributes:
        future: ends when the broker has confirmed the message, or with an error.
        topic: by the contract's name.
        size: bytes of the value.
    """

    future: asyncio.Future[object]
    topic: str
    size: int

    def __await__(self) -> Generator[Any, None, object]:
        """Wait for the confirmation.

        Raises:
            MessageRefused: the broker refuses the message.
            KafkaError: the broker did not confirm the message in time.
        """
        try:
            return (yield from self.future.__await__())
        except REFUSALS as reason:
            raise MessageRefused(self.topic, self.size, reason) from reason


class EventProducer:
    """Encodes messages, adds the headers of their envelope, and hands them to a producer that somebody else starts.

    Args:
        source: the URI of the process that speaks: `ce_source`.
    """

    def __init__(self, producer: AIOKafkaProducer, source: str) -> None:
        self._producer = producer
        self._source = source

    async def publish(
        self,
        topic: str,
        identifier: str,
        message: Message | bytes,
        key: bytes | None,
        *,
        time: datetime | None = None,
        lane: str | None = None,
    ) -> None:
        """Send one message, and wait until the broker has confirmed it; the arguments are those of `send`.

        Raises:
            KafkaError: the broker did not confirm the message in time.
            ValueError: the message breaks the contract.
        """
        await (await self.send(topic, identifier, message, key, time=time, lane=lane))

    async def send(
        self,
        topic: str,
        identifier: str,
        message: Message | bytes,
        key: bytes | None,
        *,
        time: datetime | None = None,
        lane: str | None = None,
    ) -> Delivery:
        """Hand one message to the producer, and return its delivery, which ends when the broker has confirmed it.

        Args:
            identifier: of the event. An event that is sent again has the same one.
            message: a message of the contract, or the Avro bytes of an ECG.
            time: when the event happened; now, if it is not given.
            lane: of the ECG that the message answers.

        Raises:
            ValueError: the message breaks the contract.
        """
        value, content_type = (message, AVRO) if isinstance(message, bytes) else (encode_message(message), JSON)
        headers = event_headers(
            kind=topic,
            identifier=identifier,
            source=self._source,
            time=time or datetime.now(UTC),
            content_type=content_type,
            lane=lane,
        )
        return Delivery(await self._producer.send(topic, value, key=key, headers=headers), topic, len(value))
