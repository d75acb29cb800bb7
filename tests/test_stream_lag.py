"""How much is left on a topic, where the last thing on it is no record: a device publishes in transactions."""

import asyncio
import struct
import subprocess
import urllib.request

import pytest
from aiokafka.record.util import calc_crc32c
from harness import collect, good_values, ward

from schemas.topics import ECG_RECORDS
from stream.broker.clients import new_producer

pytestmark = pytest.mark.servers

WATCHDOG_S = 4.0
PARTITION = 0
# Of a batch's header, as Kafka's protocol lays it out.
CRC_AT, ATTRIBUTES_AT = 17, 21
TRANSACTIONAL, CONTROL = 0x10, 0x20


def commit_mark(producer):
    """Return the batch by which a broker ends a transaction; the embedded one has none, but keeps what it is given."""
    batch = producer.create_batch()
    batch.append(key=struct.pack(">hh", 0, 1), value=struct.pack(">hi", 0, 0), timestamp=None)
    batch.close()
    content = bytearray(batch._build())
    (attributes,) = struct.unpack_from(">h", content, ATTRIBUTES_AT)
    struct.pack_into(">h", content, ATTRIBUTES_AT, attributes | TRANSACTIONAL | CONTROL)
    struct.pack_into(">I", content, CRC_AT, calc_crc32c(bytes(content[ATTRIBUTES_AT:])))
    batch._buffer = content
    return batch


async def publish_in_a_transaction(settings, values):
    """Publish to one partition, and the mark after it."""
    async with new_producer(settings.kafka) as producer:
        for key, value in values:
            await producer.send_and_wait(ECG_RECORDS, value, key=key, partition=PARTITION)
        await (await producer.send_batch(commit_mark(producer), settings.kafka.topic(ECG_RECORDS), partition=PARTITION))


def test_a_transactions_mark_is_no_work_that_is_left(tmp_path, servers):
    values = good_values(2)
    with ward(tmp_path, servers) as there:
        asyncio.run(publish_in_a_transaction(there.settings, values.values()))
        worker = there.start(watchdog_s=WATCHDOG_S)
        asyncio.run(collect(there.settings, until=lambda answers: answers.answered == len(values)))
        with pytest.raises(subprocess.TimeoutExpired):  # idle, it is not taken for stalled
            worker.process.wait(2 * WATCHDOG_S)
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.settings.process.http_port}/metrics") as answer:
            topic = there.settings.kafka.topic(ECG_RECORDS)
            assert f'cardiacnets_lag_records{{topic="{topic}"}} 0.0' in answer.read().decode()
