"""Who waits in a consumer group takes over, and what the group is refused, or has lost, is said. On Apache Kafka.

`make takeover` tries the standby on the embedded broker as well.
"""

import asyncio
import json
import os
import re
import time
import urllib.error
import urllib.request

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from apache_kafka import needs_apache_kafka, tool
from dashboard_ward import publish, simulate_case
from harness import collect, ended, good_values, publish_values, ward
from redis.asyncio import Redis
from test_stream_cine_faults import as_messages, at_least, metrics_of, request_cines, results_of, studio
from waiting import PATIENCE_S, eventually, wait_until

from schemas.messages import encode_message
from schemas.topics import ECG_RECORDS, ECG_RISK
from stream.broker.clients import connection, ensure_topics, new_producer
from stream.broker.contract_producer import ContractProducer
from stream.dashboard.feed import Feed
from stream.demo.embedded_servers import free_port
from stream.demo.stage import start_worker
from stream.settings import Settings

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]

PARTITION = 0
LONG = "TAKEOVER_INTERVAL_S" in os.environ
INTERVAL_S = int(os.environ.get("TAKEOVER_INTERVAL_S", "3"))
"""After this long without a record aiokafka takes a consumer for stuck. Faust's default is 1,000 s."""
WATCHDOG_S = 6.0


@pytest.fixture
def apache(kafka_servers):
    """Give Apache Kafka, which refuses what a rule denies and allows the rest, with a Redis beside it."""
    return kafka_servers


@pytest.fixture
def node(kafka_servers):
    """Give folder and address of that node."""
    return kafka_servers.folder, kafka_servers.address


def told(worker, name, **labels):
    """Return a figure of a worker's metrics."""
    label = ",".join(f'{key}="{value}"' for key, value in labels.items())
    name = re.escape(f"{name}{{{label}}}")
    found = re.search(rf"^{name} (\S+)$", metrics_of(worker), re.MULTILINE)
    return float(found[1]) if found else 0.0


def screened(worker):
    return told(worker, "cardiacnets_screened_records_total", lane="realtime")


def drawn(worker):
    return told(worker, "cardiacnets_cine_requests_total", outcome="generated")


def ready(worker):
    """Return what `/readyz` says."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.settings.process.http_port}/readyz") as answer:
            return json.load(answer)["status"]
    except urllib.error.HTTPError as refusal:
        return json.load(refusal)["status"]


def events(worker, name):
    """Return the lines of a worker's log that are of this kind."""
    lines = worker.log.read_text(errors="replace").splitlines()
    return [json.loads(line[line.index("{") :]) for line in lines if f'"event": "{name}"' in line]


def pass_intervals():
    """Let the time pass in which a consumer that does nothing is given up: three times."""
    time.sleep(3 * INTERVAL_S)


@pytest.mark.one_broker
def test_each_worker_that_waits_takes_over_when_the_one_before_it_is_killed(tmp_path, broker, monkeypatch):
    monkeypatch.setenv("BROKER_MAX_POLL_INTERVAL", str(INTERVAL_S))  # Faust reads it
    values = list(good_values(3).items())
    with ward(tmp_path, broker, partitions=1) as there:
        waiting = [there.start() for _ in values]
        pass_intervals()
        for number, value in enumerate(values, 1):
            begun = time.monotonic()
            asyncio.run(publish_values(there.settings, dict([value])))
            asyncio.run(collect(there.settings, until=lambda a, n=number: a.answered == n))
            print(f"answer {number} after {time.monotonic() - begun:.1f} s")
            (active,) = filter(screened, waiting)
            active.process.kill()
            waiting.remove(active)
            assert all(ready(worker) == "ok" or "joining" in ready(worker) for worker in waiting)
        assert not waiting


@pytest.mark.one_broker
def test_each_cmr_worker_that_waits_takes_over_when_the_one_before_it_is_killed(tmp_path, broker, monkeypatch):
    monkeypatch.setenv("BROKER_MAX_POLL_INTERVAL", str(INTERVAL_S))
    names = ["first", "second", "third"] if LONG else ["first", "second"]
    with studio(tmp_path, broker, partitions=1) as there:
        waiting = [there.start(drawing_s=0.01) for _ in names]
        pass_intervals()
        for number, name in enumerate(names, 1):
            begun = time.monotonic()
            request_cines(there.settings, *as_messages(name))
            results_of(there.settings, at_least(number), requests=number)
            print(f"cine {number} after {time.monotonic() - begun:.1f} s")
            (active,) = filter(drawn, waiting)
            active.process.kill()
            waiting.remove(active)


