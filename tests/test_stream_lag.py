"""How much is left on a topic, where the last thing on it is no record: a device publishes in transactions."""

import asyncio
import struct
import subprocess
import urllib.request

import pytest
from aiokafka.record.util import calc_crc32c
from harness import collect, good_values, ward

from schemas.topics import ECG_RECORDS
from stream.broker.clients import connection, new_producer
from stream.broker.contract_producer import ContractProducer

pytestmark = pytest.mark.servers

WATCHDOG_S = 4.0
PARTITION = 0
# Of a batch's header, as Kafka's protocol lays it out.
CRC_AT, ATTRIBUTES_AT = 17, 21
TRANSACTIONAL, CONTROL = 0x10, 0x20


def commit_mark(producer):
    """Return the batch by which a broker ends a transaction; the embedded one has none, but keeps what it is given.

    Apache Kafka writes it itself, and takes none from a client.
    """
    batch = producer.create_batch()
    batch.append(key=struct.pack(">hh", 0, 1), value=struct.pack(">hi", 0, 0), timestamp=None)
    batch.close()
    content = bytearray(batch._build())
    (attributes,) = struct.unpack_from(">h", content, ATTRIBUTES_AT)
    struct.pack_into(">h", content, ATTRIBUTES_AT, attributes | TRANSACTIONAL | CONTROL)
    struct.pack_into(">I", content, CRC_AT, calc_crc32c(bytes(content[ATTRIBUTES_AT:])))
    batch._buffer = content
    return batch


async def publish_and_forge_a_mark(settings, values):
    """Publish to one partition, and the mark after it."""
    async with new_producer(settings.kafka) as producer:
        for key, value in values:
            await producer.send_and_wait(ECG_RECORDS, value, key=key, partition=PARTITION)
        await (await producer.send_batch(commit_mark(producer), settings.kafka.topic(ECG_RECORDS), partition=PARTITION))


async def publish_in_a_transaction(settings, values):
    """Publish to one partition, and have the broker write the mark after it."""
    producer = ContractProducer(settings.kafka, **connection(settings.kafka), transactional_id="device")
    async with producer, producer.transaction():
        for key, value in values:
            await producer.send_and_wait(ECG_RECORDS, value, key=key, partition=PARTITION)


def test_a_transactions_mark_is_no_work_that_is_left(tmp_path, broker):
    values = good_values(2)
    publish = publish_in_a_transaction if broker.kind.has_transactions else publish_and_forge_a_mark
    with ward(tmp_path, broker) as there:
        asyncio.run(publish(there.settings, values.values()))
        worker = there.start(watchdog_s=WATCHDOG_S)
        asyncio.run(collect(there.settings, until=lambda answers: answers.answered == len(values)))
        with pytest.raises(subprocess.TimeoutExpired):  # idle, it is not taken for stalled
            worker.process.wait(2 * WATCHDOG_S)
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.settings.process.http_port}/metrics") as answer:
            topic = there.settings.kafka.topic(ECG_RECORDS)
            assert f'cardiacnets_lag_records{{topic="{topic}"}} 0.0' in answer.read().decode()
