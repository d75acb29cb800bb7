"""`make bench-kafka ARGS=handover`: for how long answers stay away when workers join, leave and are killed, under load.

ECGs come at a steady rate. What is said of each event is the longest time without any answer, and the longest that an
ECG has waited for its answer, from the event on.
"""

import asyncio
import itertools
import tempfile
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import msgspec

from schemas.codec import encode_ecg
from schemas.messages import RiskReport, decode_message
from schemas.topics import ECG_RISK, record_key
from stream.broker.clients import ensure_topics, new_consumer, new_producer
from stream.broker.rate_limit import Pace
from stream.demo.embedded_servers import embedded_broker, embedded_redis, free_port
from stream.demo.stage import await_worker, start_worker
from stream.settings import Settings
from training.simulation.ecg import generate_ecgs

from .apache_kafka import apache_kafka, jars

DISTINCT = 60
QUIET_S = 4.0
"""How long the load runs undisturbed before an event."""
WATCHED_S = 16.0
"""How long an event is watched."""


def handover(options, show):
    """Let a third worker join, let one leave, and kill one, on each kind of broker."""
    brokers = {"embedded": embedded} | ({"Apache Kafka": apache_kafka} if jars() else {})
    return {name: events_on(run, options, partial(show, f"{name}:")) for name, run in brokers.items()}


@contextmanager
def embedded(folder):
    """Run the embedded broker as Apache Kafka is run."""
    with embedded_broker(folder) as (address, _):
        yield address


def events_on(run, options, show):
    """Return the seconds of each event on one kind of broker."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        broker = stack.enter_context(run(folder))
        redis, _ = stack.enter_context(embedded_redis(folder))
        changes = {"heartbeat_interval_s": options.heartbeat_s} if options.heartbeat_s else {}
        settings = Settings.of(broker=broker, redis=redis, threads=1, **changes)
        asyncio.run(ensure_topics(settings.kafka))
        numbers = itertools.count()

        def start():
            own = settings.changed(http_port=free_port())
            child = stack.enter_context(start_worker(own, folder / f"worker-{next(numbers)}.log"))
            return child, own

        workers = [start() for _ in range(2)]
        for child, own in workers:
            await_worker(child, own)
        return asyncio.run(measured(settings, options.rate, workers, start, show))


async def measured(settings, rate_hz, workers, start, show):
    """Return the longest silence and the longest wait of each event, under load."""
    load, found = Load(settings, rate_hz), {}
    async with asyncio.TaskGroup() as tasks:
        jobs = [tasks.create_task(job()) for job in (load.send, load.read)]
        await load.until_answered(20)
        for name, event in (("joins", start), ("leaves", workers[1][0].process.terminate), ("is killed", None)):
            await asyncio.sleep(QUIET_S)
            begun = time.monotonic()
            made = (event or workers[0][0].process.kill)()
            if name == "joins":
                await asyncio.to_thread(await_worker, *made)
            await asyncio.sleep(WATCHED_S)
            silence, wait = load.worst_since(begun)
            show(f"a worker {name:10s} longest silence {silence:5.2f} s, longest wait {wait:5.2f} s at {rate_hz:g}/s")
            found[name] = {"silence_s": silence, "wait_s": wait}
        for job in jobs:
            job.cancel()
    return found


class Load:
    """ECGs at a steady rate, and when each was answered."""

    def __init__(self, settings, rate_hz):
        self._settings, self._rate_hz = settings, rate_hz
        self._sent, self._answered = {}, {}

    async def send(self):
        """Send for ever."""
        pace, ecgs = Pace(self._rate_hz), list(generate_ecgs(DISTINCT, seed=5))
        async with new_producer(self._settings.kafka) as producer:
            for number, ecg in enumerate(itertools.cycle(ecgs)):
                await pace.step()
                named = msgspec.structs.replace(ecg, record_id=f"handover-{number}")
                self._sent[named.record_id] = time.monotonic()
                await producer.send("ecg.records.v1", encode_ecg(named), key=record_key(named))

    async def read(self):
        """Note each answer, for ever."""
        async with new_consumer(self._settings.kafka, [ECG_RISK], auto_offset_reset="earliest") as consumer:
            async for message in consumer:
                name = decode_message(RiskReport, message.value).record_id
                self._answered.setdefault(name, time.monotonic())

    async def until_answered(self, count):
        """Return when so many are answered."""
        while len(self._answered) < count:
            await asyncio.sleep(0.05)

    def worst_since(self, begun):
        """Return the longest time without an answer, and the longest that an ECG has waited, since then."""
        now = time.monotonic()
        times = [begun, *sorted(at for at in self._answered.values() if at >= begun), now]
        silence = max(later - earlier for earlier, later in itertools.pairwise(times))
        waits = [self._answered.get(name, now) - at for name, at in self._sent.items() if at >= begun - 1]
        return silence, max(waits)