class Transaction:
    """A transaction of a device: what is sent in it, and how it ends."""

    def __init__(self, settings, name):
        self.producer = ContractProducer(
            settings.kafka, **connection(settings.kafka), transactional_id=name, transaction_timeout_ms=600_000
        )

    async def __aenter__(self):
        await self.producer.start()
        await self.producer.begin_transaction()
        return self

    async def __aexit__(self, *_):
        await self.producer.stop()

    async def send(self, values):
        for key, value in values:
            await self.producer.send_and_wait(ECG_RECORDS, value, key=key, partition=PARTITION)


async def send(settings, values):
    async with new_producer(settings.kafka) as producer:
        for key, value in values:
            await producer.send_and_wait(ECG_RECORDS, value, key=key, partition=PARTITION)


@needs_apache_kafka
def test_only_committed_transactions_are_screened_and_an_open_one_shows_in_lag_and_ends_nobody(tmp_path, apache):
    names, values = zip(*good_values(12).items(), strict=True)
    with ward(tmp_path, apache, watchdog_s=WATCHDOG_S) as there:
        topic = there.settings.kafka.topic(ECG_RECORDS)

        async def three():
            await send(there.settings, values[:1])
            async with Transaction(there.settings, "aborted") as aborted:
                await aborted.send(values[1:5])
                await aborted.producer.abort_transaction()
            async with Transaction(there.settings, "committed") as committed:
                await committed.send(values[5:7])
                await committed.producer.commit_transaction()

        async def open_and_commit(worker):
            async with Transaction(there.settings, "open") as hanging:
                await hanging.send(values[7:9])
                await send(there.settings, values[9:10])
                await asyncio.to_thread(wait_until, lambda: told(worker, "cardiacnets_lag_records", topic=topic) == 3)
                held = lambda: told(worker, "cardiacnets_open_transaction_seconds", topic=topic)  # noqa: E731
                await asyncio.to_thread(wait_until, lambda: held() > 2 * WATCHDOG_S)
                assert worker.running
                assert ready(worker) == "ok"
                await hanging.producer.commit_transaction()

        asyncio.run(three())
        worker = there.start()
        answers = asyncio.run(collect(there.settings, until=lambda a: a.answered == 3))
        assert set(answers.report_ids) == {names[0], *names[5:7]}
        asyncio.run(open_and_commit(worker))
        answers = asyncio.run(collect(there.settings, until=lambda a: a.answered == 6))
        assert set(answers.report_ids) == {names[0], *names[5:10]}
        wait_until(lambda: told(worker, "cardiacnets_lag_records", topic=topic) == 0)
        assert ended(worker) == 0
        again = there.start()  # it begins where the first one ended: nothing is read twice
        wait_until(lambda: ready(again) == "ok")
        assert screened(again) == 0


@needs_apache_kafka
async def test_a_dashboard_has_caught_up_though_a_transaction_is_open_and_shows_it_when_it_is_committed(apache):
    first, second = simulate_case(31, 1), simulate_case(31, 2)
    with apache.place() as place:
        settings = Settings.of(partitions=1, **place)
        await ensure_topics(settings.kafka)
        await publish(settings, (ECG_RISK, first.key, first.report))
        async with Transaction(settings, "open-reports") as late:
            await late.producer.send_and_wait(ECG_RISK, encode_message(second.report), key=second.key)
            async with Redis.from_url(settings.redis.url) as redis, Feed(settings, redis) as feed:
                await eventually(lambda: feed.caught_up and feed.header().behind == 0, poll_s=0.05)
                assert feed.state.overview(0.0).records == 1
                await late.producer.commit_transaction()
                await eventually(lambda: feed.state.overview(0.0).records == 2, poll_s=0.05)


@needs_apache_kafka
def test_a_worker_without_the_right_to_its_group_ends_and_says_which_right(tmp_path, apache, node):
    with ward(tmp_path, apache) as there:
        group = there.settings.kafka.screening_group
        worker = there.start()
        rule = ("--add", "--deny-principal", "User:ANONYMOUS", "--operation", "Read", "--group", group)
        tool(*node, "AclCommand", *rule)
        late = start_worker(there.settings.changed(http_port=free_port()), tmp_path / "late.log")
        there.workers.append(late)
        reasons = {
            late: f"refuses User:ANONYMOUS Read on the group {group}: `cardiacnets topics --for worker --account ",
            worker: f"Kafka refuses the consumer group {group} to this client: give it the right Read on the group",
        }
        for refused, reason in reasons.items():  # whoever comes, and whoever was there
            assert refused.process.wait(PATIENCE_S) == 1
            assert refused.last_words(1).startswith("cardiacnets: ")
            assert reason in refused.last_words(1)


