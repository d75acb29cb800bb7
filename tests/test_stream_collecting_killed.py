"""Collecting that is killed, followed, deleted from under, and fed by transactions: no row is lost, and none twice."""

import asyncio
import os
import random
import re
import signal
import subprocess
import time
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from apache_kafka import apache_kafka, needs_apache_kafka
from harness import ward
from waiting import PATIENCE_S, wait_until
from written_answers import COMMAND, collect, collected, environment, files, rejection, report, rows, send

from schemas.messages import encode_message
from schemas.topics import ECG_RISK
from stream.broker.clients import connection, ensure_topics
from stream.demo.embedded_servers import embedded_broker
from stream.settings import Settings

COUNT, FILE_ROWS = 3000, 40
KILLS = int(os.environ.get("TEST_KILLS", "4"))
"""Of a test: few in CI; 10 for the closing measurement."""

pytestmark = pytest.mark.servers


@pytest.fixture
def place(tmp_path, servers):
    with ward(tmp_path, servers) as there:
        yield there.settings


def start(settings, out, *options):
    command = [*COMMAND, "--out", str(out), *map(str, options)]
    return subprocess.Popen(command, env=environment(settings), stderr=subprocess.PIPE, text=True)


def test_killed_at_any_moment_and_started_again_it_has_the_rows_of_an_undisturbed_run(place, tmp_path):
    undisturbed, out, rng = tmp_path / "undisturbed", tmp_path / "out", random.Random(7)
    asyncio.run(send(place, *map(report, range(COUNT)), b"<html>", *map(rejection, range(COUNT, COUNT + 300))))
    asyncio.run(send(place, *map(report, range(0, COUNT, 3)), *map(rejection, range(COUNT, COUNT + 300, 3))))
    whole, _ = collected(place, undisturbed, "--file-rows", FILE_ROWS)
    assert (whole["screened"], whole["passed_over"]["repeated"]) == (COUNT, COUNT // 3 + 100)
    for _ in range(KILLS):
        process, wanted = start(place, out, "--file-rows", FILE_ROWS), len(files(out)) + rng.randrange(1, 9)
        wait_until(lambda: process.poll() is not None or len(files(out)) >= wanted, 0.001)  # noqa: B023
        time.sleep(rng.random() / 50)
        assert process.poll() is None
        process.kill()
        process.communicate()
    before = len(files(out))
    assert before < len(files(undisturbed))
    summary, _ = collected(place, out, "--file-rows", FILE_ROWS)
    same = ("screened", "refused", "passed_over", "models", "files")
    assert [summary[name] for name in same] == [whole[name] for name in same]
    assert [rows(out, table) for table in ("screened", "refused")] == [
        rows(undisturbed, table) for table in ("screened", "refused")
    ]
    again, _ = collected(place, out)
    assert (again["messages"], again["screened"]) == (0, COUNT)


def test_who_follows_gets_what_comes_and_sigterm_leaves_it_whole_and_is_no_failure(place, tmp_path):
    out = tmp_path / "out"
    process = start(place, out, "--follow", "--file-rows", 10)
    wait_until((out / "manifest.json").exists)
    asyncio.run(send(place, *map(report, range(25)), partition=0))
    wait_until(lambda: len(files(out)) >= 2)
    other = collect(place, out)
    assert other.returncode == 2
    assert f"another process collects into {out}" in other.stderr
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    first = len(rows(out))
    summary, _ = collected(place, out)
    assert (first + summary["messages"], summary["screened"]) == (25, 25)


def test_a_file_is_written_after_its_seconds_while_the_topics_are_followed(place, tmp_path):
    out = tmp_path / "out"
    process = start(place, out, "--follow", "--file-seconds", 1)
    wait_until((out / "manifest.json").exists)
    asyncio.run(send(place, report(1)))
    wait_until(lambda: len(files(out)) == 1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert [row["record_id"] for row in rows(out)] == ["r1"]


def test_when_the_broker_goes_what_was_read_is_written_and_the_end_is_a_sentence(tmp_path):
    out = tmp_path / "out"
    with embedded_broker(tmp_path) as (address, broker):
        settings = Settings.of(broker=address, partitions=1)
        asyncio.run(ensure_topics(settings.kafka))
        process = start(settings, out, "--follow", "--file-rows", 10)
        wait_until((out / "manifest.json").exists)
        asyncio.run(send(settings, *map(report, range(25))))
        wait_until(lambda: len(files(out)) == 2)
        broker.process.kill()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "Traceback" not in said
    assert f"Kafka at {address} does not say which topics it has" in said
    found = [row["record_id"] for row in rows(out)]
    assert len(found) > 20  # with what no file was full of
    assert found == [f"r{number}" for number in range(len(found))]


def test_a_topic_that_was_made_anew_is_not_taken_for_the_one_that_was_read(tmp_path):
    out = tmp_path / "out"
    for number in range(2):
        folder = tmp_path / f"broker-{number}"
        folder.mkdir()
        with embedded_broker(folder) as (address, _):  # which keeps nothing when it ends
            settings = Settings.of(broker=address, partitions=1)
            asyncio.run(ensure_topics(settings.kafka))
            asyncio.run(send(settings, *map(report, range(9 - 5 * number))))
            done = collect(settings, out)
    assert done.returncode == 1
    assert re.search(r"ends at offset [1-4], ", done.stderr)  # the broker may not show the last of the four yet
    assert f"{out} has it up to 8: the topic was made anew" in done.stderr
    assert len(rows(out)) == 9


@pytest.fixture(scope="module")
def apache(tmp_path_factory):
    """Give a place on Apache Kafka."""
    with apache_kafka(tmp_path_factory.mktemp("apache")) as address:
        settings = Settings.of(broker=address, partitions=1)
        asyncio.run(ensure_topics(settings.kafka))
        yield settings


@asynccontextmanager
async def transaction(settings, producer, *, commits):
    """Give what sends a report within a transaction."""

    async def within(number):
        headers = [("ce_lane", b"backfill")]
        await producer.send_and_wait(ECG_RISK, encode_message(report(number)), key=b"k", headers=headers)

    await producer.begin_transaction()
    yield within
    await (producer.commit_transaction() if commits else producer.abort_transaction())


async def write_in_transactions(settings):
    async with AIOKafkaProducer(**connection(settings.kafka), transactional_id="tests") as producer:
        for numbers, commits in ((range(3), True), (range(3, 6), False), (range(6, 9), True), (range(9, 12), False)):
            async with transaction(settings, producer, commits=commits) as write:
                for number in numbers:
                    await write(number)


async def delete_before(settings, offset):
    """Delete what retention would."""
    admin = AIOKafkaAdminClient(**connection(settings.kafka))
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(settings.kafka.topic(ECG_RISK), 0): RecordsToDelete(offset)})
    finally:
        await admin.close()


