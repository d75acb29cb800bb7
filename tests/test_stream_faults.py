"""What the engine promises when things break, on a real broker, a real Redis and real worker processes."""

import asyncio
import os
import random
import signal
import sys
import time
from datetime import UTC, datetime

import psutil
import pytest
import zstandard
from harness import RECORDS, collect, ended, good_values, publish_values, ward

from engines.batcher import Lane
from inference.bundle import default_bundle, load_bundle
from inference.intake import take_in
from schemas.codec import decode_ecg
from schemas.topics import ECG_ALERTS, ECG_REJECTED, ECG_RISK
from stream.broker import clients as kafka
from stream.broker.ecg_publisher import EcgPublisher
from stream.demo.child_process import Child
from stream.demo.embedded_servers import free_port
from stream.demo.stage import await_worker
from stream.settings import as_environment

MOST_ROUNDS = 6
MAY_GO_FIRST = 64
"""Records of an archive: two batches that are formed already, those just taken, and what a busy machine adds."""

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900 + RECORDS)]  # TEST_RECORDS=5000 takes a while


def one_report_each(answers, values):
    """Assert that every record has one distinct report id, and none was rejected."""
    assert not answers.rejections
    assert answers.report_ids.keys() == values.keys()
    assert {len(ids) for ids in answers.report_ids.values()} == {1}


async def published_while(settings, values, disturb, *, after):
    """Publish, run `disturb` once `after` records are answered, and collect until all are."""
    await publish_values(settings, values)
    await collect(settings, until=lambda answers: answers.answered >= after, more_come=True)
    await asyncio.to_thread(disturb)
    return await collect(settings, until=lambda answers: answers.answered >= len(values))


def test_one_of_two_workers_killed_loses_nothing(tmp_path, broker):
    values = good_values(RECORDS)
    with ward(tmp_path, broker) as there:
        first, _ = there.start(), there.start()
        answers = asyncio.run(
            published_while(
                there.settings, values, lambda: first.process.send_signal(signal.SIGKILL), after=RECORDS // 4
            )
        )
    one_report_each(answers, values)


