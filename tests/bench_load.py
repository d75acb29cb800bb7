"""The bench's part `load`: what a report takes as the load grows. And the client that loads the worker."""

import asyncio
import contextlib
import itertools
import time
from collections import defaultdict, deque
from typing import NamedTuple

import numpy as np

from engines.batcher import Lane
from schemas.messages import RiskReport, decode_message
from schemas.topics import ECG_RISK
from stream.broker.clients import new_consumer
from stream.broker.ecg_publisher import EcgPublisher

from .bench_stage import servers, start_our_worker

SHARES = (0.10, 0.25, 0.50, 0.80, 0.95)
WARM_SHARE = 0.25
PATIENCE_S = 120.0


class Asked(NamedTuple):
    """When a record was due, and when its answer came, in seconds of one clock."""

    due: float
    answered: float


class Closed(NamedTuple):
    """What a closed loop found: answers a second, the seconds that each of those took, and how many were asked for."""

    per_s: float
    seconds: np.ndarray
    asked: int


def load(options, values, show):
    """Show the curve: Poisson arrivals at shares of the capacity, which is measured before and after."""
    with servers(options) as (settings, folder, _), start_our_worker(settings, folder):
        curve, capacities = asyncio.run(curve_of(options, settings, values))
    show(f"capacity                {capacities[0]:8.1f} records/s, {capacities[1]:.1f} after the curve")
    show("load    records/s  records    p50 ms    p99 ms    max ms  jitter ms  client late, p99 ms")
    for point in curve:
        figures = [point[name] for name in ("p50_ms", "p99_ms", "max_ms", "jitter_ms", "client_late_p99_ms")]
        shown = "".join(f"{figure:{width}.1f}" for figure, width in zip(figures, (10, 10, 10, 11, 21), strict=True))
        show(f"{point['share']:4.0%}   {point['per_s']:10.1f}{point['records']:9d}{shown}")
    return {"load": {"capacity_per_s": capacities, "curve": curve}}


async def curve_of(options, settings, values):
    """Return the points of the curve, and the two capacities."""
    async with client(settings, values) as of_ours:
        capacities = [(await closed_loop(of_ours.ask, options.seconds, options.in_flight)).per_s]
        rng, curve = np.random.default_rng(19), []
        for share in SHARES:
            per_s = min(share * capacities[0], options.most_per_s)
            due = np.cumsum(rng.exponential(1 / per_s, max(round(per_s * options.load_seconds), 2)))
            curve.append({"share": share, "per_s": per_s, **await of_ours.at_instants(due)})
        capacities.append((await closed_loop(of_ours.ask, options.seconds, options.in_flight)).per_s)
    return curve, capacities


@contextlib.asynccontextmanager
async def client(settings, values):
    """Give a client of the worker, which publishes and reads in this process."""
    async with (
        new_consumer(settings.kafka, [ECG_RISK], auto_offset_reset="earliest") as consumer,
        EcgPublisher(settings.kafka, Lane.REALTIME) as publisher,
        asyncio.TaskGroup() as tasks,
    ):
        of_ours = Client(publisher, values)
        reading = tasks.create_task(of_ours.read(consumer))
        yield of_ours
        reading.cancel()


class Client:
    """Publishes the same records over and over, and waits for their reports. Reports to one id come in its order."""

    def __init__(self, publisher, values):
        self._publisher = publisher
        self._values = itertools.cycle(values)
        self._waiting = defaultdict(deque)

    async def read(self, consumer):
        """Tell those who wait, for ever."""
        async for message in consumer:
            now = time.monotonic()
            waiting = self._waiting[decode_message(RiskReport, message.value).record_id]
            waiting.popleft().set_result(now)

    async def send(self):
        """Publish the next record, and return the future of the instant at which its report is read."""
        record_id, key, value = next(self._values)
        answered = asyncio.get_running_loop().create_future()
        self._waiting[record_id].append(answered)
        await self._publisher.send_value(value, key=key, record_id=record_id)
        return answered

    async def ask(self):
        """Publish the next record, and wait for its report."""
        await (await self.send())

    async def at_instants(self, due):
        """Publish a record at each instant, whatever came of the ones before; return what the reports took.

        What a report took counts from the instant at which its record was due, not from when we managed to send it. So
        a worker that stands still is charged for every record that came meanwhile.
        """
        due, sent, answers = time.monotonic() + due, [], []
        for instant in due:
            await asyncio.sleep(max(0.0, instant - time.monotonic()))
            answers.append(await self.send())
            sent.append(time.monotonic())
        async with asyncio.timeout(PATIENCE_S):
            answered = await asyncio.gather(*answers)
        return percentiles(np.array(answered) - due) | {
            "client_late_p99_ms": 1e3 * percentile(np.array(sent) - due, 99)
        }


async def closed_loop(ask, seconds, in_flight):
    """Ask over and over, so many at once, for so many seconds or longer: until each place has had three answers.

    The first quarter of the time is not counted, nor is each place's first answer.
    """
    begun, asked = time.monotonic(), []
    until = begun + seconds * (1 + WARM_SHARE)

    async def one():
        while (due := time.monotonic()) < until or len(asked) < 3 * in_flight:
            await ask()
            asked.append(Asked(due, time.monotonic()))

    async with asyncio.timeout(PATIENCE_S + seconds):
        await asyncio.gather(*(one() for _ in range(in_flight)))
    counted = [one for one in asked[in_flight:] if one.answered >= begun + seconds * WARM_SHARE]
    due, answered = np.array(counted).T
    return Closed(slope(answered), answered - due, len(asked))


def slope(instants):
    """Return how many instants lie in a second: the slope of their count, since answers come in waves of a batch."""
    return float(np.polyfit(instants - instants[0], np.arange(len(instants)), 1)[0])


def percentiles(seconds):
    """Return what is told of latencies. Jitter: how much one record's differs from the one's before, on average."""
    return {
        "records": len(seconds),
        "p50_ms": 1e3 * percentile(seconds, 50),
        "p99_ms": 1e3 * percentile(seconds, 99),
        "max_ms": 1e3 * float(np.max(seconds)),
        "jitter_ms": 1e3 * float(np.abs(np.diff(seconds)).mean()),
    }


def percentile(seconds, share):
    """Return a percentile."""
    return float(np.percentile(seconds, share))
