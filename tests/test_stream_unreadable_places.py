"""What cannot be read on a topic ends no process, on the embedded broker and on Apache Kafka: each goes round it."""

import asyncio
import re
from contextlib import asynccontextmanager
from pathlib import Path

import crafted_batches as crafted
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from crafted_batches import batch, bomb, damaged, record
from dashboard_ward import publish, simulate_case
from harness import acknowledged, collect, ended, good_values, publish_values, ward
from redis.asyncio import Redis
from test_stream_cine_faults import as_messages, at_least, metrics_of, request_cines, results_of, studio
from waiting import PATIENCE_S, eventually, wait_until

from schemas.messages import encode_message
from schemas.topics import CMR_REQUESTS, ECG_ALERTS_ACK, ECG_RECORDS, ECG_REJECTED, ECG_RISK
from stream.broker.clients import connection, ensure_topics, new_producer
from stream.dashboard.feed import Feed
from stream.settings import Settings

pytestmark = pytest.mark.servers

MIB = 2**20
PARTITION = 0
BOMBS = {"zstd": 1024, "gzip": 256, "lz4": 128, "snappy": 32}
"""How many mebibytes of zeros go into a batch that the topic takes."""
MAY_GROW_MIB = 200
"""Of a worker that is given gigabytes, in pieces of 16 MiB."""


async def send(settings, topic, raw, *, count=1):
    """Return the offsets that a batch got; none where the broker does not take it."""
    try:
        first = await crafted.send(settings.kafka, topic, raw, partition=PARTITION, count=count)
    except KafkaError:
        return []
    return list(range(first, first + count))


async def send_all(settings, topic, kinds):
    """Return the offsets of the batches that the broker took, by kind."""
    return {kind: sent for kind, raw in kinds.items() if (sent := await send(settings, topic, raw))}


async def send_ecgs(settings, values):
    """Send ECGs to the partition of the damaged batches."""
    async with new_producer(settings.kafka) as producer:
        for key, value in values:
            await producer.send_and_wait(ECG_RECORDS, value, key=key, partition=PARTITION)


async def end_and_committed(settings, topic, group):
    """Return where a partition ends, and up to where the group has acknowledged it."""
    partition = TopicPartition(settings.kafka.topic(topic), PARTITION)
    async with AIOKafkaConsumer(**connection(settings.kafka), group_id=group, enable_auto_commit=False) as consumer:
        consumer.assign([partition])
        return (await consumer.end_offsets([partition]))[partition], await consumer.committed(partition)


