"""The demonstration: embedded servers, real workers, a dashboard, ECGs in and answers out; no set-up, no data."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from engines.batcher import Lane
from inference.files import find_ecgs, read_or_refuse
from schemas.ecg_record import EcgRecord
from schemas.errors import DeploymentError
from stream.broker.clients import ensure_topics, new_consumer
from stream.broker.ecg_publisher import EcgPublisher
from stream.broker.rate_limit import Pace
from stream.settings import Settings, as_environment
from training.simulation.ecg import generate_ecgs

from .account import TALLIED_TOPICS, Outcome, Tally
from .child_process import Child
from .embedded_servers import embedded_broker, embedded_redis, free_port

WORKER_READY_S = 120.0
"""On the first start every engine is checked and timed."""
ANSWER_S = 60.0
"""How long without any answer until the missing ones count as lost."""
POLL_S = 0.1
PLAIN_BROKER: dict[str, Any] = {
    "security_protocol": "PLAINTEXT",
    "sasl_username": None,
    "sasl_password": None,
    "tls_ca_file": None,
    "tls_certificate_file": None,
    "tls_key_file": None,
    "idempotent_producer": False,
    "replication_factor": 1,
}
"""What the embedded broker can do, whatever the operator's own can."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a demonstration runs on; `dashboard` is the address to open, token included."""

    settings: Settings
    children: dict[str, Child]
    dashboard: str | None = None


@contextmanager
def demo_stage(settings: Settings, log_folder: Path, *, dashboard: bool) -> Iterator[Stage]:
    """Start the embedded servers, a worker and a cmr-worker that are ready, the dashboard; stop them all at the end.

    Raises:
        DeploymentError: one of them does not start; the message holds its last words.
    """
    with ExitStack() as stack:
        broker, _ = stack.enter_context(embedded_broker(log_folder))
        redis, _ = stack.enter_context(embedded_redis(log_folder))
        settings = settings.changed(broker=broker, redis=redis, http_port=free_port(), **PLAIN_BROKER)
        asyncio.run(ensure_topics(settings.kafka))
        of_cines = settings.changed(http_port=free_port())
        children = {
            "worker": stack.enter_context(start_worker(settings, log_folder / "worker.log")),
            "cmr-worker": stack.enter_context(start_worker(of_cines, log_folder / "cmr-worker.log", "cmr-worker")),
        }
        await_worker(children["worker"], settings)
        await_worker(children["cmr-worker"], of_cines)
        address = None
        if dashboard:
            shown = _dashboard_settings(settings)
            children["dashboard"] = stack.enter_context(start_worker(shown, log_folder / "dashboard.log", "dashboard"))
            address = await_dashboard(children["dashboard"], shown)
        yield Stage(settings, children, address)


def _dashboard_settings(settings: Settings) -> Settings:
    token = settings.dashboard.token or secrets.token_urlsafe(24)
    return settings.changed(dashboard_token=token, dashboard_port=free_port())


def start_worker(settings: Settings, log: Path, command: str = "worker") -> Child:
    """Start `cardiacnets worker`, or another command that serves, with these settings."""
    return Child([sys.executable, "-m", "stream.cli", command], log=log, environment=as_environment(settings))


def await_dashboard(dashboard: Child, settings: Settings) -> str:
    """Wait until the dashboard answers, and return the address that opens it.

    Raises:
        DeploymentError: it ended, or took too long.
    """
    place = f"{settings.dashboard.host}:{settings.dashboard.port}"
    _await_answer(f"{place}/healthz", dashboard, "dashboard")
    return f"http://{place}/?token={settings.dashboard.token}"


def await_worker(worker: Child, settings: Settings) -> None:
    """Wait until the worker has joined its group.

    Raises:
        DeploymentError: it ended, or took too long.
    """
    _await_answer(f"{settings.process.http_host}:{settings.process.http_port}/readyz", worker, "worker")