@needs_apache_kafka
def test_partitions_that_are_added_and_a_topic_made_anew_are_read_and_a_missing_one_is_named(tmp_path, apache):
    values = good_values(3)
    first, second, third = values.values()
    with ward(tmp_path, apache) as there:
        topic, added = there.settings.kafka.topic(ECG_RECORDS), there.settings.kafka.partitions
        worker = there.start()

        async def add_partition():
            async with admin(there.settings) as client:
                await client.create_partitions({topic: NewPartitions(added + 1)})
            async with new_producer(there.settings.kafka) as producer:
                await producer.send_and_wait(ECG_RECORDS, first[1], key=first[0], partition=added)

        async def remove():
            async with admin(there.settings) as client:
                await client.delete_topics([topic])

        async def make_anew():
            async with admin(there.settings) as client:
                await client.create_topics([NewTopic(topic, 2, 1)])
            await send(there.settings, [second, third])

        begun = time.monotonic()
        asyncio.run(add_partition())
        asyncio.run(answered(there.settings, worker, 1))
        print(f"an added partition was read after {time.monotonic() - begun:.1f} s")
        begun = time.monotonic()
        asyncio.run(remove())
        wait_until(lambda: topic in ready(worker), poll_s=0.2)
        print(f"{ready(worker)}: after {time.monotonic() - begun:.1f} s")
        begun = time.monotonic()
        asyncio.run(make_anew())
        asyncio.run(answered(there.settings, worker, 3))
        print(f"a topic made anew was read after {time.monotonic() - begun:.1f} s")
        wait_until(lambda: ready(worker) == "ok")
        assert worker.running


async def answered(settings, worker, count):
    """Return when a worker has answered so many records."""
    await asyncio.to_thread(wait_until, lambda: screened(worker) == count, 0.1)


class admin(AIOKafkaAdminClient):  # noqa: N801  it is used as a function
    """An administrator of the broker."""

    def __init__(self, settings):
        super().__init__(**connection(settings.kafka))

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_):
        await self.close()


@needs_apache_kafka
def test_ecgs_that_were_deleted_before_they_were_screened_are_counted_and_named(tmp_path, apache):
    names, values = zip(*good_values(9).items(), strict=True)
    with ward(tmp_path, apache) as there:
        topic = there.settings.kafka.topic(ECG_RECORDS)
        worker = there.start()
        asyncio.run(send(there.settings, values[:1]))
        asyncio.run(collect(there.settings, until=lambda a: a.answered == 1))
        assert ended(worker) == 0
        asyncio.run(send(there.settings, values[1:]))

        async def delete():
            async with admin(there.settings) as client:
                await client.delete_records({TopicPartition(topic, PARTITION): RecordsToDelete(before_offset=6)})

        asyncio.run(delete())
        worker = there.start()
        answers = asyncio.run(collect(there.settings, until=lambda a: a.answered == 4))
        assert set(answers.report_ids) == {names[0], *names[6:]}
        assert told(worker, "cardiacnets_deleted_unread_offsets_total", topic=topic) == 5
        (said,) = events(worker, "deleted_before_read")
        assert (said["topic"], said["partition"], said["first_offset"], said["last_offset"]) == (topic, PARTITION, 1, 5)
        assert ended(worker) == 0


@needs_apache_kafka
def test_a_group_whose_offsets_have_expired_reads_what_is_there_and_says_so(tmp_path, apache, node):
    values = good_values(2)
    with ward(tmp_path, apache) as there:
        topic, group = there.settings.kafka.topic(ECG_RECORDS), there.settings.kafka.screening_group
        worker = there.start()
        asyncio.run(send(there.settings, values.values()))
        asyncio.run(collect(there.settings, until=lambda a: a.answered == 2))
        assert told(worker, "cardiacnets_partitions_without_offset_total", topic=topic) == 0
        assert ended(worker) == 0
        tool(*node, "consumer.group.ConsumerGroupCommand", "--delete", "--group", group)  # as Kafka does after a week
        worker = there.start()
        asyncio.run(answered(there.settings, worker, 2))
        assert told(worker, "cardiacnets_partitions_without_offset_total", topic=topic) == 1
        (said,) = events(worker, "group_without_offset")
        assert (said["topic"], said["partition"], said["begins_at"], said["ends_at"]) == (topic, PARTITION, 0, 2)
