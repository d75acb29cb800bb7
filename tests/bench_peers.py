"""The bench's part `peers`: other projects that serve models, on the same graph and cores, in the same run.

Each peer gets a virtual environment of its own under `.venv-peers`; pyproject.toml's extra `peers` holds the versions.
It serves finished arrays, bytes of float32, over its own HTTP. Ours serves ECGs over Kafka. All are asked by one client
process on the same cores, which keeps 64 records under way.
"""

import argparse
import asyncio
import contextlib
import functools
import importlib.metadata
import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import NamedTuple

import aiohttp
import numpy as np
import psutil

from engines.options import usable_cores
from inference.bundle import default_bundle, load_bundle
from inference.intake import take_in
from inference.manifest import GRAPH
from stream.demo.child_process import Child
from stream.demo.embedded_servers import free_port

from .bench_load import client, closed_loop, percentiles
from .bench_stage import engine_alone, processor_seconds, servers, start_our_worker, whole_way

TESTS = Path(__file__).parent
ROOT = TESTS.parent
ENVIRONMENTS = ROOT / ".venv-peers"
ENGINE = "onnxruntime"
BATCH = 16
BODIES = 64
READY_S = 90.0
STOP_S = 20.0
CLOSE_ENOUGH = 1e-3
BOUNDARY = "finished-array"
ADDRESS = ("--address", "127.0.0.1", "--port", "{port}")
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "BENTOML_DO_NOT_TRACK": "True"}


class Peer(NamedTuple):
    """How a peer is started and asked.

    Attributes:
        package: its name on the package index, as the extra names it.
        command: after `python`; `{port}` is replaced.
        path: where it takes records.
        form: whether it takes them as files of a form.
    """

    package: str
    command: tuple[str, ...]
    path: str
    form: bool = False


PEERS = {
    "mosec": Peer("mosec", (str(TESTS / "peer_mosec.py"), *ADDRESS, "--timeout", "60000"), "/inference"),
    "LitServe": Peer("litserve", (str(TESTS / "peer_litserve.py"),), "/predict"),
    "Ray Serve": Peer("ray", (str(TESTS / "peer_ray_serve.py"),), "/"),
    "BentoML": Peer(
        "bentoml", ("-m", "bentoml", "serve", "peer_bentoml:Screen", "--host", *ADDRESS[1:]), "/predict", form=True
    ),
}
OURS = "cardiacnets"


class Served(NamedTuple):
    """What a server did: the closed loop, what server and client used a record, and how many records a batch had."""

    closed: object
    server_ms: float
    client_ms: float
    batch: float | None = None


def peers(options, ecgs, values, show):
    """Show ours and every peer, one after the other; ours comes first and last, the engine alone in between."""
    options = argparse.Namespace(**{**vars(options), "settings": {**options.settings, "engine": ENGINE}})
    shortly = argparse.Namespace(**{**vars(options), "seconds": options.seconds / 3})
    alone, served = [], {}
    with tempfile.TemporaryDirectory() as folder:
        bodies = Bodies(ecgs, Path(folder))
        for name in (OURS, *PEERS, OURS):
            alone.append(engine_alone(shortly, ecgs).per_s)
            try:
                one = ours(options, values) if name == OURS else theirs(options, PEERS[name], bodies)
            except PeerFailedError as lack:
                show(f"{name}: {lack}")
                continue
            served.setdefault(name, []).append(one)
        backlog = whole_way(options, values, options.records, start_our_worker)
    return compared(options, served, float(np.mean(alone)), backlog, show)


def compared(options, served, alone, backlog, show):
    """Show the table, and return it."""
    under_way = f"{options.in_flight} records under way, batches of up to {BATCH}"
    show(f"{ENGINE} alone       {alone:8.1f} records/s; {under_way}")
    show("                  records/s  of engine    p50 ms    p99 ms  server ms  client ms  records a batch")
    rows = {name: row_of(runs, alone) for name, runs in served.items()}
    for name, row in rows.items():
        show(line_of(name, row))
    show(f"{'from a backlog':16}{backlog:11.1f}{backlog / alone:11.2f}   ours, where no client shares the cores")
    for name in PEERS:
        if name in rows:
            theirs_per_s = rows[name]["records_per_s"]
            ratio = f"{rows[OURS]['records_per_s'] / theirs_per_s:8.2f}"
            show(f"ours / {name:10}{ratio}   from a backlog {backlog / theirs_per_s:.2f}   (aim: over 1)")
    return {"peers": rows, "peers_engine_per_s": alone, "backlog_per_s": backlog}


def row_of(runs, alone):
    """Return what the table says of a server's runs."""
    per_s = float(np.mean([run.closed.per_s for run in runs]))
    return {
        "records_per_s": per_s,
        "of_engine": per_s / alone,
        **percentiles(np.concatenate([run.closed.seconds for run in runs])),
        "server_processor_ms": float(np.mean([run.server_ms for run in runs])),
        "client_processor_ms": float(np.mean([run.client_ms for run in runs])),
        "batch": runs[0].batch,
    }


def line_of(name, row):
    """Return a line of the table."""
    batch = f"{row['batch']:17.1f}" if row["batch"] else ""
    return (
        f"{name:16}{row['records_per_s']:11.1f}{row['of_engine']:11.2f}{row['p50_ms']:10.0f}{row['p99_ms']:10.0f}"
        f"{row['server_processor_ms']:11.2f}{row['client_processor_ms']:11.2f}{batch}"
    )


class PeerFailedError(Exception):
    """A peer cannot be had, or does not answer as it should."""


class PeerRefusedError(PeerFailedError):
    """A peer answers with an error: while it starts, a peer may do so before its route is ready."""


