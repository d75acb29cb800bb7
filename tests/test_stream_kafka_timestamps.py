"""A Kafka timestamp is the producer's: what it says beside the truth spoils no metric."""

import asyncio
import re
import time
import urllib.request

import pytest
from harness import collect, good_values, ward

from schemas.topics import ECG_RECORDS
from stream.broker.clients import new_producer

pytestmark = pytest.mark.servers
DAY_MS = 86_400_000


async def publish_at(settings, values, timestamps):
    async with new_producer(settings.kafka) as producer:
        for (key, value), timestamp in zip(values.values(), timestamps, strict=True):
            await producer.send_and_wait(ECG_RECORDS, value, key=key, timestamp_ms=timestamp)


def metrics_of(worker):
    address = f"http://127.0.0.1:{worker.settings.process.http_port}/metrics"
    with urllib.request.urlopen(address) as answer:
        text = answer.read().decode()
    return {name: float(number) for name, number in re.findall(r"^(\S+) (\S+)$", text, re.MULTILINE)}


def test_timestamps_of_1970_of_tomorrow_and_of_last_month_are_counted_and_measure_nothing(tmp_path, broker):
    now_ms = int(time.time() * 1000)
    ahead = (now_ms + DAY_MS, now_ms * 1000) if broker.kind.takes_future_timestamps else ()
    timestamps = (-1, 0, 1, now_ms - 30 * DAY_MS, *ahead, None)
    values = good_values(len(timestamps))
    with ward(tmp_path, broker) as there:
        worker = there.start()
        asyncio.run(publish_at(there.settings, values, timestamps))
        answers = asyncio.run(collect(there.settings, until=lambda a: a.answered == len(timestamps)))
        assert set(answers.reports) == set(values)
        metrics = metrics_of(worker)
    lane = '{lane="realtime"}'
    assert metrics[f"cardiacnets_unusable_timestamps_total{lane}"] == len(timestamps) - 1
    assert metrics[f"cardiacnets_record_seconds_count{lane}"] == 1
    assert 0 <= metrics[f"cardiacnets_record_seconds_sum{lane}"] < 600
