"""Runs a backfill on a Ray cluster: tasks that do what a process on one machine does.

Ray ends the process that is connected to it when Ray's own head dies. So a process of its own is connected, and this
one learns from the folder what is done, as it does from processes on one machine.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import msgspec

from engines.no_telemetry import forbid_telemetry
from inference.reading.file_note import FileNote
from schemas.errors import CardiacNetsError, DeploymentError, InvalidSettings
from training.cohort.process_pool import open_pool

from .dataset import Dataset
from .run import Progress, watch
from .shard import KEEP_GOING
from .work import Work, do_work

LOCAL = "local"
"""The address of a Ray of our own on this machine, which ends with the command."""
LOST = 3
"""So many times a task is begun again whose process or node is gone."""
CORES = 2
"""Of a task, where nobody says how many tasks there are."""
SHOWN_CHARACTERS = 300
TRIES = 3
"""Of a Ray of our own to start: on a busy machine it gives up after half a minute."""
GENTLE_S = 20.0
"""Ray takes two to end."""
STORE_BYTES = 80 * 2**20
"""Of Ray's memory for objects, the least that it takes: tasks give each other nothing."""
TEMPORARY = "/tmp"  # noqa: S108 -- names of sockets have a short limit, and Ray's names below it are long


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray cluster, and what is asked of it.

    Attributes:
        address: as `ray.init` takes it, or `local`.
        tasks: how many; None: as many as its cores and GPUs allow.
        gpus: of each task.
    """

    address: str
    tasks: int | None = None
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class Share:
    """How many tasks there are, and the cores of each."""

    tasks: int
    cores: int


def run_on_ray(
    dataset: Dataset,
    work: Work,
    cluster: Cluster,
    *,
    tell: Callable[[FileNote], object] = lambda _: None,
    show: Callable[[Progress], object] = lambda _: None,
) -> Progress:
    """Do the work on a cluster, and return what is done at the end. A task whose process is killed is begun again.

    Raises:
        DeploymentError: the cluster does not answer, ended, or lost a task again and again; a node misses something.
    """
    progress = Progress(dataset, work, tell)
    if not progress.is_open:
        return progress
    place = os.environ.get("RAY_TMPDIR", TEMPORARY)
    with TemporaryDirectory(prefix="cardiacnets-ray-", dir=place, ignore_cleanup_errors=True) as folder:
        try:
            with open_pool(1) as pool, _ended_gently():
                watch({pool.submit(drive, work, cluster, folder)}, progress, show)
        except BrokenProcessPool as error:
            sentence = f"the Ray at {cluster.address} cannot be reached, or ended while it worked"
            raise DeploymentError(f"{sentence}: is its head running? {KEEP_GOING}") from error
    return progress


def drive(work: Work, cluster: Cluster, folder: str) -> int:
    """Have tasks do the work until all of it is done. Return how many shards they did.

    Args:
        folder: where a Ray of our own keeps its files.
    """
    forbid_telemetry()
    _keep_rays_words_from_the_terminal(folder)
    signal.signal(signal.SIGTERM, _leave)
    try:
        return _drive(work, cluster, folder)
    except SystemExit as left:  # the pool would keep the process for more work
        os._exit(int(left.code or 0))


def _drive(work: Work, cluster: Cluster, folder: str) -> int:
    with _connected(cluster, folder) as ray:
        share = share_of(cluster, [node["Resources"] for node in ray.nodes() if node["Alive"]], len(work.shards))
        shared = msgspec.structs.replace(work.model, threads=work.model.threads or share.cores)
        task = ray.remote(num_cpus=share.cores, num_gpus=cluster.gpus, max_retries=LOST)(do_work_on_node)
        asked = replace(work, model=shared)
        return sum(_answers(ray, [task.remote(asked, version("cardiacnets")) for _ in range(share.tasks)]))


def do_work_on_node(work: Work, program_version: str) -> int:
    """Do what a process on one machine does, on a node of the cluster.

    Raises:
        InvalidSettings: the node has another version of this program.
    """
    forbid_telemetry()
    if (there := version("cardiacnets")) != program_version:
        sentence = f"the Ray node {socket.gethostname()} has CardiacNets {there}, and this command is {program_version}"
        raise InvalidSettings(f"{sentence}: install the same version on every node")
    return do_work(work)


def share_of(cluster: Cluster, nodes: Sequence[Mapping[str, float]], shards: int) -> Share:
    """Return how many tasks a cluster with these nodes has for so many shards, and the cores of each.

    Raises:
        DeploymentError: no node has what a task needs, and nobody said how many tasks there are.
    """
    cores = [int(node.get("CPU", 0)) for node in nodes if node.get("CPU", 0) >= 1]
    if cluster.tasks is not None:  # a cluster that grows may have no such node yet
        each = max(1, sum(cores) // cluster.tasks)
        return Share(cluster.tasks, min(each, *cores) if cores else each)
    each = min(CORES, *cores) if cores else 1
    fitting = sum(_fitting(node, each, cluster.gpus) for node in nodes)
    if not fitting:
        needs = f"{each} cores" + (f" and {cluster.gpus:g} GPUs" if cluster.gpus else "")
        sentence = f"no node of the Ray at {cluster.address} has {needs}"
        raise DeploymentError(f"{sentence}: add one, or say with --processes how many will come")
    return Share(min(fitting, shards), each)


def _fitting(node: Mapping[str, float], cores: int, gpus: float) -> int:
    """Return how many tasks fit on a node."""
    by_cores = int(node.get("CPU", 0) // cores)
    return min(by_cores, int(node.get("GPU", 0) // gpus)) if gpus else by_cores


@contextmanager
def _ended_gently() -> Iterator[None]:
    """Where the block fails, let the process that is connected disconnect, and end a Ray of our own.

    Where it is killed instead, the agents of a Ray of our own notice a minute later.
    """
    others = set(multiprocessing.active_children())
    try:
        yield
    except BaseException:
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
            child.join(GENTLE_S)
        raise


def _leave(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def _keep_rays_words_from_the_terminal(folder: str) -> None:
    """Ray's native code writes there what it tries again. What it fails for good is an error, and told."""
    with Path(folder, "stderr").open("wb") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())


