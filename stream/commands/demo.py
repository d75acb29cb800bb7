"""`cardiacnets demo`: runs the demonstration and shows it, live or as one JSON object."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
from rich.console import Console
from rich.live import Live

from schemas.errors import InvalidSettings
from stream.demo.account import Outcome, Tally
from stream.demo.live_view import render_tally
from stream.demo.stage import demo_records, demo_stage, log_folder, run_live, run_once
from stream.settings import Settings

RECORDS_ONCE = 200
LIVE_RATE_HZ = 4.0
REFRESH_HZ = 4


class Progress(Protocol):
    """Shows how far a demonstration is."""

    def __call__(self, tally: Tally) -> None:
        """Show the tally."""


def demo_command(
    settings: Settings,
    *,
    once: bool,
    as_json: bool,
    ecgs: Path | None,
    records: int | None,
    rate_hz: float | None,
    seed: int,
    logs: Path | None,
) -> None:
    """Run the demonstration; with `once`, exit 1 when an answer is missing, or contradicts another."""
    if as_json and not once:
        raise InvalidSettings("--json needs --once: a demonstration that keeps running has no last word")
    if ecgs is not None and not ecgs.exists():
        raise InvalidSettings(f"--ecgs {ecgs}: no such file or folder")
    console = Console(stderr=as_json)
    limit = records or (RECORDS_ONCE if once and ecgs is None else None)
    with ExitStack() as stack:
        folder = stack.enter_context(log_folder(logs))
        with console.status("starting broker, Redis, workers and dashboard"):
            stage = stack.enter_context(demo_stage(settings, folder, dashboard=not once))
        if stage.dashboard:
            console.print(f"dashboard: {stage.dashboard}", soft_wrap=True, highlight=False)
            console.print(f"broker:    {stage.settings.kafka.broker}", highlight=False)
        show = stack.enter_context(_shown(console, quiet=as_json))
        todo = demo_records(ecgs, limit, seed)
        if not once:
            asyncio.run(run_live(stage, todo, rate_hz or LIVE_RATE_HZ, show))
            return
        outcome = asyncio.run(run_once(stage, todo, rate_hz, show))
    _print_outcome(outcome, as_json=as_json)


@contextmanager
def _shown(console: Console, *, quiet: bool) -> Iterator[Progress]:
    if quiet:
        yield lambda _tally: None
        return
    with Live(console=console, refresh_per_second=REFRESH_HZ) as live:
        yield lambda tally: live.update(render_tally(tally))


def _print_outcome(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
    if outcome.lost or outcome.contradictions:
        raise SystemExit(1)
