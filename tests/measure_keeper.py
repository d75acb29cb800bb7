"""What many alerts cost a keeper: `python tests/measure_keeper.py [alerts]`. Prints seconds and memory.

All alerts are due in the same second, which is the worst case: after an hour without a keeper it is so.
"""

import asyncio
import re
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil
from keepers import alert, alerts_topic, publish_to

from schemas.topics import ECG_ALERTS
from stream.broker.clients import ensure_topics, new_producer
from stream.demo.embedded_servers import embedded_broker, free_port
from stream.demo.stage import await_worker, start_worker
from stream.settings import Settings

AT_ONCE = 1_000


def show(words, value, unit):
    """Print a figure."""
    print(f"{words:60s} {value:8.2f} {unit}", flush=True)


async def measure(settings, folder, number):
    """Keep so many alerts."""
    await ensure_topics(settings.kafka)
    async with new_producer(settings.kafka) as producer, alerts_topic(settings) as topic:
        began = time.monotonic()
        for start in range(0, number, AT_ONCE):
            names = range(start, min(number, start + AT_ONCE))
            await publish_to(producer, ECG_ALERTS, *(alert(f"a{n}", subject=f"p{n}") for n in names))
        show(f"{number} alerts published without a keeper", time.monotonic() - began, "s")
        with start_worker(settings, folder / "keeper.log", "alert-keeper") as keeper:
            begun = time.monotonic()
            await asyncio.to_thread(await_worker, keeper, settings, "keeper")
            show("from the start of a keeper until it is at work", time.monotonic() - begun, "s")
            await topic.until(lambda states: sum(status == "escalated" for _, status in states) >= number)
            show("from its start until all are escalated on the topic", time.monotonic() - begun, "s")
            process = psutil.Process(keeper.process.pid)
            show("memory of the keeper", process.memory_info().rss / 2**20, "MiB")
            before, since = sum(process.cpu_times()[:2]), time.monotonic()
            await asyncio.sleep(10)
            spent = sum(process.cpu_times()[:2]) - before
            show("processor of the keeper with nothing due", 100 * spent / (time.monotonic() - since), "% of a core")
        with start_worker(settings, folder / "second.log", "alert-keeper") as keeper:
            await asyncio.to_thread(await_worker, keeper, settings, "keeper")
            text = await asyncio.to_thread(metrics_at, settings.process.http_port)
            show("a second keeper has read the topics in", told(text, "cardiacnets_keeper_rebuild_seconds"), "s")
            show("its memory", psutil.Process(keeper.process.pid).memory_info().rss / 2**20, "MiB")
    twice = sum(len(messages) > 1 for messages in topic.states.values())
    print(f"states on the topic: {len(topic.states)}, of which twice: {twice}")


def metrics_at(port):
    """Return what a process shows."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def told(text, name):
    """Return a figure of the metrics."""
    return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, embedded_broker(Path(folder)) as (address, _):
        made = Settings.of(broker=address, alert_escalates_s=0.5, http_port=free_port())
        asyncio.run(measure(made, Path(folder), int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
