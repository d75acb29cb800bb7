"""`cardiacnets backfill --ray`: the same rows, whoever is killed; and nobody is left when it ends."""

import os
import secrets
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pyarrow.parquet as pq
import pytest
from needed import needs_ray
from small_archive import write_mimic
from waiting import PATIENCE_S, wait_until

from schemas.errors import DeploymentError, InvalidSettings
from stream.backfill.on_ray import Cluster, Share, do_work_on_node, share_of

COUNT, SHARD = 120, 4
SHARDS = COUNT // SHARD
COMMAND = ("-m", "stream.cli", "backfill")
GOES_ON = "is its head running? What is done is kept; the same command goes on"
ROOT = Path(__file__).parent.parent
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
"""Of our cluster, so that nobody else can run code in it."""
QUICKLY_GONE = {"RAY_gcs_rpc_server_reconnect_timeout_s": "10"}
NO_RAY = "no Ray can be used at"
STARTS = 5
"""Ray gives a start up after half a minute, which a busy machine may take."""


def nodes(*shapes):
    return [{"CPU": float(cores), "GPU": float(gpus)} if gpus else {"CPU": float(cores)} for cores, gpus in shapes]


@pytest.mark.parametrize(
    ("cluster", "shapes", "shards", "share"),
    [
        (Cluster("auto"), [(2, 0)], 800, Share(1, 2)),
        (Cluster("auto"), [(16, 0), (16, 0), (3, 0)], 800, Share(17, 2)),
        (Cluster("auto"), [(16, 0)], 3, Share(3, 2)),
        (Cluster("auto"), [(1, 0), (4, 0)], 800, Share(5, 1)),
        (Cluster("auto", tasks=2), [(2, 0)], 800, Share(2, 1)),
        (Cluster("auto", tasks=4), [(16, 0), (16, 0)], 800, Share(4, 8)),
        (Cluster("auto", tasks=1), [(16, 0), (16, 0)], 800, Share(1, 16)),
        (Cluster("auto", tasks=8), [], 800, Share(8, 1)),
        (Cluster("auto", gpus=1), [(16, 2), (16, 0)], 800, Share(2, 2)),
        (Cluster("auto", gpus=0.25), [(16, 1)], 800, Share(4, 2)),
    ],
)
def test_a_cluster_has_as_many_tasks_as_its_cores_and_gpus_allow(cluster, shapes, shards, share):
    assert share_of(cluster, nodes(*shapes), shards) == share


@pytest.mark.parametrize(
    ("gpus", "shapes", "says"), [(0, [], "has 1 cores:"), (1, [(16, 0)], "has 2 cores and 1 GPUs:")]
)
def test_a_cluster_without_such_a_node_is_refused_unless_somebody_says_that_it_will_come(gpus, shapes, says):
    with pytest.raises(DeploymentError, match=says):
        share_of(Cluster("auto", gpus=gpus), nodes(*shapes), 9)


def test_a_node_with_another_version_says_so():
    with pytest.raises(InvalidSettings, match="install the same version on every node"):
        do_work_on_node(None, "0.0.1")


def command(archive, out, address, *others):
    arguments = (archive, "--out", out, "--shard-records", SHARD, "--engine", "onnxruntime", *others)
    return [sys.executable, *COMMAND, *map(str, arguments), *(("--ray", address) if address else ())]


def begun(archive, out, address, *others, **variables):
    variables = os.environ | TOKEN | QUICKLY_GONE | variables
    return subprocess.Popen(
        command(archive, out, address, *others), stderr=subprocess.PIPE, text=True, env=variables, cwd=ROOT
    )


def ended(process):
    _, said = process.communicate(timeout=PATIENCE_S)
    return process.returncode, said


def working(condition, *arguments, **variables):
    """Return a command that works on, once the condition holds. Where Ray gave its start up, it is repeated."""
    for _ in range(STARTS):
        process = begun(*arguments, **variables)
        wait_until(lambda: process.poll() is not None or condition())  # noqa: B023
        if process.poll() is None:
            return process
        _, said = ended(process)
        assert NO_RAY in said
    pytest.fail(said)


def done_shards(out):
    return len(list((out / "screened").glob("[0-9]*.parquet"))) if out.exists() else 0


def rows(out):
    """Return the rows of both tables, without the seconds by which a time of recording is ahead of the clock."""
    tables = [pq.read_table(out / table) for table in ("screened", "refused")]
    return [table.drop_columns(["warning_numbers"] * (number == 0)).to_pylist() for number, table in enumerate(tables)]


def tasks_at(out):
    """Return the processes that hold a claim of the dataset, by number."""
    found = []
    for claim in (out / "claims").glob("*.claim"):
        try:
            found.append(int(claim.read_text().splitlines()[1]))
        except (OSError, IndexError):
            continue
    return found


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("archive")
    write_mimic(root, COUNT)
    return root


