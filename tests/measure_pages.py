"""`python tests/measure_pages.py`: how quickly alerts reach many open pages, and what that costs the dashboard.

A page is a stream of events, as a browser's. Each flagged ECG sends its report and one alert to the topics, at an even
rate; a latency is from before the alert is sent until a page has its row. All pages hold the alerts of an earlier hour
already. `--minutes 60` is the whole hour; the rate is the same in fewer. Pages, broker and dashboard share the machine.
"""

import argparse
import asyncio
import json
import re
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import msgspec
import numpy as np
import psutil
from dashboard_parts import FLAGGED
from dashboard_ward import TOKEN, dashboard_process, dashboard_ward, publish, simulate_case
from shared_servers import shared_servers

from schemas.messages import encode_message
from schemas.topics import ECG_ALERTS, ECG_RISK
from stream.broker.clients import new_producer

IDENTIFIER = re.compile(rb'"identifier":"(measured-[0-9]+)"')
WATCHED_EVERY_S = 0.5
PATIENCE_S = 60.0


def main():
    """Measure, and print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=100, help="pages that are open")
    parser.add_argument("--an-hour", type=int, default=1000, help="alerts an hour")
    parser.add_argument("--minutes", type=float, default=10.0, help="for how long")
    parser.add_argument("--before", type=int, default=1000, help="alerts that are there already")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        shared_servers(Path(folder)) as servers,
        dashboard_ward(servers) as ward,
    ):
        case = simulate_case(21, 1, risks=FLAGGED)
        asyncio.run(fill(ward, case, arguments.before))
        with dashboard_process(ward, Path(folder) / "dashboard.log") as (address, child):
            found = asyncio.run(measure(ward, address, psutil.Process(child.process.pid), case, arguments))
    print(json.dumps(found) if arguments.json else told(found))


async def fill(settings, case, number):
    """Publish the alerts of the hour before."""
    now = datetime.now(UTC)
    alerts = (
        msgspec.structs.replace(
            case.alerts[0], identifier=f"before-{n}", record_id=f"before-{n}", onset=now - timedelta(hours=n / number)
        )
        for n in range(number)
    )
    await publish(settings, *((ECG_ALERTS, case.key, alert) for alert in alerts))


@dataclass
class Heard:
    """When each alert was sent, and the seconds until each page had it."""

    sent: dict = field(default_factory=dict)
    latencies: list = field(default_factory=list)

    def row(self, name):
        """Note that a page has an alert."""
        self.latencies.append(time.monotonic() - self.sent[name])


async def measure(settings, address, process, case, arguments):
    """Return what was found."""
    heard, cookie = Heard(), await sign_in(address)
    async with opened_pages(address, cookie, heard, arguments.pages):
        opened_bytes = memory(process)
        before, began = processor(process), time.monotonic()
        watching = asyncio.create_task(watch(process, seen := []))
        wanted = max(1, round(arguments.an_hour * arguments.minutes / 60))
        await send(settings, case, heard, wanted, arguments.minutes * 60)
        await until(lambda: len(heard.latencies) >= wanted * arguments.pages)
        took_s = time.monotonic() - began
        watching.cancel()
        p50, p99 = np.percentile(heard.latencies, (50, 99))
        return {
            "alerts": wanted,
            "pages": arguments.pages,
            "seconds": round(took_s, 1),
            "p50_ms": round(1000 * p50, 1),
            "p99_ms": round(1000 * p99, 1),
            "slowest_ms": round(1000 * max(heard.latencies), 1),
            "processor_percent_of_a_core": round(100 * (processor(process) - before) / took_s, 2),
            "memory_mib_at_first": round(opened_bytes / 2**20, 1),
            "memory_mib_at_most": round(max(seen) / 2**20, 1),
        }


async def sign_in(address):
    """Return the cookie of a session."""
    form = urlencode({"token": TOKEN, "next": "/"})
    origin = address.rstrip("/")
    reader, writer = await asyncio.open_connection(*place(address))
    writer.write(
        f"POST /sign-in HTTP/1.0\r\nHost: {urlsplit(address).netloc}\r\nOrigin: {origin}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n\r\n{form}".encode()
    )
    head = (await reader.read()).decode()
    writer.close()
    return re.search(r"(?i)^set-cookie: ([^;]+)", head, re.MULTILINE)[1]


@asynccontextmanager
async def opened_pages(address, cookie, heard, number):
    """Have so many pages that have got all that was there."""
    reading, writers = [], []
    for _ in range(number):
        reader, writer = await asyncio.open_connection(*place(address), limit=2**24)
        writer.write(
            f"GET /api/events HTTP/1.0\r\nHost: {urlsplit(address).netloc}\r\nCookie: {cookie}\r\n\r\n".encode()
        )
        writers.append(writer)
        ready = asyncio.Event()
        reading.append(asyncio.create_task(listen(reader, heard, ready)))
        await ready.wait()
    try:
        yield
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()


async def listen(reader, heard, ready):
    """Note each row of an alert that was measured, the first time that this page gets it."""
    known = set()
    async for line in reader:
        if line.startswith(b"event: ready"):
            ready.set()
        for name in IDENTIFIER.findall(line):
            if name not in known:
                known.add(name)
                heard.row(name)


async def send(settings, case, heard, number, seconds):
    """Publish the alerts, each with its report, at an even rate."""
    began = time.monotonic()
    async with new_producer(settings.kafka) as producer:
        for n in range(number):
            await asyncio.sleep(max(0.0, began + n * seconds / number - time.monotonic()))
            name, now = f"measured-{n}", datetime.now(UTC)
            report = msgspec.structs.replace(case.report, record_id=name, report_id=f"of-{name}", created_at=now)
            alert = msgspec.structs.replace(
                case.alerts[0], identifier=name, record_id=name, derived_from=report.report_id, onset=now
            )
            await producer.send(ECG_RISK, encode_message(report), key=case.key)
            heard.sent[name.encode()] = time.monotonic()
            await producer.send(ECG_ALERTS, encode_message(alert), key=case.key)


async def until(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def watch(process, seen):
    """Look at the memory from time to time."""
    while True:
        seen.append(memory(process))
        await asyncio.sleep(WATCHED_EVERY_S)


def family(process):
    return [process, *process.children(recursive=True)]


def processor(process):
    """Return the seconds of a core that the dashboard has taken."""
    return sum(sum(one.cpu_times()[:2]) for one in family(process))


def memory(process):
    """Return the bytes that the dashboard holds."""
    return sum(one.memory_info().rss for one in family(process))


def place(address):
    where = urlsplit(address)
    return where.hostname, where.port


def told(found):
    return (
        f"{found['alerts']} alerts to {found['pages']} pages in {found['seconds']} s: p50 {found['p50_ms']} ms, p99 "
        f"{found['p99_ms']} ms, slowest {found['slowest_ms']} ms; the dashboard took "
        f"{found['processor_percent_of_a_core']} % of a core and {found['memory_mib_at_first']} MiB, at most "
        f"{found['memory_mib_at_most']} MiB"
    )


if __name__ == "__main__":
    main()
