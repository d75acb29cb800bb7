"""What the parts of `make bench` stand on: servers, a backlog, the worker, and the engine alone."""

import asyncio
import contextlib
import itertools
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from engines.batcher import Lane
from engines.catalog import rows_wanted
from engines.options import EngineOptions
from inference.bundle import default_bundle, load_bundle
from inference.intake import take_in
from inference.open_engine_for_bundle import open_chosen_engine
from schemas.codec import encode_ecg
from schemas.topics import ECG_RISK, record_key
from stream.blas_kernels import choose_blas_kernels
from stream.broker.clients import ensure_topics, new_consumer
from stream.broker.ecg_publisher import EcgPublisher
from stream.demo.child_process import Child
from stream.demo.embedded_servers import embedded_broker, embedded_redis, free_port
from stream.demo.stage import await_worker, start_worker
from stream.settings import PREFIX, Settings, as_environment
from training.simulation.ecg import generate_ecgs


class Servers(NamedTuple):
    """Fresh servers: settings that point at them, a folder for logs, and the servers' process ids by name."""

    settings: Settings
    folder: Path
    pids: dict[str, int]


class Alone(NamedTuple):
    """What the engine does by itself: records a second, and milliseconds of processor a record."""

    per_s: float
    processor_ms: float


def engine_alone(options, ecgs):
    """Return what the worker's engine does on finished arrays, in the worker's batches."""
    bundle = load_bundle(default_bundle())
    n_crops = bundle.manifest.input.n_crops
    with contextlib.closing(open_chosen_engine(bundle, options.settings.get("engine"), EngineOptions())) as engine:
        batch = rows_wanted(engine.name) // n_crops
        inputs = take_in(ecgs[:batch], n_crops).inputs.reshape(batch * n_crops, 12, -1)
        engine.warm_up(len(inputs))
        engine.run(inputs)
        start, spent, done = time.perf_counter(), time.process_time(), 0
        while (elapsed := time.perf_counter() - start) < options.seconds:
            engine.run(inputs)
            done += batch
        return Alone(done / elapsed, 1e3 * (time.process_time() - spent) / done)


@contextlib.contextmanager
def servers(options):
    """Give fresh servers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_broker = getattr(options, "run_broker", embedded_broker)
        with run_broker(folder) as (broker, of_broker), embedded_redis(folder) as (redis, of_redis):
            settings = Settings.of(broker=broker, redis=redis, http_port=free_port(), partitions=4, **options.settings)
            asyncio.run(ensure_topics(settings.kafka))
            yield Servers(settings, folder, {"broker": of_broker.process.pid, "Redis": of_redis.process.pid})


def whole_way(options, values, records, start):
    """Return records/s over a full backlog, by the answers' own Kafka timestamps; nobody reads while it runs."""
    with servers(options) as (settings, folder, _):
        asyncio.run(publish(settings, values, records))
        with start(settings, folder) as worker:
            return steady_rate(options, asyncio.run(answer_times(options, settings, records, worker)))


def steady_rate(options, stamps):
    """Return answers/s between the times of a backlog's answers, without the first."""
    steady = np.sort(stamps)[options.warm :]
    return (len(steady) - 1) / max(steady[-1] - steady[0], 1e-3)  # the times are of whole milliseconds


def start_our_worker(settings, folder):
    """Start the worker as a user does."""
    worker = start_worker(settings, folder / "worker.log")
    await_worker(worker, settings)
    return worker


def start_bench_worker(settings, folder, *arguments):
    """Start a worker of the bench's own, `tests/bench_worker.py`."""
    command = [sys.executable, "-m", "tests.bench_worker", *map(str, arguments)]
    environment = {**os.environ, **as_environment(settings)}
    choose_blas_kernels(environment)  # as the command does for a user's worker
    worker = Child(command, log=folder / "bench-worker.log", environment=environment)
    await_worker(worker, settings)
    return worker


def start_newcomer(settings, folder):
    """Start the newcomer's loop."""
    program = str(Path(__file__).with_name("newcomer.py"))
    command = [sys.executable, program, "--datadir", str(folder / "newcomer-data"), "worker", "-l", "error"]
    return Child(command, log=folder / "newcomer.log", environment={f"{PREFIX}BROKER": settings.kafka.broker})


async def publish(settings, values, records):
    """Publish `records` records, the distinct ones over and over."""
    async with EcgPublisher(settings.kafka, Lane.REALTIME) as publisher:
        for record_id, key, value in itertools.islice(itertools.cycle(values), records):
            await publisher.send_value(value, key=key, record_id=record_id)
        await publisher.flush()


async def answer_times(options, settings, count, worker):
    """Return the seconds at which so many answers were written (Tansu's end offsets count batches: read, not ask)."""
    stamps = []
    async with new_consumer(settings.kafka, [ECG_RISK], auto_offset_reset="earliest") as consumer:
        while len(stamps) < count:
            if not worker.running:
                raise SystemExit(worker.last_words())
            await asyncio.sleep(options.poll_s)
            for messages in (await consumer.getmany(timeout_ms=100)).values():
                stamps += [message.timestamp / 1e3 for message in messages]
    return stamps


def encoded_apart(options, records, first=0):
    """Return id, key and value of so many records, the distinct ECGs over and over, each under an id of its own."""
    cycled = itertools.islice(itertools.cycle(generate_ecgs(options.distinct, seed=2)), records)
    ecgs = [msgspec.structs.replace(ecg, record_id=f"bench-{n}") for n, ecg in enumerate(cycled, start=first)]
    return [(ecg.record_id, record_key(ecg), encode_ecg(ecg)) for ecg in ecgs]


def processor_seconds(process):
    """Return what a process has used."""
    times = process.cpu_times()
    return times.user + times.system
