"""The dashboard's feed over a real broker: when a replay is over, what nobody answers, and what it publishes."""

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import waiting
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError
from dashboard_ward import dashboard_ward, publish, simulate_case
from redis.asyncio import Redis

from schemas.codec import encode_ecg
from schemas.messages import DISEASES, Alert, Rejection, decode_message, encode_message
from schemas.topics import ECG_ALERTS, ECG_RECORDS, ECG_REJECTED, ECG_RISK
from stream.broker.clients import new_consumer, new_producer
from stream.dashboard.events import Hub
from stream.dashboard.feed import MAX_RECORDS, Feed
from stream.dashboard.unanswered_input import PATIENCE_S
from stream.settings import Settings

pytestmark = pytest.mark.servers


@pytest.fixture
def ward(servers):
    with dashboard_ward(servers) as settings:
        yield settings


@asynccontextmanager
async def following(settings):
    async with (
        Redis.from_url(settings.redis.url) as redis,
        Feed(settings, redis) as feed,
        asyncio.timeout(waiting.PATIENCE_S),
    ):
        yield feed


class ListeningHub(Hub):
    """Notes how things stand whenever the pages are told that the replay is over."""

    def __init__(self, look):
        super().__init__(lambda: ())
        self.look, self.noted = look, []

    def publish(self, name, data):
        if name == "ready":
            self.noted.append(self.look())
        super().publish(name, data)


def rejections(number):
    """Yield so many, as a worker publishes them."""
    for n in range(number):
        yield encode_message(
            Rejection(
                rejection_id=f"x-{n}",
                record_id=None,
                code="malformed_record",
                detail="It is none.",
                numbers={},
                source="t/0/1",
                created_at=datetime.now(UTC),
            )
        )


async def test_the_replay_is_over_when_the_last_message_of_the_last_batch_was_read(ward):
    async with new_producer(ward.kafka) as producer:
        batch = producer.create_batch()
        for value in rejections(2 * MAX_RECORDS):
            assert batch.append(key=b"x", value=value, timestamp=None)
        await (
            await producer.send_batch(batch, ward.kafka.topic(ECG_REJECTED), partition=0)
        )  # Tansu says that it ends at 1
    async with Redis.from_url(ward.redis.url) as redis:
        feed = Feed(ward, redis)
        feed.hub = ListeningHub(lambda: feed.state.overview(0.0).rejected)
        async with feed, asyncio.timeout(waiting.PATIENCE_S):
            while not feed.hub.noted:
                await asyncio.sleep(0.05)
    assert feed.hub.noted == [2 * MAX_RECORDS]


async def test_ecgs_that_nobody_answers_are_noticed_until_one_is_answered(ward):
    case, began = simulate_case(21, 1), time.time()
    async with following(ward) as feed:

        def unanswered():
            return feed.state.overview(time.time() + 1.1 * PATIENCE_S).unanswered_since

        while not (since := unanswered()):
            await publish(ward, (ECG_RECORDS, case.key, encode_ecg(case.record)))
            await asyncio.sleep(0.5)
        assert began < since < time.time()
        assert feed.header().state.unanswered_since is None  # it is not long yet
        await publish(ward, (ECG_RISK, case.key, case.report))
        while unanswered():
            await asyncio.sleep(0.1)


async def test_the_pages_show_an_alerts_age_and_leave_it_to_a_keeper_to_publish_it(ward):
    case = simulate_case(21, 2, risks=dict.fromkeys(DISEASES, 0.9))
    await publish(ward, *case.messages())
    ward = ward.changed(alert_escalates_s=0.1)
    async with following(ward) as feed:
        while feed.state.alerts.counts()["escalated"] < len(case.alerts):
            await asyncio.sleep(0.1)
        assert feed.state.overview(time.time()).overdue == 0
        assert feed.state.overview(time.time() + 60).overdue == len(case.alerts)
    async with new_consumer(ward.kafka, [ECG_ALERTS], auto_offset_reset="earliest") as consumer:
        read = [decode_message(Alert, (await consumer.getone()).value) for _ in case.alerts]
        assert {alert.status for alert in read} == {"raised"}
        assert not await consumer.getmany(timeout_ms=500)


async def test_what_a_clock_that_is_behind_dated_is_as_old_after_a_restart_as_the_messages_around_it(ward):
    right, behind = (simulate_case(21, n, risks=dict.fromkeys(DISEASES, 0.9)) for n in (3, 4))
    now, key = datetime.now(UTC), b"one partition"
    async with new_producer(ward.kafka) as producer:
        for case, hours in ((right, 1), (behind, 14)):
            at = now - timedelta(hours=hours)
            alert = encode_message(msgspec.structs.replace(case.alerts[0], onset=at))
            await producer.send_and_wait(ECG_ALERTS, alert, key=key, timestamp_ms=int(1000 * at.timestamp()))
    async with following(ward) as feed:
        while len(feed.state.alerts.all()) < 2:
            await asyncio.sleep(0.05)
        rows = {row.record_id: row for row in feed.state.alerts.all()}
        assert abs(rows[right.record.record_id].onset - (now - timedelta(hours=1)).timestamp()) < 1
        assert abs(rows[behind.record.record_id].onset - (now - timedelta(hours=1)).timestamp()) < 1
        assert rows[behind.record.record_id].clock_off_s < -12 * 3600


class GrowingConsumer:
    """The client of a topic that gets a partition while it is read; the embedded broker's topics cannot grow."""

    def __init__(self):
        self.partitions, self.read = {TopicPartition(ECG_ALERTS, 0)}, 1

    def assignment(self):
        return frozenset(self.partitions)

    async def getmany(self, **_):
        await asyncio.sleep(0)
        return {}

    async def position(self, _):
        return self.read

    def highwater(self, _):
        return 1

    last_stable_offset = highwater


async def test_nothing_is_published_while_the_topics_of_a_new_partition_are_read_anew():
    feed = Feed(Settings(), redis=None)
    feed._consumer = consumer = GrowingConsumer()
    reading = asyncio.create_task(feed._read())
    async with asyncio.timeout(waiting.PATIENCE_S):
        while not feed.caught_up:
            await asyncio.sleep(0)
        consumer.partitions.add(TopicPartition(ECG_ALERTS, 1))
        consumer.read = 0
        while feed.caught_up:
            await asyncio.sleep(0)
        assert feed.unready().startswith("still reading the topics")
        consumer.read = 1
        while not feed.caught_up:
            await asyncio.sleep(0)
        assert feed.unready() is None
    reading.cancel()


class SilentConsumer(GrowingConsumer):
    """The client of a broker that answers some questions and not others."""

    def __init__(self, answers):
        super().__init__()
        self.answers = iter(answers)

    async def end_offsets(self, _):
        if not next(self.answers):
            raise KafkaTimeoutError
        return {}

    def partitions_for_topic(self, _):
        return {0}


class LookingRedis:
    """Notes how things stand whenever it is asked."""

    def __init__(self, look):
        self.look, self.seen = look, []

    async def ping(self):
        self.seen.append(self.look())
        return True


async def test_one_question_that_is_not_answered_does_not_make_kafka_away():
    redis = LookingRedis(lambda: feed.header().kafka)
    feed = Feed(Settings(), redis)
    feed._consumer = SilentConsumer([False, True, True, False, False, False, True, True])
    probing = asyncio.create_task(feed._probe(every_s=0))
    await waiting.eventually(lambda: len(redis.seen) == 6)
    probing.cancel()
    assert redis.seen == [True, True, True, False, False, True]
