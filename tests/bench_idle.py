"""`make bench-kafka ARGS=idle`: what the stage costs while nobody sends an ECG, and how quick a lone ECG is then.

Each process of the stage is watched, with its children: its processor time, as per cent of a core, and how often it is
woken. Then ECGs are sent one by one, each after the answer to the one before and a pause.
"""

import asyncio
import re
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from schemas.codec import encode_ecg
from schemas.messages import RiskReport, decode_message
from schemas.topics import ECG_RISK, record_key
from stream.broker.clients import ensure_topics, new_consumer, new_producer
from stream.demo.account import latency
from stream.demo.child_process import Child
from stream.demo.embedded_servers import embedded_redis, free_port
from stream.demo.stage import await_dashboard, await_worker, start_worker
from stream.settings import Settings
from training.simulation.ecg import generate_ecgs

from .apache_kafka import apache_kafka, jars
from .waiting import wait_until

COMMANDS = ("worker", "cmr-worker", "alert-keeper", "dashboard")
SETTLE_S = 15.0
"""Engines, health checks and groups have come to rest by then."""


def idle(options, show):
    """Watch the embedded demonstration, and the stage on Apache Kafka where there is one."""
    results = {"embedded": watched(demonstration, options, show, "embedded")}
    if jars():
        results["apache_kafka"] = watched(stage_on_kafka, options, show, "Apache Kafka")
    return {"idle": results}


def watched(stage, options, show, name):
    """Return what each process of a stage costs, and the latency of lone ECGs."""
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder)) as (broker, processes):
        time.sleep(SETTLE_S)
        costs = costs_of(processes, options.idle_s)
        for process, (percent, wakes) in costs.items():
            show(f"idle, {name}: {process:12s} {percent:6.2f} % of a core, woken {wakes:6.1f} times a second")
        show(f"idle, {name}: {'all':12s} {sum(percent for percent, _ in costs.values()):6.2f} % of a core")
        found = latency(asyncio.run(lone_ecgs(broker, options.lone)))
        show(f"idle, {name}: a lone ECG   p50 {found.p50:.1f}  p95 {found.p95:.1f} ms of {options.lone}")
        return {"percent": {process: percent for process, (percent, _) in costs.items()}, "lone_ms": found.p50}


@contextmanager
def demonstration(folder):
    """Run `cardiacnets demo`, whose one ECG is answered."""
    command = [sys.executable, "-m", "stream.cli", "demo", "--records", "1", "--logs", str(folder)]
    with Child(command, log=folder / "demo.log") as demo:
        wait_until(lambda: demo.said("broker:    ") is not None)
        whole = psutil.Process(demo.process.pid)
        yield demo.said("broker:    "), {"demo": whole, **{name_of(one): one for one in whole.children(recursive=True)}}


@contextmanager
def stage_on_kafka(folder):
    """Run the stage of the demonstration on Apache Kafka."""
    with ExitStack() as stack:
        broker = stack.enter_context(apache_kafka(folder))
        redis, server = stack.enter_context(embedded_redis(folder))
        settings = Settings.of(broker=broker, redis=redis)
        asyncio.run(ensure_topics(settings.kafka))
        processes = {"valkey-server": psutil.Process(server.process.pid)}
        for command in COMMANDS:
            own = settings.changed(http_port=free_port(), dashboard_port=free_port())
            child = stack.enter_context(start_worker(own, folder / f"{command}.log", command))
            (await_dashboard if command == "dashboard" else await_worker)(child, own)
            processes[command] = psutil.Process(child.process.pid)
        (java,) = (one for one in psutil.Process().children(recursive=True) if "java" in one.name())
        yield broker, processes | {"kafka": java}


def name_of(process):
    """Return the command that a process serves, or its program's name."""
    line = process.cmdline()
    return next((word for word in line if word in COMMANDS), re.sub(r"(-v\d| ).*", "", Path(line[0].split()[0]).name))


def costs_of(processes, seconds):
    """Return per cent of a core and wakes a second of each process, while nothing is sent."""
    before = {name: used(process) for name, process in processes.items()}
    time.sleep(seconds)
    after = {name: used(process) for name, process in processes.items()}
    return {
        name: (100 * (after[name][0] - cpu) / seconds, (after[name][1] - wakes) / seconds)
        for name, (cpu, wakes) in before.items()
    }


def used(process):
    """Return the processor seconds of a process, and how often its threads have waited for something."""
    times, threads = process.cpu_times(), Path(f"/proc/{process.pid}/task").glob("*/status")
    waits = [re.search(r"^voluntary_ctxt_switches:\s+(\d+)", thread.read_text(), re.MULTILINE)[1] for thread in threads]
    return times.user + times.system, sum(map(int, waits))


async def lone_ecgs(broker, count):
    """Return the seconds from publication to report of ECGs that come one by one."""
    settings, seconds = Settings.of(broker=broker), []
    async with new_producer(settings.kafka) as producer, new_consumer(settings.kafka, [ECG_RISK]) as reports:
        await reports.seek_to_end()
        for ecg in generate_ecgs(count, seed=11):
            await asyncio.sleep(1.0 + 0.37 * (len(seconds) % 3))  # out of step with whatever goes by the second
            sent = time.monotonic()
            await producer.send_and_wait("ecg.records.v1", encode_ecg(ecg), key=record_key(ecg))
            async with asyncio.timeout(60):
                async for message in reports:
                    if decode_message(RiskReport, message.value).record_id == ecg.record_id:
                        break
            seconds.append(time.monotonic() - sent)
    return seconds
