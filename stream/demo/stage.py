"""The demonstration: real workers and a dashboard, at a place with a broker and a Redis. It needs no data."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec
from aiokafka import AIOKafkaConsumer

from engines.batcher import Lane
from inference.file_account import FIRST_NOTES, FileAccount, ecgs_of
from inference.reading.content import printable
from inference.reading.file_note import refusal_note
from inference.reading.read_ecg import read_or_refuse
from schemas.ecg_record import EcgRecord
from schemas.errors import DeploymentError
from stream.broker.clients import UNHURRIED_WAIT_MS, new_consumer
from stream.broker.ecg_publisher import EcgPublisher
from stream.broker.patient_fetcher import become_unhurried
from stream.broker.rate_limit import Pace
from stream.broker.unreadable_place import refusal_of
from stream.plain_text import print_plain
from stream.settings import Settings, as_environment
from training.simulation.ecg import generate_ecgs

from .account import ACCOUNT_TOPICS, DemoAccount, DemoOutcome
from .child_process import Child
from .embedded_servers import free_port

WORKER_READY_S = 120.0
"""On the first start every engine is checked and timed."""
ANSWER_S = 60.0
"""After this long without an answer, the missing answers count as lost."""
POLL_S = 0.1
SHOW_S = 0.25


class ShowAccount(Protocol):
    """Shows how far a demonstration is."""

    def __call__(self, account: DemoAccount) -> object:
        """Show the account."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a demonstration runs on. `dashboard` is the address to open; without a token of the user's it works once."""

    settings: Settings
    children: dict[str, Child]
    dashboard: str | None = None


@contextmanager
def demo_stage(place: AbstractContextManager[Settings], log_folder: Path, *, dashboard: bool) -> Iterator[Stage]:
    """Start the processes that serve, at a place; stop all of them at the end, and leave the place.

    Args:
        place: gives the settings of the broker and the Redis; see `place.py`.
        log_folder: gets the logs.
        dashboard: whether there is one.

    Raises:
        DeploymentError: one of them does not start; the message ends with the end of its log.
    """
    with ExitStack() as stack:
        settings = stack.enter_context(place).changed(http_port=free_port())
        of_cines, of_alerts = (settings.changed(http_port=free_port()) for _ in range(2))
        children = {
            "worker": stack.enter_context(start_worker(settings, log_folder / "worker.log")),
            "cmr-worker": stack.enter_context(start_worker(of_cines, log_folder / "cmr-worker.log", "cmr-worker")),
            "alert-keeper": stack.enter_context(start_worker(of_alerts, log_folder / "keeper.log", "alert-keeper")),
        }
        for name, own in (("worker", settings), ("cmr-worker", of_cines), ("alert-keeper", of_alerts)):
            await_worker(children[name], own, name)
        address = None
        if dashboard:
            shown = settings.changed(dashboard_port=free_port())
            children["dashboard"] = stack.enter_context(start_worker(shown, log_folder / "dashboard.log", "dashboard"))
            address = await_dashboard(children["dashboard"], shown)
        yield Stage(settings, children, address)


def start_worker(settings: Settings, log: Path, command: str = "worker") -> Child:
    """Start `cardiacnets worker`, or another command that serves, with these settings."""
    return Child([sys.executable, "-m", "stream.cli", command], log=log, environment=as_environment(settings))


def await_dashboard(dashboard: Child, settings: Settings) -> str:
    """Wait until the dashboard answers, and return the address that it printed.

    Raises:
        DeploymentError: it ended, or took too long.
    """
    place = f"{settings.dashboard.host}:{settings.dashboard.port}"
    _await_answer(f"{place}/healthz", dashboard, "dashboard")
    return dashboard.said("dashboard: ") or f"http://{place}/"


def await_worker(worker: Child, settings: Settings, name: str = "worker") -> None:
    """Wait until a process that serves has joined its group.

    Raises:
        DeploymentError: it ended, or took too long.
    """
    _await_answer(f"{settings.process.http_host}:{settings.process.http_port}/readyz", worker, name)


def _await_answer(place: str, child: Child, name: str) -> None:
    url = f"http://{place}"
    deadline = time.monotonic() + WORKER_READY_S
    while time.monotonic() < deadline and child.running:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=1):
            return
        time.sleep(POLL_S)
    raise DeploymentError(f"the {name} does not start; its log ends with:\n{child.last_words()}")


