"""Sends messages to Kafka, each as a CloudEvent: the one place that knows the envelope."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer

from schemas.cloudevents import AVRO, JSON, event_headers
from schemas.messages import Message, encode_message


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
    ) -> asyncio.Future[object]:
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
        delivery: asyncio.Future[object] = await self._producer.send(topic, value, key=key, headers=headers)
        return delivery
