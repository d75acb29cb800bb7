"""A fetch that finds nothing waits long where the broker answers as soon as a record arrives, and shortly elsewhere."""

import pytest
from apache_kafka import apache_kafka, needs_apache_kafka
from waiting import eventually

from schemas.topics import ECG_RISK
from stream.broker.clients import FETCH_WAIT_MS, UNHURRIED_WAIT_MS, ensure_topics, new_consumer, new_producer
from stream.broker.patient_fetcher import PROMPT_WAIT_MS, become_unhurried
from stream.settings import Settings

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def apache(tmp_path_factory):
    with apache_kafka(tmp_path_factory.mktemp("apache")) as address:
        yield address


def wait_of(consumer):
    return consumer._fetcher._fetch_max_wait_ms


async def send(settings, count):
    async with new_producer(settings.kafka) as producer:
        for _ in range(count):
            await producer.send_and_wait(ECG_RISK, b"x", partition=0)


async def test_the_embedded_broker_is_asked_often_and_seldom_by_who_has_time(servers):
    with servers.place() as place:
        settings = Settings.of(**place, partitions=1)
        await ensure_topics(settings.kafka, [ECG_RISK])
        async with new_consumer(settings.kafka, [ECG_RISK], auto_offset_reset="earliest") as consumer:
            await send(settings, 1)
            await consumer.getone()
            assert wait_of(consumer) == FETCH_WAIT_MS
            become_unhurried(consumer, UNHURRIED_WAIT_MS)
            await eventually(lambda: wait_of(consumer) == UNHURRIED_WAIT_MS)
            await send(settings, 1)
            await consumer.getone()


@needs_apache_kafka
async def test_kafka_is_asked_seldom_but_often_while_something_is_fetched_and_not_taken(apache):
    settings = Settings.of(broker=apache, partitions=2)
    await ensure_topics(settings.kafka, [ECG_RISK])
    async with new_consumer(settings.kafka, [ECG_RISK], auto_offset_reset="earliest") as consumer:
        await eventually(lambda: wait_of(consumer) == PROMPT_WAIT_MS)
        await send(settings, 2)
        await eventually(lambda: wait_of(consumer) == FETCH_WAIT_MS)  # the other partition goes on to be fetched
        for _ in range(2):
            await consumer.getone()
        assert not await consumer.getmany(timeout_ms=100)  # who reads on finds that all is taken
        await eventually(lambda: wait_of(consumer) == PROMPT_WAIT_MS)
