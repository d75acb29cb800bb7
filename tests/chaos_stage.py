"""A broker of a kind, a Redis and workers with their usual settings, that a fault can hit one by one."""

import asyncio
import contextlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
from chaos_faults import DISK_MIB, KAFKA, TANSU, THREE, open_dashboard, set_clock_file
from chaos_load import CINES
from dashboard_ward import TOKEN
from harness import Ward
from kafka_cluster import KafkaCluster
from needed import FAKETIME
from redis_sentinels import sentinels
from slow_link import open_link
from test_stream_cine_faults import Studio

from stream.broker.clients import ensure_topics
from stream.demo.child_process import Child
from stream.demo.embedded_servers import embedded_broker, embedded_redis, free_port
from stream.demo.stage import await_worker
from stream.settings import Settings, as_environment

WORKERS = 2
DRAWING_S = 0.05


class NotHereError(Exception):
    """This machine does not allow what a fault needs."""


class Stage:
    """What a row runs on. A fault takes from it what it hits."""

    def __init__(self, kind, folder, fault=None):
        self.kind, self.folder, self.fault = kind, Path(folder), fault
        self.stack = contextlib.ExitStack()
        self.needs = fault.needs if fault else frozenset()
        self.cluster = self.broker = self.redis = self.link = self.disk = self.dashboard = self.load = (
            self.sentinels
        ) = None
        self.workers, self.notes = [], []

    def __enter__(self):
        with contextlib.ExitStack() as opened:
            self.stack = opened
            self._open()
            self.stack = opened.pop_all()
        return self

    def __exit__(self, *_):
        for worker in self.workers:
            worker.process.terminate()
        self.stack.close()

    def _open(self):
        if "link" in self.needs:
            self.link = self.stack.enter_context(open_link())
        if "disk" in self.needs:
            self.disk = self.stack.enter_context(small_disk(self.folder / "disk"))
        address = self._tansu() if self.kind == TANSU else self._kafka()
        url = self._redis_url()
        nodes = 3 if self.kind == THREE else 1
        self.settings = Settings.of(
            broker=address, redis=url, partitions=4, engine="onnxruntime", threads=1, replication_factor=nodes,
            dashboard_port=free_port(), dashboard_token=TOKEN,
        )  # fmt: skip
        asyncio.run(ensure_topics(self.settings.kafka))
        for _ in range(WORKERS):
            self.start_worker()
        if "dashboard" in self.needs:
            self.open_dashboard()

    def _redis_url(self):
        if "sentinels" in self.needs:
            self.sentinels = self.stack.enter_context(sentinels(self.folder))
            return self.sentinels.url
        url, self.redis = self.stack.enter_context(embedded_redis(self.folder))
        return url

    def _tansu(self):
        outside = self.link.port if self.link else None
        address, self.broker = self.stack.enter_context(embedded_broker(self.folder, advertised_port=outside))
        return self._through_the_link(address)

    def _kafka(self):
        nodes, outside = 3 if self.kind == THREE else 1, self.link.port if self.link else None
        cluster = KafkaCluster(self.folder, nodes, data=self.disk and self.disk / "data", advertised=outside)
        self.cluster = self.stack.enter_context(cluster)
        return self._through_the_link(self.cluster.address)

    def _through_the_link(self, address):
        if not self.link:
            return address
        self.link.behind = int(address.rpartition(":")[2])
        return f"127.0.0.1:{self.link.port}"

    def start_worker(self):
        """Start one more worker, ready: of the kind that answers what is sent."""
        there = Ward(self.settings, self.folder, None, None, workers=list(self.workers))
        if self.fault and self.fault.load is CINES:
            worker = Studio(there).start(drawing_s=DRAWING_S)
        elif "clock" in self.needs:
            worker = self._start_with_false_clock()
        else:
            worker = there.start()
        self.workers.append(worker)
        self.stack.callback(worker.stop)

    def _start_with_false_clock(self):
        if not FAKETIME.exists():
            raise NotHereError("needs Debian's faketime")
        self.clock = self.folder / "clock"
        self.set_clock(0)
        settings = self.settings.changed(http_port=free_port())
        false = {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self.clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        log = self.folder / f"worker-{len(self.workers)}.log"
        command = [sys.executable, "-m", "stream.cli", "worker"]
        worker = Child(command, log=log, environment=as_environment(settings) | false)
        await_worker(worker, settings)
        return worker

    def set_clock(self, seconds):
        """Set the workers' clock off by so many seconds."""
        set_clock_file(self.clock, seconds)

    def open_dashboard(self):
        """Start the dashboard."""
        self.dashboard = open_dashboard(self.settings, self.folder / "dashboard.log")
        self.stack.callback(self.dashboard.close)

    def not_shown(self, names):
        """Return how many of these records the dashboard does not show, once it has caught up or does not move."""
        with httpx.Client(base_url=self.dashboard.address.partition("/?")[0]) as client:
            origin = {"origin": str(client.base_url).rstrip("/")}
            client.post("/sign-in", data={"token": TOKEN, "next": "/"}, headers=origin)
            end = time.monotonic() + 60
            missing = set(names)
            while missing and time.monotonic() < end:
                missing = {name for name in missing if client.get("/api/record", params={"id": name}).is_error}
                time.sleep(0.2)
            return len(missing)


@contextlib.contextmanager
def small_disk(folder):
    """Give a disk that is soon full, where this machine lets us mount one."""
    folder.mkdir(parents=True)
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if not done or done.returncode:
        raise NotHereError("may not mount a small disk here")
    try:
        yield folder
    finally:
        subprocess.run([shutil.which("umount"), "-l", str(folder)], check=True)


KINDS = (TANSU, KAFKA, THREE)
