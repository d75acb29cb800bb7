"""No message waits for ever for a broker that has gone, and one that is slow is not given up."""

import asyncio
import time

import pytest
from aiokafka.errors import KafkaTimeoutError
from apache_kafka import apache_kafka, needs_apache_kafka
from harness import good_values

from engines.batcher import Lane
from stream.broker import contract_producer
from stream.broker.clients import ensure_topics, new_producer
from stream.broker.contract_producer import ContractProducer
from stream.broker.ecg_publisher import EcgPublisher
from stream.demo.embedded_servers import embedded_broker
from stream.settings import Settings

pytestmark = pytest.mark.servers


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(contract_producer, "DELIVERY_S", 2.0)
    monkeypatch.setattr(contract_producer, "LOOK_S", 0.05)


@pytest.mark.parametrize(
    ("run", "is_idempotent"),
    [
        pytest.param(embedded_broker, False, id="embedded"),
        pytest.param(apache_kafka, True, id="apache, idempotent", marks=needs_apache_kafka),
    ],
)
async def test_publishing_ends_in_an_error_when_the_broker_has_gone(tmp_path, run, is_idempotent, hasty):
    values = list(good_values(3).items())
    with run(tmp_path) as place:
        address = place if isinstance(place, str) else place[0]
        settings = Settings.of(broker=address, partitions=1, idempotent_producer=is_idempotent)
        await ensure_topics(settings.kafka)
        publisher = await EcgPublisher(settings.kafka, Lane.REALTIME).__aenter__()
        await send(publisher, *values[0])
        await publisher.flush()
        assert publisher.confirmed == 1
    begun = time.monotonic()
    for record_id, value in values[1:]:
        await send(publisher, record_id, value)
    with pytest.raises(KafkaTimeoutError, match="the broker has confirmed no message for 2 s"):
        await publisher.flush()
    await publisher.__aexit__(None, None, None)
    print(f"given up and stopped after {time.monotonic() - begun:.1f} s")
    assert publisher.confirmed == 1


async def send(publisher, record_id, value):
    await publisher.send_value(value[1], key=value[0], record_id=record_id)


async def test_messages_that_are_confirmed_one_by_one_are_not_given_up(servers, hasty):
    """Together they wait for longer than one may."""
    with servers.place() as place:
        settings = Settings.of(partitions=1, **{name: place[name] for name in ("broker", "redis", "topic_prefix")})
        await ensure_topics(settings.kafka)
        producer = new_producer(settings.kafka)
        assert isinstance(producer, ContractProducer)
        async with producer:
            waiting = [asyncio.get_running_loop().create_future() for _ in range(8)]
            for future in waiting:
                producer._unconfirmed.add(future)
                future.add_done_callback(producer._done)
            for future in waiting:
                await asyncio.sleep(0.5)
                future.set_result(None)
        assert not producer._has_given_up
