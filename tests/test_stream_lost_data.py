"""A broker that comes back without its data, on either kind of broker: the topics are named, found again, and read."""

import asyncio
import json
import time
import urllib.error
import urllib.request

import pytest
from apache_kafka import apache_kafka, needs_apache_kafka
from harness import PROMPT, Ward, collect, ended, good_values, publish_values
from secure_door import secure_door
from waiting import wait_until

from schemas.topics import CMR_REQUESTS, ECG_RECORDS
from stream.broker.clients import ensure_topics
from stream.demo.embedded_servers import embedded_broker, embedded_redis, free_port
from stream.demo.stage import await_dashboard, await_worker, start_worker
from stream.settings import Settings

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

MISSING = "the broker does not have the topic"


def new_broker(kind, folder, door):
    """Run an empty broker that sends its clients to the door."""
    folder.mkdir()
    if kind == "apache":
        return apache_kafka(folder, {"advertised.listeners": f"CLIENTS://127.0.0.1:{door.port}"})
    return embedded_broker(folder, advertised_port=door.port)


def stand_behind(door, broker):
    """Have the door lead to the broker."""
    address = broker if isinstance(broker, str) else broker[0]
    door.behind = int(address.rpartition(":")[2])


def says(port, path):
    """Return what a process says of itself."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}") as answer:
            return json.load(answer)["status"]
    except urllib.error.HTTPError as refusal:
        return json.load(refusal)["status"]


@pytest.mark.parametrize("kind", ["embedded", pytest.param("apache", marks=needs_apache_kafka)])
def test_what_comes_after_a_loss_of_all_data_is_screened_and_shown(tmp_path, kind):
    values = list(good_values(8).items())
    with secure_door() as door, embedded_redis(tmp_path) as (redis, _):
        settings = Settings.of(**PROMPT, broker=f"127.0.0.1:{door.port}", redis=redis, partitions=2)
        there = Ward(settings, tmp_path, None, None)
        shown = settings.changed(dashboard_port=free_port())
        cines = settings.changed(http_port=free_port())
        try:
            with new_broker(kind, tmp_path / "first", door) as broker:
                stand_behind(door, broker)
                asyncio.run(ensure_topics(settings.kafka))
                drawing = start_worker(cines, tmp_path / "cines.log", "cmr-worker")
                dashboard = start_worker(shown, tmp_path / "dashboard.log", "dashboard")
                there.workers += [drawing, dashboard]
                worker = there.start()
                await_worker(drawing, cines)
                await_dashboard(dashboard, shown)
                asyncio.run(publish_values(settings, dict(values[:4])))
                asyncio.run(collect(settings, until=lambda a: a.answered == 4))
            with new_broker(kind, tmp_path / "second", door) as broker:
                stand_behind(door, broker)
                begun = time.monotonic()
                if kind == "apache":  # the embedded broker makes a topic when it is asked for one
                    for port, topic in (
                        (worker.settings.process.http_port, ECG_RECORDS),
                        (cines.process.http_port, CMR_REQUESTS),
                    ):
                        wait_until(lambda p=port, t=topic: MISSING in says(p, "readyz") and t in says(p, "readyz"), 0.2)
                    print(f"the missing topics were named after {time.monotonic() - begun:.1f} s")
                begun = time.monotonic()
                asyncio.run(ensure_topics(settings.kafka))
                asyncio.run(publish_values(settings, dict(values[4:])))
                answers = asyncio.run(collect(settings, until=lambda a: a.answered == 4))
                print(f"found and answered after {time.monotonic() - begun:.1f} s")
                assert set(answers.report_ids) == {name for name, _ in values[4:]}
                wait_until(lambda: says(worker.settings.process.http_port, "readyz") == "ok", 0.2)
                wait_until(lambda: says(cines.process.http_port, "readyz") == "ok", 0.2)
                wait_until(lambda: says(shown.dashboard.port, "healthz") == "ok", 0.2)
                assert all(process.running for process in there.workers)
                assert [ended(process) for process in there.workers] == [0, 0, 0]
        finally:
            there.stop()
