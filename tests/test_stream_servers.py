"""The embedded servers are real servers, and are gone afterwards."""

import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from schemas.errors import DeploymentError
from stream.kafka import ensure_topics
from stream.servers import embedded_broker, embedded_redis
from stream.settings import Settings


async def test_a_message_goes_through_the_embedded_broker(tmp_path):
    with embedded_broker(tmp_path) as (address, _):
        settings = Settings(broker=address)
        await ensure_topics(settings, ["t"])
        await ensure_topics(settings, ["t"])  # a second worker starts
        async with AIOKafkaProducer(bootstrap_servers=address) as producer:
            await producer.send_and_wait("t", b"value", key=b"key", headers=[("h", b"x")])
        async with AIOKafkaConsumer("t", bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
            message = await consumer.getone()
    assert (message.key, message.value, message.headers) == (b"key", b"value", (("h", b"x"),))


async def test_no_broker_is_said_so_with_its_address():
    with pytest.raises(DeploymentError, match="127.0.0.1:1"):
        await ensure_topics(Settings(broker="127.0.0.1:1"))


def test_the_embedded_redis_keeps_a_value_and_is_gone_afterwards(tmp_path):
    with embedded_redis(tmp_path) as (url, child), redis.Redis.from_url(url) as client:
        client.set("k", b"v", ex=60)
        assert client.get("k") == b"v"
    assert not child.running