@needs_apache_kafka
def test_of_apache_kafkas_transactions_the_aborted_ones_are_left_out_and_what_it_deleted_is_counted(apache, tmp_path):
    out = tmp_path / "out"
    asyncio.run(write_in_transactions(apache))
    summary, _ = collected(apache, out)
    assert [row["record_id"] for row in rows(out)] == ["r0", "r1", "r2", "r6", "r7", "r8"]
    assert (summary["messages"], summary["deleted"]) == (6, {})
    (name,) = files(out)
    assert name.endswith(f"-{0:020}-{15:020}.parquet")  # with the four marks of the transactions' ends
    asyncio.run(send(apache, *map(report, range(20, 30))))
    asyncio.run(delete_before(apache, 20))
    summary, said = collected(apache, out)
    assert (summary["screened"], summary["messages"]) == (12, 6)
    assert summary["deleted"] == {"ecg.risk.v1-0": 4}
    assert "Kafka has deleted 4 offsets that were not read yet; ecg.risk.v1-0 begins at 20 now" in said
    done = collect(apache, out)
    assert done.returncode == 0
    assert "4 offsets were deleted by Kafka before they were read" in done.stderr


@needs_apache_kafka
def test_a_run_ends_before_an_open_transaction_and_the_next_one_has_what_it_committed(apache, tmp_path):
    out = tmp_path / "out"

    async def write():
        async with AIOKafkaProducer(**connection(apache.kafka), transactional_id="open") as producer:
            async with transaction(apache, producer, commits=True) as within:
                await within(500)
                first, _ = await asyncio.to_thread(collected, apache, out)
            return first

    first = asyncio.run(write())
    before = first["screened"]
    summary, _ = collected(apache, out)
    assert (summary["screened"], summary["messages"]) == (before + 1, 1)
    assert "r500" in {row["record_id"] for row in rows(out)}
