"""What the cmr-worker promises when things break, on a real broker, a real Redis and real worker processes."""

import asyncio
import contextlib
import os
import signal
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import redis
from contract import validate_message
from fake_generator import FakeGenerator
from harness import REST_MS, acknowledged, ended, ward
from sample_cine import sample_cine, sample_request
from waiting import PATIENCE_S, wait_until

from inference.bundle import default_bundle, load_bundle
from inference.generator import CineGenerator
from schemas.messages import CmrResult, decode_message, encode_message
from schemas.topics import CMR_REQUESTS, CMR_RESULTS
from stream.broker.clients import new_consumer, new_producer
from stream.cines.store import CineStore, lock_key
from stream.cines.worker import NICENESS
from stream.demo.child_process import Child
from stream.demo.embedded_servers import embedded_redis, free_port
from stream.demo.stage import await_worker
from stream.settings import as_environment

SHIPPED = """
import os
from stream.cines.worker import run_cine_worker
from stream.settings import load_settings
run_cine_worker(load_settings(os.environ))
"""

pytestmark = pytest.mark.servers


@dataclass
class Studio:
    """A ward with cmr-workers whose generator is slow and tells what it draws."""

    ward: object
    workers: list = field(default_factory=list)

    @property
    def settings(self):
        return self.ward.settings

    @property
    def drawn(self):
        """(process, seed) of every drawing that was begun."""
        log = self.ward.folder / "drawn"
        return [tuple(map(int, line.split())) for line in log.read_text().splitlines()] if log.exists() else []

    def start(self, *, drawing_s=0.2):
        """Start one more worker, ready."""
        own = {"DRAWING_S": str(drawing_s), "DRAWN_LOG": str(self.ward.folder / "drawn")}
        return self.run([str(Path(__file__).with_name("slow_cine_worker.py"))], own)

    def start_shipped(self):
        """Start one more worker as users do, with the generator that is shipped."""
        return self.run(["-c", SHIPPED], {})

    def run(self, command, environment):
        settings = self.settings.changed(http_port=free_port())
        log = self.ward.folder / f"cmr-worker-{len(self.workers)}.log"
        worker = Child([sys.executable, *command], log=log, environment=as_environment(settings) | environment)
        self.ward.workers.append(worker)
        self.workers.append(worker)
        await_worker(worker, settings)
        worker.settings = settings
        return worker


@contextlib.contextmanager
def studio(folder, servers=None, **changes):
    with ward(folder, servers, **changes) as there:
        yield Studio(there)


def request_cines(settings, *values):
    """Publish (key, value) pairs of requests."""
    asyncio.run(_publish(settings, values))


async def _publish(settings, values):
    async with new_producer(settings.kafka) as producer:
        for key, value in values:
            await producer.send_and_wait(CMR_REQUESTS, value, key=key)


def as_messages(*names, patient=None):
    """Return requests: of one patient, or each of another."""
    return [((patient or name).encode(), encode_message(sample_request(name))) for name in names]


def results_of(settings, until, *, requests=0):
    """Return every result from the topic's beginning, once there are enough and so many requests are acknowledged."""
    return asyncio.run(_collect(settings, until, requests))


async def _collect(settings, until, requests):
    results, last = [], time.monotonic()
    async with new_consumer(settings.kafka, [CMR_RESULTS], auto_offset_reset="earliest") as consumer:

        async def take(timeout_ms):
            for messages in (await consumer.getmany(timeout_ms=timeout_ms)).values():
                for message in messages:
                    validate_message(settings.kafka.name_of(message.topic), message.value)
                    results.append(decode_message(CmrResult, message.value))

        while not until(results) and time.monotonic() - last < PATIENCE_S:
            await take(200)
        await acknowledged(settings.kafka, settings.cine_group, [CMR_REQUESTS], max(requests, len(results)))
        await take(REST_MS)
    return results


def at_least(count):
    return lambda results: len({result.request_id for result in results}) >= count


def fetch(settings, record_id):
    """Return a cine from Redis."""

    async def get():
        async with CineStore(settings.redis, ttl_s=settings.cines.ttl_s) as store:
            return await store.get(record_id)

    return asyncio.run(get())


def metrics_of(worker):
    """Return what the worker tells Prometheus."""
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.settings.process.http_port}/metrics") as answer:
        return answer.read().decode()


def test_requests_are_drawn_once_each_whatever_is_among_them_and_sigterm_ends_it_cleanly(tmp_path, broker):
    names = [f"record-{n}" for n in range(6)]
    garbled = [(b"x", b"\xff no request"), (b"x", b""), (b"x", b'{"request_id": "q", "embedding": [1]}')]
    with studio(tmp_path, broker) as there:
        worker = there.start()
        assert psutil.Process(worker.process.pid).nice() == min(19, NICENESS + os.nice(0))
        request_cines(there.settings, *garbled, *as_messages(*names), *as_messages("record-0"), *garbled)
        results = results_of(there.settings, lambda results: len(results) >= len(names) + 1, requests=13)
        assert sorted(result.record_id for result in results) == sorted([*names, "record-0"])
        assert {result.status for result in results} == {"generated"}
        assert len(there.drawn) == len(names)
        cine = fetch(there.settings, "record-3")
        assert (cine.frames == sample_cine(sample_request("record-3")).frames).all()
        metrics = metrics_of(worker)
        assert 'cardiacnets_cine_requests_total{outcome="generated"} 7.0' in metrics
        assert 'outcome="malformed_request"} 6.0' in metrics
        log = worker.log.read_text()
        assert ended(worker) == 0
        assert "record-" not in log
        # Everything was acknowledged: a worker that comes later has nothing to do.
        there.start()
        request_cines(there.settings, *as_messages("later"))
        assert len(results_of(there.settings, at_least(len(names) + 1))) == len(results) + 1