def demo_records(ecgs: Path | None, limit: int | None, seed: int) -> Iterator[EcgRecord]:
    """Return the ECGs to publish: those under `ecgs`, or generated ECGs of now (without a limit they never end)."""
    if ecgs is None:
        generated = generate_ecgs(sys.maxsize if limit is None else limit, seed)
        return (msgspec.structs.replace(record, recorded_at=datetime.now(UTC)) for record in generated)
    return itertools.islice(_readable(ecgs), limit)


def _readable(ecgs: Path) -> Iterator[EcgRecord]:
    account = FileAccount()
    for path in ecgs_of([ecgs], account):
        outcome = read_or_refuse(path)
        if isinstance(outcome, EcgRecord):
            yield outcome
        else:
            account.tell(refusal_note(path, outcome))
            if len(account.first_notes) < FIRST_NOTES:
                print_plain(f"skipped {printable(path)}: {outcome}", to_stderr=True)
    for line in account.counts().in_words():
        print_plain(line, to_stderr=True)


async def run_once(
    stage: Stage, records: Iterable[EcgRecord], rate_hz: float | None, progress: ShowAccount
) -> DemoOutcome:
    """Publish the records, wait for every answer, and return what became of the records."""
    account = DemoAccount(cines=True)
    async with _watching(stage, account, progress):
        await _publish(stage, records, account, rate_hz)
        await _all_answered(stage, account)
    return account.outcome()


async def run_live(stage: Stage, records: Iterable[EcgRecord], rate_hz: float, progress: ShowAccount) -> None:
    """Publish the records at a rate, then watch, until cancelled or until a child ends."""
    account = DemoAccount(cines=True)
    async with _watching(stage, account, progress) as consumer:
        await _publish(stage, records, account, rate_hz)
        await _all_answered(stage, account)
        become_unhurried(consumer, UNHURRIED_WAIT_MS)
        while True:
            _require_running(stage)
            await asyncio.sleep(POLL_S)


async def _publish(stage: Stage, records: Iterable[EcgRecord], account: DemoAccount, rate_hz: float | None) -> None:
    pace = Pace(rate_hz)
    async with EcgPublisher(stage.settings.kafka, Lane.REALTIME) as publisher:
        for record in records:
            await pace.step()
            account.sent(record.record_id)
            await publisher.send(record)
            _require_running(stage)
        await publisher.flush()


@asynccontextmanager
async def _watching(stage: Stage, account: DemoAccount, progress: ShowAccount) -> AsyncIterator[AIOKafkaConsumer]:
    """Hand the answers to the account while the block runs; yield the consumer that reads them."""
    consumer = new_consumer(stage.settings.kafka, ACCOUNT_TOPICS, auto_offset_reset="earliest")
    async with consumer:

        async def watch() -> None:
            async for message in consumer:
                if refusal_of(message.value):  # nobody's answer
                    continue
                account.receive(stage.settings.kafka.name_of(message.topic), message.value)

        async def show() -> None:
            shown: tuple[int, ...] = ()
            while True:
                if shown != (shown := (account.published, account.received, account.duplicates)):
                    progress(account)
                await asyncio.sleep(SHOW_S)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(watch()), group.create_task(show())]
            yield consumer
            progress(account)
            for task in tasks:
                task.cancel()


async def _all_answered(stage: Stage, account: DemoAccount) -> None:
    """Wait for every answer and for the alerts and cines that follow; give up after `ANSWER_S` without an answer."""
    seen, since = account.received, time.monotonic()
    while account.missing and time.monotonic() - since < ANSWER_S:
        _require_running(stage)
        await asyncio.sleep(POLL_S)
        if account.received != seen:
            seen, since = account.received, time.monotonic()


def _require_running(stage: Stage) -> None:
    for name, child in stage.children.items():
        if not child.running:
            raise DeploymentError(f"the {name} ended; its log ends with:\n{child.last_words()}")


@contextmanager
def log_folder(keep: Path | None) -> Iterator[Path]:
    """Give a folder for the children's logs: the folder to keep them in, or a temporary folder."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="cardiacnets-") as folder:
        yield Path(folder)
