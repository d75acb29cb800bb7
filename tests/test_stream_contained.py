"""The whole stage as a container holds it: no capability, a root that nobody may write to, memory that ends.

Each process is a user of its own in Redis, with the rights of docker/users.acl.
"""

import asyncio
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from harness import good_values, publish_values
from redis.asyncio import Redis
from waiting import PATIENCE_S

from schemas.messages import CmrResult, decode_message
from schemas.topics import CMR_RESULTS
from stream.broker.clients import new_consumer
from stream.demo.child_process import Child
from stream.demo.embedded_servers import embedded_broker, embedded_redis, free_port
from stream.demo.stage import await_dashboard, await_worker
from stream.settings import Settings, as_environment

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
USERS = (ROOT / "docker" / "users.acl").read_text()
RECORDS = 12
MEMORY = Path("/sys/fs/cgroup/memory")
NO_RIGHTS = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
READ_ONLY = """
mount -o remount,bind,ro / && for place in /tmp /var/tmp /root/.cache; do
  if [ -d $place ]; then mount -t tmpfs -o size=64m tmpfs $place; fi
done && cd / && exec "$@"
"""
ALONE = ["unshare", "--mount", "--propagation", "private", "sh", "-c", READ_ONLY, "sh"]
CONFINED = """
for line in open("/proc/self/status"):
    if line.startswith(("CapEff", "CapBnd", "NoNewPrivs")):
        print(line.split()[1].lstrip("0") or "0", end=" ")
import pathlib
for place in ("/here", "/usr/here", "/home/here"):
    try:
        pathlib.Path(place).write_text("")
        print("written")
    except OSError as error:
        print(error.errno, end=" ")
"""


def contained(*command):
    """Return a command without rights, in a file system of its own that is read only."""
    return [*ALONE, *NO_RIGHTS, sys.executable, *command]


@pytest.fixture(scope="module", autouse=True)
def _containing():
    tried = subprocess.run(contained("-c", "pass"), check=False, capture_output=True)
    if tried.returncode:
        pytest.skip("needs root that may mount, and setpriv: run the tests as root on Linux")


def test_what_these_tests_take_away_is_gone():
    done = subprocess.run(contained("-c", CONFINED), check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["0", "0", "1", "30", "30", "30"]  # EROFS


@pytest.fixture(scope="module")
def reviewer(tmp_path_factory):
    """Run a broker, and a Redis with the users of the file and one who looks after them; give both and its URL."""
    folder = tmp_path_factory.mktemp("servers")
    (folder / "users.acl").write_text(f"{USERS}user reviewer on >r ~* +@all\n")
    with embedded_broker(folder) as (broker, _), embedded_redis(folder, users=folder / "users.acl") as (redis, _):
        place = urlsplit(redis)
        yield broker, f"redis://reviewer:r@{place.hostname}:{place.port}/0"


def settings_of(user, broker, reviewer):
    """Return the settings of a process that is this user."""
    (secret,) = [line.split()[3].removeprefix(">") for line in USERS.splitlines() if line.startswith(f"user {user} ")]
    place = urlsplit(reviewer)
    url = f"redis://{user}:{secret}@{place.hostname}:{place.port}/0"
    ports = {"http_port": free_port(), "dashboard_port": free_port()}
    return Settings.of(broker=broker, redis=url, partitions=2, redis_timeout_s=5, ecg_id_wait_s=5, **ports)


class Bounded(Child):
    """A contained process in a control group, which bounds its memory."""

    def __init__(self, command, settings, folder):
        self.group = MEMORY / f"cardiacnets-{os.getpid()}-{command}"
        limit = COMPOSE[command]["mem_limit"]
        starting = contained("-m", "stream", command)
        if MEMORY.is_dir():
            self.group.mkdir(exist_ok=True)
            (self.group / "memory.limit_in_bytes").write_text(limit)
            starting = ["sh", "-c", f'echo $$ > {self.group}/cgroup.procs && exec "$@"', "sh", *starting]
        environment = {**as_environment(settings), "PYTHONPATH": str(ROOT)}
        super().__init__(starting, log=folder / f"{command}.log", environment=environment, stop_s=PATIENCE_S)

    @property
    def peak_mib(self):
        """How much memory it ever had; None where nothing bounds it."""
        file = self.group / "memory.max_usage_in_bytes"
        return int(file.read_text()) / 2**20 if file.exists() else None

    def stop(self):
        code = super().stop()
        if self.group.is_dir():
            self.group.rmdir()
        return code


def test_the_whole_stage_runs_contained_and_asks_redis_for_nothing_beyond_its_rights(reviewer, tmp_path):
    broker, redis = reviewer
    own = {name: settings_of(name, broker, redis) for name in ("worker", "cmr-worker", "dashboard", "cine-command")}
    with ExitStack() as stack:
        stage = {name: Bounded(name, own[name], tmp_path) for name in ("worker", "cmr-worker", "dashboard")}
        for child in stage.values():
            stack.enter_context(child)
        await_worker(stage["worker"], own["worker"])
        await_worker(stage["cmr-worker"], own["cmr-worker"])
        await_dashboard(stage["dashboard"], own["dashboard"])
        asyncio.run(publish_values(own["worker"], good_values(RECORDS)))
        drawn = asyncio.run(first_cine(own["worker"]))
        written = subprocess.run(
            contained("-m", "stream", "cine", drawn, "--out", "/tmp/heart.mp4"),
            check=False,
            env={**os.environ, **as_environment(own["cine-command"]), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert written.returncode == 0, written.stderr
        kept, denied = asyncio.run(looked_into(redis))
        assert {key.split(":")[1] for key in kept} == {"waveform", "ecg-id", "cine", "order"}
        assert denied == []
        print({name: child.peak_mib for name, child in stage.items()})
        assert [child.stop() for child in stage.values()] == [0, 0, 0]


async def first_cine(settings):
    """Return the id of a record whose cine was drawn."""
    results = new_consumer(settings.kafka, [CMR_RESULTS], auto_offset_reset="earliest")
    async with results, asyncio.timeout(PATIENCE_S):
        while True:
            result = decode_message(CmrResult, (await results.getone()).value)
            assert result.status == "generated", result
            return result.record_id


async def looked_into(url):
    """Return the keys, but for locks, and what was refused."""
    async with Redis.from_url(url, decode_responses=True) as client:
        keys = [key async for key in client.scan_iter() if "lock" not in key]
        return keys, [(entry["username"], entry["object"]) for entry in await client.acl_log()]