def test_sigterm_under_load_ends_cleanly_loses_nothing_and_leaves_nothing(tmp_path, broker, monkeypatch):
    values = good_values(RECORDS)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with ward(tmp_path, broker) as there:
        first = there.start()
        codes = []

        def hand_over():
            codes.append(ended(first))
            there.start()

        answers = asyncio.run(published_while(there.settings, values, hand_over, after=RECORDS // 4))
    assert codes == [0]
    one_report_each(answers, values)
    assert not list(here.iterdir())


def test_a_broker_that_is_frozen_for_longer_than_a_session_is_waited_for(tmp_path, broker):
    values = good_values(RECORDS)
    with ward(tmp_path, broker, session_timeout_s=3.0) as there:
        worker = there.start()

        def freeze():
            there.broker.process.send_signal(signal.SIGSTOP)
            time.sleep(5)  # more than a session lasts, and than a heartbeat waits for its answer
            there.broker.process.send_signal(signal.SIGCONT)

        answers = asyncio.run(published_while(there.settings, values, freeze, after=RECORDS // 4))
        assert worker.running
    one_report_each(answers, values)


@pytest.mark.any_broker
def test_with_redis_gone_screening_and_alerts_go_on(tmp_path, broker):
    values = good_values(RECORDS)
    with ward(tmp_path, broker, own=("redis",)) as there:
        there.start()
        answers = asyncio.run(published_while(there.settings, values, there.redis.stop, after=RECORDS // 4))
    one_report_each(answers, values)
    flagged = sum(any(risk.flagged for risk in report.risks) for report in answers.reports.values())
    assert flagged
    assert answers.counts[ECG_ALERTS] >= flagged


@pytest.mark.any_broker
def test_an_engine_that_raises_now_and_then_costs_no_record_but_the_hopeless_one(tmp_path, broker):
    values = good_values(RECORDS)
    victim = decode_ecg(list(values.values())[RECORDS // 2][1])
    n_crops = load_bundle(default_bundle()).manifest.input.n_crops
    first_value = float(take_in([victim], n_crops).inputs[0, 0, 0, 0])
    with ward(tmp_path, broker, engine_tries=6, retry_backoff_s=0.01) as there:
        settings = there.settings.changed(http_port=free_port())
        environment = as_environment(settings) | {"VICTIM": repr(first_value)}
        command = [sys.executable, os.path.join(os.path.dirname(__file__), "faulty_worker.py")]
        with Child(command, log=tmp_path / "faulty.log", environment=environment) as worker:
            await_worker(worker, settings)
            asyncio.run(publish_values(settings, values))
            answers = asyncio.run(collect(settings, until=lambda a: a.answered >= len(values)))
            assert worker.running
    (rejection,) = answers.rejections.values()
    assert (rejection.code, rejection.record_id) == ("engine_failed", victim.record_id)
    assert answers.report_ids.keys() == values.keys() - {victim.record_id}


def test_an_ecg_from_a_bedside_does_not_wait_for_an_archive(tmp_path, broker, monkeypatch):
    """All of the archive has been fetched when it comes: what one of two lanes waits for, the other must not."""
    archive, bedside = good_values(6 * RECORDS), good_values(1, seed=8)

    async def publish_and_collect(settings):
        with monkeypatch.context() as patch:  # in large batches: the embedded broker hands out one a fetch
            patch.setattr(kafka, "BATCH_BYTES", broker.kind.batch_bytes)
            patch.setattr(kafka, "LINGER_MS", 5000)
            await publish_values(settings, archive, Lane.BACKFILL)
        async with EcgPublisher(settings.kafka, Lane.REALTIME) as publisher:  # connected before the archive is begun
            await collect(settings, until=lambda answers: answers.answered >= RECORDS // 10, more_come=True)
            for record_id, (key, value) in bedside.items():
                await publisher.send_value(value, key=key, record_id=record_id)
            await publisher.flush()
        sent_at = datetime.now(UTC)
        return sent_at, await collect(settings, until=lambda answers: answers.answered > len(archive))

    with ward(tmp_path, broker) as there:
        there.start()
        sent_at, answers = asyncio.run(publish_and_collect(there.settings))
    one_report_each(answers, archive | bedside)
    (urgent,) = bedside
    made = [answers.reports[record_id].created_at for record_id in archive]
    answered_at = answers.reports[urgent].created_at
    assert sum(sent_at < at < answered_at for at in made) < MAY_GO_FIRST
    assert sum(at > answered_at for at in made) > MAY_GO_FIRST  # there was an archive to wait for


def hostile_values(count, good):
    """Return messages that are no ECG records, of every kind we know."""
    rng = random.Random(5)
    value = next(iter(good.values()))[1]
    bomb = zstandard.compress(bytes(50 * 2**20))
    kinds = [
        lambda: rng.randbytes(rng.randrange(1, 2000)),
        lambda: value[: rng.randrange(1, len(value) - 1)],
        lambda: b"",
        lambda: value + b"trailing",
        lambda: value[:200] + bomb,
        lambda: value[:100] + b"\xff\xff\xff\x2f" + value[104:],
        lambda: b"\x00\x00\x00\x00\x07" + rng.randbytes(300),
        lambda: b'{"record_id": "json, not Avro"}',
    ]
    return {f"hostile-{n}": (None, kinds[n % len(kinds)]()) for n in range(count)}


def mixed_values(number):
    """Return a round of good records and as many hostile messages, shuffled."""
    good = good_values(RECORDS, seed=100 + number)
    hostile = {f"{name}-{number}": value for name, value in hostile_values(RECORDS, good_values(1)).items()}
    mixed = list((good | hostile).items())
    random.Random(3).shuffle(mixed)
    return dict(mixed)


def test_hostile_messages_are_rejected_one_by_one_and_memory_stays_flat(tmp_path, broker):
    """Queues and buffers fill up during the first rounds, more slowly on a busy machine; a leak grows in each."""
    with ward(tmp_path, broker) as there:
        worker = there.start()
        memory = []
        for rounds in range(1, MOST_ROUNDS + 1):
            asyncio.run(publish_values(there.settings, mixed_values(rounds)))
            answers = asyncio.run(collect(there.settings, until=lambda a: a.answered >= rounds * 2 * RECORDS))  # noqa: B023
            assert len(answers.report_ids) == rounds * RECORDS
            memory.append(psutil.Process(worker.process.pid).memory_info().rss)
            if rounds > 1 and memory[-1] < memory[-2] * 1.1:
                break
        assert worker.running
    assert answers.counts[ECG_RISK] == len(answers.report_ids) == rounds * RECORDS
    assert answers.counts[ECG_REJECTED] == len(answers.rejections) == rounds * RECORDS
    assert {r.code for r in answers.rejections.values()} <= {
        "empty_value", "foreign_framing", "malformed_record", "oversized_record", "unknown_schema",
    }  # fmt: skip
    assert memory[-1] < memory[-2] * 1.1
    print("memory", *(f"{size / 2**20:.0f} MiB" for size in memory))