@pytest.fixture(scope="module")
def by_processes(archive, tmp_path_factory):
    out = tmp_path_factory.mktemp("processes") / "out"
    assert ended(begun(archive, out, None))[0] == 0
    return rows(out)


@pytest.mark.commands
def test_without_ray_the_command_says_what_to_install(archive, tmp_path):
    hiding = "import hidden_library; from stream.cli import main; main()"
    variables = os.environ | {"HIDDEN": "ray", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    asked = [sys.executable, "-c", hiding, *command(archive, tmp_path / "out", "auto")[3:]]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=PATIENCE_S, env=variables)
    assert done.returncode == 1
    assert done.stderr == "cardiacnets: --ray needs ray: pip install 'cardiacnets[ray]'\n"
    assert not (tmp_path / "out").exists()


@needs_ray
@pytest.mark.commands
def test_a_ray_of_our_own_makes_the_same_rows_though_a_worker_is_killed_and_leaves_nothing(
    archive, by_processes, tmp_path
):
    out = tmp_path / "out"
    process = working(lambda: done_shards(out) > 0 and tasks_at(out), archive, out, "local", "--processes", 2)
    family = family_of(process)
    victim = tasks_at(out)[0]
    assert victim in {child.pid for child in family}
    os.kill(victim, signal.SIGKILL)
    assert done_shards(out) < SHARDS
    code, said = ended(process)
    assert code == 0, said
    assert rows(out) == by_processes
    assert list((out / "claims").iterdir()) == []
    wait_until(lambda: not any(map(lives, family)))


@needs_ray
@pytest.mark.commands
def test_sigterm_ends_a_ray_of_our_own_with_all_its_processes_and_files(archive, tmp_path):
    out = tmp_path / "out"
    with TemporaryDirectory(prefix="r-") as places:  # pytest's own is too long for sockets
        process = working(lambda: tasks_at(out), archive, out, "local", "--processes", 1, RAY_TMPDIR=places)
        family = family_of(process)
        assert list(Path(places).glob("cardiacnets-ray-*/session_*"))
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 128 + signal.SIGTERM
        wait_until(lambda: not any(map(lives, family)))
        assert list(Path(places).iterdir()) == []


def family_of(process):
    return psutil.Process(process.pid).children(recursive=True)


def lives(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Head:
    """A Ray of one node, which can be killed and begun again at the same addresses."""

    def __init__(self, folder):
        self._port, self._client_port = free_port(), free_port()
        self._folder, self._process = folder, None
        self.address, self.client_address = f"127.0.0.1:{self._port}", f"ray://127.0.0.1:{self._client_port}"

    def begin(self):
        for _ in range(STARTS):
            self._process = self._start()
            wait_until(lambda: self._process.poll() is not None or self._answers())
            if self._process.poll() is None:
                return
        pytest.fail("Ray does not start")

    def _start(self):
        ports = (f"--port={self._port}", f"--ray-client-server-port={self._client_port}", "--include-dashboard=false")
        sizes = ("--num-cpus=2", "--object-store-memory=80000000", f"--temp-dir={self._folder}")
        return subprocess.Popen(
            [Path(sys.executable).with_name("ray"), "start", "--head", "--block", *ports, *sizes],
            env=os.environ | TOKEN | QUICKLY_GONE | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _answers(self):
        return all(map(answers, (self._port, self._client_port)))

    def kill(self):
        family = family_of(self._process)
        for process in (psutil.Process(self._process.pid), *family):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        wait_until(lambda: not any(map(lives, family)))


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(port):
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def head():
    with TemporaryDirectory(
        prefix="ray-", ignore_cleanup_errors=True
    ) as folder:  # pytest's own is too long for sockets
        head = Head(folder)
        head.begin()
        yield head
        head.kill()


@needs_ray
@pytest.mark.commands
def test_sigterm_ends_the_tasks_on_a_cluster(head, archive, tmp_path):
    out = tmp_path / "out"
    process = working(lambda: len(tasks_at(out)) == 2, archive, out, head.address, "--processes", 2)
    tasks = [psutil.Process(number) for number in tasks_at(out)]
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 128 + signal.SIGTERM
    wait_until(lambda: not any(map(lives, tasks)))


@needs_ray
@pytest.mark.commands
def test_a_cluster_whose_head_is_killed_is_told_of_and_the_same_command_goes_on_when_it_is_back(
    head, archive, by_processes, tmp_path
):
    out = tmp_path / "out"
    process = working(lambda: done_shards(out) > 0, archive, out, head.address, "--processes", 2)
    head.kill()
    code, said = ended(process)
    assert (code, done_shards(out) < SHARDS) == (1, True)
    assert said.endswith(f"the Ray at {head.address} cannot be reached, or ended while it worked: {GOES_ON}\n")
    head.begin()
    for _ in range(STARTS):
        code, said = ended(begun(archive, out, head.client_address))
        if NO_RAY not in said:  # Ray's server of clients gives them up after half a minute as well
            break
    assert code == 0, said
    assert rows(out) == by_processes