def test_a_worker_killed_in_mid_job_is_replaced_by_another_and_there_is_one_result(tmp_path, broker):
    names = [f"record-{n}" for n in range(8)]
    with studio(tmp_path, broker) as there:
        first = there.start(drawing_s=1.0)
        there.start(drawing_s=0.1)
        request_cines(there.settings, *as_messages(*names))
        wait_until(lambda: first.process.pid in [process for process, _ in there.drawn])
        first.process.send_signal(signal.SIGKILL)
        results = results_of(there.settings, at_least(len(names)))
        assert {result.record_id for result in results} == set(names)
        assert {result.status for result in results} == {"generated"}
        ids = {result.record_id: result.request_id for result in results}
        assert all(result.request_id == ids[result.record_id] for result in results)
        drawn = [seed for _, seed in there.drawn]
        interrupted = [seed for process, seed in there.drawn if process == first.process.pid][-1]
        assert drawn.count(interrupted) == 2
        assert len(drawn) <= len(names) + 1


def test_a_worker_that_is_told_to_end_finishes_its_drawing_and_leaves_the_rest_to_another(tmp_path, broker):
    names = [f"record-{n}" for n in range(5)]
    with studio(tmp_path, broker) as there:
        first = there.start(drawing_s=0.7)
        request_cines(there.settings, *as_messages(*names, patient="one"))
        wait_until(lambda: there.drawn)
        assert ended(first) == 0
        begun = len(there.drawn)
        assert begun < len(names)
        there.start(drawing_s=0.05)
        results = results_of(there.settings, at_least(len(names)))
        assert sorted(result.record_id for result in results) == names
        assert len(there.drawn) == len(names)


@pytest.mark.any_broker
def test_a_redis_that_is_killed_and_started_again_costs_nothing_but_time(tmp_path, broker):
    with studio(tmp_path, broker, own=("redis",)) as there:
        worker = there.start()
        request_cines(there.settings, *as_messages("before"))
        results_of(there.settings, at_least(1))
        there.ward.redis.process.kill()
        there.ward.redis.process.wait()
        request_cines(there.settings, *as_messages("record-0", "record-1"))
        wait_until(lambda: "cardiacnets_held_requests 0.0" not in metrics_of(worker))
        assert len(results_of(there.settings, at_least(1))) == 1
        port = int(there.settings.redis.url.rpartition(":")[2].removesuffix("/0"))
        with embedded_redis(tmp_path, port=port):
            results = results_of(there.settings, at_least(3))
            assert {result.status for result in results} == {"generated"}
            assert fetch(there.settings, "record-1")
        assert worker.running


@pytest.mark.any_broker
def test_a_full_redis_and_one_that_stays_away_fail_the_request_with_a_code_and_the_worker_lives(tmp_path, broker):
    with studio(tmp_path, broker, own=("redis",), cine_deadline_s=1.0) as there:
        worker = there.start()
        with redis.Redis.from_url(there.settings.redis.url) as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "1mb")
            request_cines(there.settings, *as_messages("too-much"))
            (full,) = results_of(there.settings, at_least(1))
            client.config_set("maxmemory", "256mb")
            assert not client.exists(lock_key(full.request_id))
        request_cines(there.settings, *as_messages("fits"))
        _, fits = results_of(there.settings, at_least(2))
        there.ward.redis.stop()
        request_cines(there.settings, *as_messages("nowhere"))
        *_, gone = results_of(there.settings, at_least(3))
        assert [(r.record_id, r.code) for r in (full, fits, gone)] == [
            ("too-much", "redis_full"),
            ("fits", None),
            ("nowhere", "redis_unavailable"),
        ]
        assert gone.model == FakeGenerator.reference
        assert worker.running


@pytest.mark.any_broker
def test_the_shipped_generator_draws_the_same_cine_in_a_worker_as_in_this_process(tmp_path, broker):
    with studio(tmp_path, broker) as there:
        there.start_shipped()
        foreign = sample_request("record-0")
        request = sample_request("record-0", load_bundle(default_bundle()).reference)
        request_cines(there.settings, (b"p", encode_message(foreign)), (b"p", encode_message(request)))
        refused, result = results_of(there.settings, lambda results: len(results) >= 2)
        assert (refused.status, refused.code) == ("failed", "foreign_embedding")
        assert (result.status, result.code) == ("generated", None)
        cine = fetch(there.settings, "record-0")
    generator = CineGenerator.load()
    assert result.model == cine.provenance.generator == generator.reference
    assert (cine.frames == sample_cine(request, generator).frames).all()
    print(f"drawn in {result.seconds:.2f} s, {result.size_bytes} bytes")