class Bodies:
    """The finished arrays as bytes, the graph as a file, and what the network answers to the first array."""

    def __init__(self, ecgs, folder):
        bundle = load_bundle(default_bundle())
        self.folder = folder
        self.graph = folder / "graph.onnx"
        self.graph.write_bytes(bundle.read(GRAPH))
        records = take_in(ecgs[:BODIES], bundle.manifest.input.n_crops).inputs
        self.bodies = [record.tobytes() for record in records]
        self.expected = self._expected(records[0])

    def _expected(self, record):
        import onnxruntime

        session = onnxruntime.InferenceSession(self.graph)
        return session.run(None, {session.get_inputs()[0].name: record})[0]


def ours(options, values):
    """Return what our worker does: published ECGs to reports that are read."""
    with servers(options) as (settings, folder, pids), start_our_worker(settings, folder) as worker:

        async def asked():
            async with client(settings, values) as of_ours:
                return await measured(options, of_ours.ask, [worker.process.pid, *pids.values()])

        return asyncio.run(asked())


def theirs(options, peer, bodies):
    """Return what a peer does: posted arrays to answers."""
    python = environment_of(peer)
    port, counts = free_port(), bodies.folder / f"{peer.package}.counts"
    environment = {
        **QUIET,
        "PYTHONPATH": str(TESTS),
        "PEER_GRAPH": str(bodies.graph),
        "PEER_THREADS": str(usable_cores()),
        "PEER_BATCH": str(BATCH),
        "PEER_PORT": str(port),
        "PEER_COUNTS": str(counts),
        "PEER_FOLDER": str(bodies.folder),
    }
    command = [str(python), *(word.format(port=port) for word in peer.command)]
    with ended_with_children(
        Child(command, log=bodies.folder / f"{peer.package}.log", environment=environment, stop_s=STOP_S)
    ) as child:
        served = asyncio.run(post(options, f"http://127.0.0.1:{port}{peer.path}", peer.form, bodies, child))
    batches, records = json.loads(counts.read_text())
    return served._replace(batch=records / batches)


async def post(options, url, form, bodies, child):
    """Wait until the server answers as the network does, then measure it."""
    head = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}" if form else "application/octet-stream"}
    first, *others = [in_form(body) if form else body for body in bodies.bodies]
    posted = itertools.cycle([first, *others])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=head) as session:

        async def answer_to(body):
            async with session.post(url, data=body) as response:
                answer = await response.read()
                if response.status != 200:
                    raise PeerRefusedError(f"it answered {response.status}: {answer[:200]!r}")
                return answer

        await await_answer(functools.partial(answer_to, first), bodies.expected, child)
        of_server = [child.process.pid, *(process.pid for process in children_of(child))]
        return await measured(options, lambda: answer_to(next(posted)), of_server)


async def await_answer(ask, expected, child):
    """Wait until the first answer comes, and hold it against the network's own."""
    until, refusal = time.monotonic() + READY_S, None
    while time.monotonic() < until and child.running:
        try:
            answer = await ask()
        except (aiohttp.ClientError, OSError):
            pass
        except PeerRefusedError as error:
            refusal = error
        else:
            found = np.array(json.loads(answer)[0]) if answer[:1] == b"[" else np.frombuffer(answer, np.float32)
            if np.abs(found - expected.ravel()).max() > CLOSE_ENOUGH:
                raise PeerFailedError("it answers otherwise than the network")
            return
        await asyncio.sleep(0.2)
    raise refusal or PeerFailedError(f"it does not start; its log ends with:\n{child.last_words()}")


async def measured(options, ask, pids):
    """Return what a server does, and what it and this process, the client, use meanwhile."""
    processes = [psutil.Process(pid) for pid in pids]
    await closed_loop(ask, options.seconds / 4, options.in_flight)  # then batches of every size have come
    used, own = sum(map(processor_seconds, processes)), time.process_time()
    closed = await closed_loop(ask, options.seconds, options.in_flight)
    server = sum(map(processor_seconds, processes)) - used
    return Served(closed, 1e3 * server / closed.asked, 1e3 * (time.process_time() - own) / closed.asked)


def in_form(body):
    """Return a form that has the body as its one file."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="record"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode() + body + f"\r\n--{BOUNDARY}--\r\n".encode()


@contextlib.contextmanager
def ended_with_children(child):
    """Stop a server at the end, and what it leaves behind of its own processes."""
    with child:
        try:
            yield child
        finally:
            left = children_of(child)
            child.stop()
            for process in psutil.wait_procs(left, timeout=3)[1]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


def children_of(child):
    """Return the processes below a server's."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(child.process.pid).children(recursive=True)
    return []


def environment_of(peer):
    """Return the Python of a peer's virtual environment, which is made where it is not there yet."""
    wanted = requirements_of(peer)
    folder = ENVIRONMENTS / peer.package
    python, stamp = folder / "bin" / "python", folder / "installed"
    if stamp.exists() and stamp.read_text().split() == wanted:
        return python
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    for command in ([sys.executable, "-m", "venv", "--clear", str(folder)], install):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PeerFailedError(f"it could not be installed: {(done.stderr.splitlines() or ['no reason given'])[-1]}")
    stamp.write_text("\n".join(wanted))
    return python


def requirements_of(peer):
    """Return what a peer's environment holds: its pinned version, and our versions of what runs the network."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (own,) = (pin for pin in extras["peers"] if re.match(rf"{peer.package}\b", pin))
    return [own, *(f"{name}=={importlib.metadata.version(name)}" for name in ("numpy", "onnxruntime"))]