def _await_answer(place: str, child: Child, name: str) -> None:
    url = f"http://{place}"
    deadline = time.monotonic() + WORKER_READY_S
    while time.monotonic() < deadline and child.running:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=1):
            return
        time.sleep(POLL_S)
    raise DeploymentError(f"the {name} does not start; its log ends with:\n{child.last_words()}")


def demo_records(ecgs: Path | None, limit: int | None, seed: int) -> Iterator[EcgRecord]:
    """Return the ECGs to publish: those under `ecgs`, else generated ones, as of now (endlessly without a limit)."""
    if ecgs is None:
        generated = generate_ecgs(sys.maxsize if limit is None else limit, seed)
        return (msgspec.structs.replace(record, recorded_at=datetime.now(UTC)) for record in generated)
    return itertools.islice(_readable(ecgs), limit)


def _readable(ecgs: Path) -> Iterator[EcgRecord]:
    for path in find_ecgs([ecgs]):
        outcome = read_or_refuse(path)
        if isinstance(outcome, EcgRecord):
            yield outcome
        else:
            print(f"passed over {path}: {outcome}", file=sys.stderr)


async def run_once(
    stage: Stage, records: Iterable[EcgRecord], rate_hz: float | None, progress: Callable[[Tally], object]
) -> Outcome:
    """Publish the records, wait for every answer, return the account."""
    tally = Tally(cines=True)
    async with _watching(stage, tally, progress):
        await _publish(stage, records, tally, rate_hz)
        await _all_answered(stage, tally)
    return tally.outcome()


async def run_live(
    stage: Stage, records: Iterable[EcgRecord], rate_hz: float, progress: Callable[[Tally], object]
) -> None:
    """Publish the records at a rate and go on watching, until cancelled or the worker ends."""
    tally = Tally(cines=True)
    async with _watching(stage, tally, progress):
        await _publish(stage, records, tally, rate_hz)
        while True:
            _require_running(stage)
            await asyncio.sleep(POLL_S)


async def _publish(stage: Stage, records: Iterable[EcgRecord], tally: Tally, rate_hz: float | None) -> None:
    pace = Pace(rate_hz)
    async with EcgPublisher(stage.settings.kafka, Lane.REALTIME) as publisher:
        for record in records:
            await pace.step()
            tally.sent(record.record_id)
            await publisher.send(record)
            _require_running(stage)
        await publisher.flush()


@asynccontextmanager
async def _watching(stage: Stage, tally: Tally, progress: Callable[[Tally], object]) -> AsyncIterator[None]:
    """Feed the tally with the answers while the block runs."""
    consumer = new_consumer(stage.settings.kafka, TALLIED_TOPICS, auto_offset_reset="earliest")
    async with consumer:

        async def watch() -> None:
            async for message in consumer:
                tally.receive(message.topic, message.value)

        async def show() -> None:
            while True:
                progress(tally)
                await asyncio.sleep(POLL_S)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(watch()), group.create_task(show())]
            yield
            progress(tally)
            for task in tasks:
                task.cancel()


async def _all_answered(stage: Stage, tally: Tally) -> None:
    """Wait for every answer, and for the alerts and cines that follow them; give up after `ANSWER_S` of silence."""
    seen, since = tally.received, time.monotonic()
    while tally.missing and time.monotonic() - since < ANSWER_S:
        _require_running(stage)
        await asyncio.sleep(POLL_S)
        if tally.received != seen:
            seen, since = tally.received, time.monotonic()


def _require_running(stage: Stage) -> None:
    for name, child in stage.children.items():
        if not child.running:
            raise DeploymentError(f"the {name} ended; its log ends with:\n{child.last_words()}")


@contextmanager
def log_folder(keep: Path | None) -> Iterator[Path]:
    """Give a folder for the children's logs: a temporary one, or one to keep."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="cardiacnets-") as folder:
        yield Path(folder)