@contextmanager
def _connected(cluster: Cluster, folder: str) -> Iterator[Any]:
    """Yield Ray's module, connected. A Ray of our own ends with the block.

    Raises:
        DeploymentError: there is no such cluster, or it is another version's.
    """
    ours = _of_our_own(folder) if cluster.address == LOCAL else {}
    import ray

    for attempt in range(TRIES if ours else 1):
        try:
            ray.init(cluster.address, log_to_driver=False, logging_level=logging.CRITICAL, **ours)
            break
        except Exception as error:  # Ray raises what it likes: ConnectionError, RuntimeError, ValueError, …
            ray.shutdown()
            if attempt + 1 >= (TRIES if ours else 1):
                raise _no_ray(cluster, error) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _no_ray(cluster: Cluster, error: Exception) -> DeploymentError:
    why = " ".join(str(error).split())[:SHOWN_CHARACTERS] or type(error).__name__
    wants = "; it wants a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" if "Auth" in repr(error.__cause__) else ""
    sentence = f"no Ray can be used at {cluster.address}: {why}{wants}"
    return DeploymentError(f"{sentence}; name the address of a running one, or `local`")


def _of_our_own(folder: str) -> dict[str, Any]:
    """Return the options of a Ray of our own, before Ray is imported, which reads its variables then.

    Without the token, whoever reaches its ports could run code in it.
    """
    os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    return {
        "include_dashboard": False,
        "object_store_memory": STORE_BYTES,
        "_temp_dir": folder,
    }


def _answers(ray: Any, tasks: list[Any]) -> Iterator[int]:
    """Yield what tasks return, as they end.

    Raises:
        CardiacNetsError: as the first task that failed raised it, or its process was lost again and again.
    """
    while tasks:
        ended, tasks = ray.wait(tasks)
        try:
            yield from ray.get(ended)
        except ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except ray.exceptions.RayError as error:
            sentence = f"Ray lost a task {LOST + 1} times: does the memory of its nodes suffice?"
            raise DeploymentError(f"{sentence} {KEEP_GOING}. It says: {str(error).partition('.')[0]}") from None


def _cause(error: Any) -> Exception:
    """Return what a task raised, in words if a node lacks what the task needs."""
    if isinstance(error.cause, CardiacNetsError):
        return error.cause
    if isinstance(error.cause, ImportError):
        sentence = f"a Ray node cannot run this program ({error.cause})"
        return DeploymentError(f"{sentence}: pip install 'cardiacnets[serve]=={version('cardiacnets')}' on every node")
    return error.cause if isinstance(error.cause, Exception) else error
