"""No message waits for ever for a broker that has gone, and one that is slow is not given up."""

import asyncio
import time

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, MessageSizeTooLargeError
from apache_kafka import apache_kafka, needs_apache_kafka
from harness import good_values

from engines.batcher import Lane
from schemas.errors import DeploymentError
from schemas.topics import ECG_RISK
from stream.broker import contract_producer
from stream.broker.clients import connection, ensure_topics, new_consumer, new_producer
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


@pytest.fixture(scope="module")
def apache(tmp_path_factory):
    """Run Apache Kafka."""
    with apache_kafka(tmp_path_factory.mktemp("apache")) as address:
        yield address


async def test_a_broker_that_gives_producers_no_ids_has_one_without_and_refuses_a_setting_that_asks_for_one(servers):
    with servers.place() as place:
        settings = Settings.of(**place)
        async with new_producer(settings.kafka) as producer:
            assert producer._sender._txn_manager is None
        demanding = new_producer(settings.changed(idempotent_producer=True).kafka)
        with pytest.raises(DeploymentError, match="gives a producer no id .* leave it unset"):
            await demanding.start()
        await demanding.stop()


@needs_apache_kafka
async def test_kafka_gives_a_producer_its_id_unless_a_setting_forbids_it(apache):
    settings = Settings.of(broker=apache)
    async with new_producer(settings.kafka) as producer:
        assert producer._sender._txn_manager.has_pid()
    async with new_producer(settings.changed(idempotent_producer=False).kafka) as producer:
        assert producer._sender._txn_manager is None


async def test_a_broker_that_never_gives_an_id_is_not_waited_for_for_ever(servers, hasty, monkeypatch):
    with servers.place() as place:
        producer = new_producer(Settings.of(**place).kafka)

        async def send(*_, **__):
            await asyncio.Event().wait()

        monkeypatch.setattr(producer.client, "send", send)
        with pytest.raises(KafkaConnectionError, match="has not said for 2 s which id the producer has"):
            await producer.start()
        await producer.stop()


@needs_apache_kafka
@pytest.mark.parametrize("is_idempotent", [None, False])
async def test_a_batch_that_is_too_large_is_split_and_only_a_message_that_is_too_large_is_refused(
    apache, is_idempotent
):
    settings = Settings.of(broker=apache, topic_prefix=f"split-{is_idempotent}.", idempotent_producer=is_idempotent)
    admin = AIOKafkaAdminClient(**connection(settings.kafka))
    await admin.start()
    limit = {"max.message.bytes": "20000"}
    await admin.create_topics([NewTopic(settings.kafka.topic(ECG_RISK), 1, 1, topic_configs=limit)])
    await admin.close()
    sizes = [5000] * 9 + [30_000] + [5000] * 9
    async with new_producer(settings.kafka) as producer:
        sent = [await producer.send(ECG_RISK, bytes([n]) * size) for n, size in enumerate(sizes)]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        assert [n for n, answer in enumerate(answers) if isinstance(answer, MessageSizeTooLargeError)] == [9]
        later = await producer.send_and_wait(ECG_RISK, b"later")  # a number that is missing would have it refused
    offsets = [answer.offset for n, answer in enumerate(answers) if n != 9]
    assert [*offsets, later.offset] == list(range(len(sizes)))
    async with new_consumer(settings.kafka, [ECG_RISK], auto_offset_reset="earliest") as consumer:
        read = [(await consumer.getone()).value[0] for _ in offsets]
    assert read == [n for n in range(len(sizes)) if n != 9]


async def test_leaders_are_asked_for_now_and_then_while_no_broker_answers(tmp_path):
    """Its sender asks as soon as the last answer is there, while it has a batch for a partition without a leader."""
    with embedded_broker(tmp_path) as (address, _):
        producer = new_producer(Settings.of(broker=address).kafka)
        await producer.start()
        assert await producer.client.force_metadata_update()
    begun = time.monotonic()
    for _ in range(3):
        assert not await producer.client.force_metadata_update()
    assert time.monotonic() - begun >= 2 * contract_producer.LEADERS_POLL_S
    await producer.stop()
