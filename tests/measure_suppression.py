"""How soon a worker knows what another one raised: `python tests/measure_suppression.py [host:port]`.

Without an address it runs the embedded broker. Prints milliseconds from the broker's confirmation, and what it costs.
"""

import asyncio
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from keepers import alert, publish_to
from test_stream_alert_topics import Worker

from engines.batcher import Lane
from schemas.topics import ECG_ALERTS
from stream.broker.clients import ensure_topics, new_producer
from stream.demo.embedded_servers import embedded_broker
from stream.settings import Settings

ALERTS = 200
MANY = 5_000


async def measure(settings):
    """Raise alerts one by one, and wait for each of them to be known; then many at once."""
    await ensure_topics(settings.kafka)
    worker, waits = Worker(settings), []
    async with worker.topics, new_producer(settings.kafka) as producer:
        judge = worker.judges[Lane.REALTIME]
        for number in range(ALERTS):
            await asyncio.sleep(0.05)
            await publish_to(producer, ECG_ALERTS, alert(f"a{number}", subject=f"p{number}"))
            since = time.perf_counter()
            while not judge.knows(f"a{number}"):
                await asyncio.sleep(0.0005)
            waits.append(1000 * (time.perf_counter() - since))
        p50, p95, p99 = np.percentile(waits, [50, 95, 99])
        print(f"known to another worker after p50 {p50:.1f}  p95 {p95:.1f}  p99 {p99:.1f} ms, of {ALERTS}")
        names = [f"b{number}" for number in range(MANY)]
        await publish_to(producer, ECG_ALERTS, *(alert(name, subject=name) for name in names))
    began, spent = time.perf_counter(), time.process_time()
    async with Worker(settings).topics:
        print(f"a worker that starts has read {ALERTS + MANY} alerts after {time.perf_counter() - began:.2f} s")
    spent = 1e6 * (time.process_time() - spent) / (ALERTS + MANY)
    print(f"reading and learning an alert takes at most {spent:.0f} µs of a core")
    one = alert("c", subject="c")
    began = time.perf_counter()
    for number in range(10_000):
        judge.decide(alert_of(one, number), datetime.now(UTC))
    print(f"a decision takes {1e2 * (time.perf_counter() - began):.1f} µs, with the alert that is decided on")


def alert_of(one, number):
    """Return another alert of its own patient."""
    return type(one)(**{name: getattr(one, name) for name in one.__struct_fields__} | {"identifier": f"c{number}"})


if __name__ == "__main__":
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address = sys.argv[1] if len(sys.argv) > 1 else stack.enter_context(embedded_broker(folder))[0]
        asyncio.run(measure(Settings.of(broker=address, topic_prefix=f"measured-{time.time_ns()}.")))
