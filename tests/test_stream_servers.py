"""The embedded servers are real servers, and are gone afterwards."""

import asyncio
import re
import socket
from pathlib import Path

import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from waiting import PATIENCE_S

from schemas.errors import DeploymentError
from schemas.topics import ECG_RECORDS, ECG_RISK
from stream.broker.clients import ensure_topics, new_consumer
from stream.broker.needs import NEEDS
from stream.broker.start_check import ready_topics
from stream.demo.embedded_servers import embedded_broker, embedded_redis
from stream.runtime.health import check_port
from stream.settings import KafkaSettings, Settings

PAGE = (Path(__file__).parent.parent / "docs" / "operations.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.servers


async def test_a_message_goes_through_the_embedded_broker(tmp_path):
    with embedded_broker(tmp_path) as (address, _):
        settings = Settings.of(broker=address)
        await ensure_topics(settings.kafka, ["t"])
        await ensure_topics(settings.kafka, ["t"])  # a second worker starts
        async with AIOKafkaProducer(bootstrap_servers=address) as producer:
            await producer.send_and_wait("t", b"value", key=b"key", headers=[("h", b"x")])
        async with AIOKafkaConsumer("t", bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
            message = await consumer.getone()
    assert (message.key, message.value, message.headers) == (b"key", b"value", (("h", b"x"),))


async def test_topics_that_are_there_are_not_asked_for_again(tmp_path, monkeypatch):
    """Who may write to a topic may not be allowed to create one; Kafka looks at the right before the topic."""
    with embedded_broker(tmp_path) as (address, _):
        settings = Settings.of(broker=address)
        await ensure_topics(settings.kafka, [ECG_RISK])

        async def refuse(*_):
            raise AssertionError("a topic that is there was asked for")

        monkeypatch.setattr(AIOKafkaAdminClient, "create_topics", refuse)
        await ensure_topics(settings.kafka, [ECG_RISK])


async def test_topics_are_created_as_their_description_says(tmp_path):
    with embedded_broker(tmp_path) as (address, _):
        await ensure_topics(KafkaSettings(broker=address))
        admin = AIOKafkaAdminClient(bootstrap_servers=address)
        await admin.start()
        try:
            (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, ECG_RECORDS)])
        finally:
            await admin.close()
    ((_, _, _, _, entries),) = answer.resources
    assert {name: value for name, value, *_ in entries}.items() >= {("retention.ms", "604800000")}


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_whatever_a_producer_compresses_by_we_can_read(codec, tmp_path):
    """A batch that cannot be decompressed would stop each worker that gets it, and never go away."""
    with embedded_broker(tmp_path) as (address, _):
        settings = Settings.of(broker=address)
        await ensure_topics(settings.kafka, ["t"])
        async with AIOKafkaProducer(bootstrap_servers=address, compression_type=codec) as producer:
            await producer.send_and_wait("t", bytes(5000))
        async with new_consumer(settings.kafka, ["t"], auto_offset_reset="earliest") as consumer:
            message = await asyncio.wait_for(consumer.getone(), PATIENCE_S)
    assert message.value == bytes(5000)


async def test_no_broker_is_said_so_with_its_address():
    with pytest.raises(DeploymentError, match="127.0.0.1:1"):
        await ensure_topics(KafkaSettings(broker="127.0.0.1:1"))


def test_the_embedded_redis_keeps_a_value_and_is_gone_afterwards(tmp_path):
    with embedded_redis(tmp_path) as (url, child), redis.Redis.from_url(url) as client:
        client.set("k", b"v", ex=60)
        assert client.get("k") == b"v"
    assert not child.running


def test_a_port_that_is_taken_is_said_so_before_the_model_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DeploymentError, match=f"127.0.0.1:{port}.*--http-port"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)
    check_port("::1", 0)


@pytest.mark.parametrize("process", ["worker", "cmr-worker", "dashboard"])
async def test_a_process_asks_for_the_topics_that_it_uses_and_for_no_others(process, tmp_path):
    """It may have no right to see another one, and would try to create it."""
    rights = re.search(rf"^\| {process} \|(.*)$", PAGE, re.MULTILINE)[1]
    with embedded_broker(tmp_path) as (address, _):
        await ready_topics(KafkaSettings(broker=address), NEEDS[process])
        admin = AIOKafkaAdminClient(bootstrap_servers=address)
        await admin.start()
        try:
            assert set(await admin.list_topics()) == set(re.findall(r"`((?:ecg|cmr)\.[a-z.]+v1)`", rights))
        finally:
            await admin.close()
