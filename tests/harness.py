"""What the end-to-end tests share: real servers, real workers, and all that came out of the topics."""

import asyncio
import itertools
import os
import time
from collections import Counter, defaultdict
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition
from contract import validate_message
from waiting import PATIENCE_S

from engines.batcher import Lane
from inference.intake import take_in
from schemas.codec import encode_ecg
from schemas.messages import Quality, Rejection, RiskReport, decode_message
from schemas.topics import CMR_REQUESTS, ECG_ALERTS, ECG_REJECTED, ECG_RISK, record_key
from stream.broker.clients import LANE_TOPICS, connection, ensure_topics, new_consumer
from stream.broker.ecg_publisher import EcgPublisher
from stream.demo.embedded_servers import embedded_broker, embedded_redis, free_port
from stream.demo.stage import await_worker, start_worker
from stream.settings import Settings
from training.simulation.ecg import generate_ecgs

RECORDS = int(os.environ.get("TEST_RECORDS", "150"))
"""Records of a fault test: few in CI; 5,000 for the closing measurement."""
ANSWER_TOPICS = (ECG_RISK, ECG_REJECTED, ECG_ALERTS, CMR_REQUESTS)
REST_MS = 500
"""A fetch of what is there takes milliseconds."""
PROMPT = {"engine": "onnxruntime", "rebalance_timeout_s": 2.0, "commit_interval_s": 0.2, "drain_s": 60.0}
"""Settings of workers that start and hand over quickly, and that a slow machine does not hurry when they end."""


@dataclass
class Ward:
    """A place on a broker and a Redis, and workers started on them; the broker's process, and that of its own Redis.

    A shared broker may be frozen for a while, since no other test of the process is under way, but not ended.
    """

    settings: Settings
    folder: object
    broker: object
    redis: object
    workers: list = field(default_factory=list)

    def start(self, **changes):
        """Start one more worker, ready."""
        settings = self.settings.changed(http_port=free_port(), **changes)
        worker = start_worker(settings, self.folder / f"worker-{len(self.workers)}.log")
        self.workers.append(worker)
        await_worker(worker, settings)
        worker.settings = settings
        return worker

    def stop(self):
        """Stop all workers, which end side by side."""
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.stop()


def ended(worker):
    """Tell a process to end, and return its exit code when it has."""
    worker.process.terminate()
    return worker.process.wait(PATIENCE_S)


@contextmanager
def ward(folder, servers=None, *, own=(), door=None, **changes):
    """Give a ward with topics and no worker yet, on the shared servers or else on its own.

    Args:
        folder: of its logs.
        servers: the shared ones.
        own: of "broker" and "redis", which it has for itself all the same.
        door: before its own broker, where it has no shared one.
        changes: of the settings; with broker and redis among them it starts no server.
    """
    with place_for(folder, servers, own, door, changes) as place:
        broker, redis = place.pop("processes", (None, None))
        settings = Settings.of(**{"partitions": 4, **PROMPT, **place, **changes})
        asyncio.run(ensure_topics(settings.kafka))
        there = Ward(settings, folder, broker, redis)
        try:
            yield there
        finally:
            there.stop()


def place_for(folder, servers, own, door, changes):
    """Give the settings of a ward's servers: none where the changes name them."""
    if servers:
        return servers.place_with(folder, own)
    return nullcontext({}) if "broker" in changes else own_servers(folder, door)


@contextmanager
def own_servers(folder, door):
    """Run a broker and a Redis for one ward; give their settings, and their processes."""
    outside = door.port if door else None
    with (
        embedded_broker(folder, advertised_port=outside) as (inside, broker),
        embedded_redis(folder) as (url, redis),
    ):
        if door:
            door.behind = int(inside.rpartition(":")[2])
        address = f"127.0.0.1:{outside}" if door else inside
        yield {"broker": address, "redis": url, "processes": (broker, redis)}


def good_values(count, seed=7):
    """Return encoded synthetic ECGs by record id, with their keys: those that the gate takes, 996 of 1,000."""
    good = (ecg for ecg in generate_ecgs(None, seed) if isinstance(take_in([ecg], 1).outcomes[0], Quality))
    return {ecg.record_id: (record_key(ecg), encode_ecg(ecg)) for ecg in itertools.islice(good, count)}


async def publish_values(settings, values, lane=Lane.REALTIME):
    """Publish encoded ECGs by record id."""
    async with EcgPublisher(settings.kafka, lane) as publisher:
        for record_id, (key, value) in values.items():
            await publisher.send_value(value, key=key, record_id=record_id)
        await publisher.flush()


class Answers:
    """Every message that came out, each valid by the published contract."""

    def __init__(self):
        self.counts = Counter()
        self.report_ids = defaultdict(set)
        self.rejections = {}
        self.reports = {}

    def add(self, topic, message):
        """Take one message in, of the topic that the contract calls so."""
        validate_message(topic, message.value)
        self.counts[topic] += 1
        if topic == ECG_RISK:
            report = decode_message(RiskReport, message.value)
            self.report_ids[report.record_id].add(report.report_id)
            self.reports[report.record_id] = report
        elif topic == ECG_REJECTED:
            rejection = decode_message(Rejection, message.value)
            self.rejections[rejection.source] = rejection

    @property
    def answered(self):
        """Distinct records answered so far."""
        return len(self.report_ids) + len(self.rejections)


async def acknowledged(kafka, group, topics, messages):
    """Return when the group has acknowledged so many messages of the topics: all that it answers to them is published.

    The embedded broker does not tell how many messages a topic holds, so the caller does.
    """
    partitions = [TopicPartition(kafka.topic(topic), number) for topic in topics for number in range(kafka.partitions)]
    consumer = AIOKafkaConsumer(**connection(kafka), group_id=group, enable_auto_commit=False)
    async with consumer, asyncio.timeout(PATIENCE_S):
        consumer.assign(partitions)
        while sum([await consumer.committed(partition) or 0 for partition in partitions]) < messages:
            await asyncio.sleep(0.05)


async def collect(settings, *, until, more_come=False):
    """Read every answer topic from the start until `until(answers)`; then what else was answered to those records.

    Where more records are being answered meanwhile, it returns at once: it would read on until they all are.
    """
    answers, last = Answers(), time.monotonic()
    async with new_consumer(settings.kafka, ANSWER_TOPICS, auto_offset_reset="earliest") as consumer:
        while not until(answers) and time.monotonic() - last < PATIENCE_S:
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                for message in messages:
                    answers.add(settings.kafka.name_of(message.topic), message)
                last = time.monotonic()
        if more_come:
            return answers
        await acknowledged(settings.kafka, settings.kafka.screening_group, LANE_TOPICS.values(), answers.answered)
        while batches := await consumer.getmany(timeout_ms=REST_MS):
            for messages in batches.values():
                for message in messages:
                    answers.add(settings.kafka.name_of(message.topic), message)
    return answers