def peak_mib(process):
    """Return the most memory that a process has had so far."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024


def places(settings, topic, offsets):
    return {f"{settings.kafka.topic(topic)}/{PARTITION}/{offset}" for offset in offsets}


def flat(sent):
    return [offset for offsets in sent.values() for offset in offsets]


def test_a_worker_rejects_what_cannot_be_read_and_answers_every_ecg_before_between_and_behind_it(tmp_path, broker):
    values = good_values(6)
    (before, between, behind, *within) = values.values()
    mixed = record(0, within[0][1]) + record(1, headers=[crafted.NOT_UTF_8]) + record(2, within[1][1])
    with ward(tmp_path, broker) as there:
        topic = there.settings.kafka.topic(ECG_RECORDS)

        async def fill():
            await send_ecgs(there.settings, [before])  # Faust loses count of a hole behind its first record
            refused = await send(there.settings, ECG_RECORDS, batch(b"", 3, codec="zstd", compress=False), count=3)
            sent = await send_all(there.settings, ECG_RECORDS, damaged())
            await send_ecgs(there.settings, [between])
            mixed_at = await send(there.settings, ECG_RECORDS, batch(mixed, 3, codec="zstd"), count=3)
            await send_ecgs(there.settings, [behind, within[2]])
            last = await send(there.settings, ECG_RECORDS, damaged()["a header's name that is not UTF-8"])
            return [*refused, *flat(sent), mixed_at[1], *last]

        bad = asyncio.run(fill())
        worker = there.start()
        answers = asyncio.run(collect(there.settings, until=lambda a: a.answered == len(values) + len(bad)))
        assert set(answers.report_ids) == set(values)
        assert {r.source: r.code for r in answers.rejections.values()} == dict.fromkeys(
            places(there.settings, ECG_RECORDS, bad), "unreadable_record"
        )
        rejection = answers.rejections[f"{topic}/{PARTITION}/{bad[-1]}"]
        assert rejection.detail == "the record cannot be read: the name of a header is not UTF-8"
        counted = f'rejected_records_total{{code="unreadable_record",lane="realtime"}} {len(bad)}.0'
        assert counted in metrics_of(worker)
        wait_until(lambda: f'cardiacnets_lag_records{{topic="{topic}"}} 0.0' in metrics_of(worker))
        assert ended(worker) == 0
        end, committed = asyncio.run(
            end_and_committed(there.settings, ECG_RECORDS, there.settings.kafka.screening_group)
        )
        assert committed == bad[-1] + 1 == max(end, committed)


def test_a_bomb_takes_little_of_a_worker_s_memory_and_is_rejected_with_all_its_offsets(tmp_path, broker):
    values = list(good_values(2).values())
    with ward(tmp_path, broker) as there:
        worker = there.start()

        async def fill():
            await send_ecgs(there.settings, values[:1])
            sent = {}
            for codec, mib in BOMBS.items():
                sent[codec] = await send(there.settings, ECG_RECORDS, bomb(codec, mib * MIB))
            await send_ecgs(there.settings, values[1:])
            return sent

        asyncio.run(publish_values(there.settings, good_values(20, seed=8)))
        asyncio.run(collect(there.settings, until=lambda a: a.answered == 20))
        at_work = peak_mib(worker.process)
        sent = asyncio.run(fill())
        assert sent["zstd"]
        answers = asyncio.run(collect(there.settings, until=lambda a: a.answered == 22 + len(flat(sent))))
        assert {r.source: r.code for r in answers.rejections.values()} == dict.fromkeys(
            places(there.settings, ECG_RECORDS, flat(sent)), "oversized_batch"
        )
        print(f"peak of the worker {at_work} MiB before, {peak_mib(worker.process)} MiB after; taken: {list(sent)}")
        assert peak_mib(worker.process) < at_work + MAY_GROW_MIB
        assert ended(worker) == 0


def test_a_cmr_worker_goes_round_what_cannot_be_read(tmp_path, broker):
    names = [f"record-{n}" for n in range(4)]
    with studio(tmp_path, broker) as there:
        worker = there.start(drawing_s=0.01)

        async def fill():
            return await send_all(there.settings, CMR_REQUESTS, damaged() | {"bomb": bomb("zstd", 1024 * MIB)})

        request_cines(there.settings, *as_messages(*names[:2]))
        bad = asyncio.run(fill())
        request_cines(there.settings, *as_messages(*names[2:]))
        results = results_of(there.settings, at_least(len(names)), requests=len(names) + len(bad))
        assert sorted(result.record_id for result in results) == names
        metrics = metrics_of(worker)
        assert 'cine_requests_total{outcome="oversized_batch"} 1.0' in metrics
        assert f'cine_requests_total{{outcome="unreadable_record"}} {len(bad) - 1}.0' in metrics
        wait_until(lambda: "cardiacnets_lag_requests 0.0" in metrics_of(worker))
        assert ended(worker) == 0


async def publish_without_time(settings, case):
    async with new_producer(settings.kafka) as producer:
        await producer.send_and_wait(ECG_RISK, encode_message(case.report), key=case.key, timestamp_ms=-1)


@asynccontextmanager
async def following(settings):
    async with Redis.from_url(settings.redis.url) as redis, Feed(settings, redis) as feed:
        async with asyncio.timeout(PATIENCE_S):
            yield feed


async def test_a_dashboard_goes_round_what_cannot_be_read_and_counts_it(broker):
    before, behind = simulate_case(31, 1), simulate_case(31, 2)
    with broker.place() as place:
        settings = Settings.of(partitions=1, **place)
        await ensure_topics(settings.kafka)
        await publish(settings, (ECG_RISK, before.key, before.report))
        bad = []
        for topic in (ECG_RISK, ECG_ALERTS_ACK, ECG_REJECTED, CMR_REQUESTS):
            bad += flat(await send_all(settings, topic, damaged() | {"bomb": bomb("zstd", 1024 * MIB)}))
        await publish(settings, (ECG_RISK, behind.key, behind.report))
        async with following(settings) as feed:
            await eventually(lambda: feed.caught_up and feed.header().behind == 0, poll_s=0.05)
            overview = feed.state.overview(0.0)
            assert (overview.records, overview.unreadable) == (2, len(bad))
            late = simulate_case(31, 3)  # and it still reads
            await send(settings, ECG_RISK, damaged()["a header's name that is not UTF-8"])
            await publish_without_time(settings, late)
            await eventually(lambda: feed.state.overview(0.0).records == 3, poll_s=0.05)


def test_partitions_change_hands_among_what_cannot_be_read_and_nothing_is_lost(tmp_path, broker):
    values = good_values(24)
    with ward(tmp_path, broker) as there:
        bad = []

        async def fill():
            poison = damaged()["a header's name that is not UTF-8"]
            for number, value in enumerate(values.values()):
                await send_ecgs(there.settings, [value])
                for _ in range(number % 3):
                    bad.extend(await send(there.settings, ECG_RECORDS, poison))

        first = there.start()
        asyncio.run(fill())
        there.start()
        first.process.kill()
        answers = asyncio.run(collect(there.settings, until=lambda a: a.answered == len(values) + len(bad)))
        assert set(answers.report_ids) == set(values)
        assert set(answers.rejections) == places(there.settings, ECG_RECORDS, bad)
        assert all(len(ids) == 1 for ids in answers.report_ids.values())
        asyncio.run(
            acknowledged(
                there.settings.kafka, there.settings.kafka.screening_group, [ECG_RECORDS], len(values) + len(bad)
            )
        )
