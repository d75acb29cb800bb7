"""`cardiacnets publish`: ECG files to a Kafka topic, with a progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from schemas.errors import DeploymentError, InvalidSettings
from stream.plain_text import print_plain

from .backfill_progress import HowFar, show_progress
from .file_options import Errors, TimeZone, print_first_notes, print_totals, zone_named
from .options import Broker, Json, LaneName, settings_with
from .output import print_json, say
from .publish_source import Source, source_of

if TYPE_CHECKING:
    from engines.batcher import Lane
    from inference.file_account import FileAccount
    from stream.broker.ecg_publisher import Sent
    from stream.broker.encoded_files import Reached
    from stream.broker.publish_journal import JournalWriter
    from stream.settings import Settings


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run is asked for."""

    source: Source
    lane: Lane
    rate_hz: float | None
    zone: tzinfo | None
    skip: int = 0
    last: Reached | None = None
    confirmed: Callable[[int, Reached | None], object] = lambda *_: None


def publish_command(
    paths: Annotated[
        list[Path], typer.Argument(help="ECG files, and folders in which ECGs are found by their content.")
    ],
    broker: Broker = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Largest number of records a second.")] = None,
    lane: LaneName = "realtime",
    list_file: Annotated[
        Path | None, typer.Option("--list", help="Table of the ECGs of one folder, CSV or Parquet: they are published.")
    ] = None,
    path_column: Annotated[
        str | None, typer.Option(help="Column of --list that has the paths below the folder. `path` by default.")
    ] = None,
    skip: Annotated[
        int | None, typer.Option(min=0, help="Number of ECG files to skip, because an earlier run has published them.")
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="File that keeps how far the run came: the same command goes on. Of a folder that goes to the "
            "backfill lane, a file beside the folder, which is removed at the end.",
        ),
    ] = None,
    no_journal: Annotated[
        bool,
        typer.Option("--no-journal", help="Publish all, whatever an earlier run has published; keep no journal."),
    ] = False,
    ids: Annotated[
        Literal["name", "path"] | None,
        typer.Option(
            help="Record ids: the file's name without its ending, or its path below the folder that is named. `name` "
            "by default, `path` with --list."
        ),
    ] = None,
    time_zone: TimeZone = None,
    errors: Errors = None,
    as_json: Json = False,
) -> None:
    """Publish ECG files to Kafka, as a device fleet or an archive does.

    The name or the path of a file becomes the id of the record. Reports and dashboards show the id: it must not
    identify a patient. To the backfill lane MIMIC-IV-ECG and PTB-XL go by the list in their folder. The exit code is 1
    if a file was refused, or if there was no ECG.
    """
    import asyncio

    from engines.batcher import Lane
    from inference.file_account import open_account
    from inference.reading.wfdb_record import header_of

    if missing := [str(path) for path in paths if not (path.exists() or header_of(path))]:
        raise InvalidSettings(f"no such file or folder: {', '.join(missing)}")
    settings, is_archive = settings_with(broker=broker), lane == "backfill"
    source = source_of(
        paths, is_archive=is_archive, list_file=list_file, path_column=path_column, ids=ids, tell=lambda _: None
    )
    wanted = Wanted(source, Lane(lane), rate, zone_named(time_zone), skip=skip or 0)
    writer = _open_journal(wanted, settings, time_zone, journal, skip=skip, none=no_journal)
    if writer and writer.journal.finished:
        say(f"{writer.path} says that all was published: remove it to publish again")
        return
    goes_on = _begin(writer)
    if writer:
        known = writer.journal
        wanted = replace(wanted, skip=known.skip, last=known.last, confirmed=writer.confirmed)
    with open_account(errors, continues=skip is not None or goes_on) as account:
        sent = asyncio.run(_publish(settings, wanted, account))
    if writer:
        writer.end(finished=sent.trouble is None)
    _print(sent, account, errors, as_json=as_json)
    if sent.trouble:
        again = f"with --skip {sent.skip} " if writer is None else ""
        raise DeploymentError(f"{sent.trouble}; run the same command {again}to continue")
    if account.counts().refused or not sent.found:
        raise SystemExit(1)


def _open_journal(
    wanted: Wanted, settings: Settings, time_zone: str | None, path: Path | None, *, skip: int | None, none: bool
) -> JournalWriter | None:
    """Return what writes the journal, if there is one. It holds what an earlier run of the same command has written."""
    from stream.broker.clients import LANE_TOPICS
    from stream.broker.publish_journal import Journal, JournalWriter, place_of_journal, read_journal

    if path is not None and (none or skip is not None):
        one_of_two = "say --journal or --no-journal, and not both"
        raise InvalidSettings(one_of_two if none else "--journal knows how many files to skip: drop --skip")
    source = wanted.source
    begun = Journal(
        paths=[str(path.resolve()) for path in source.named],
        broker=settings.kafka.broker,
        topic=settings.kafka.topic(LANE_TOPICS[wanted.lane]),
        ids=source.ids,
        time_zone=time_zone,
        list_file=str(source.list_file.resolve()) if source.list_file else None,
        records=source.total if source.list_file else None,
    )
    if path is not None:
        return JournalWriter(path, read_journal(path, begun))
    if none or skip is not None or not _keeps_a_journal(wanted):
        return None
    place = place_of_journal(begun)
    return JournalWriter(place, read_journal(place, begun), is_kept=False) if place else None


def _keeps_a_journal(wanted: Wanted) -> bool:
    """Return whether a run keeps a journal that nobody has asked for: it sends a folder to the backfill lane."""
    from engines.batcher import Lane

    return wanted.lane is Lane.BACKFILL and any(path.is_dir() for path in wanted.source.named)


def _begin(writer: JournalWriter | None) -> bool:
    """Begin the journal, and return whether the run goes on with an earlier one. Say so."""
    goes_on = writer is not None and writer.begin()
    if writer and writer.journal.skip:
        begun = f"an earlier run has published the first {writer.journal.skip} ECG files, says {writer.path}"
        say(f"{begun}: this one goes on behind them. --no-journal publishes all")
    return goes_on


async def _publish(settings: Settings, wanted: Wanted, account: FileAccount) -> Sent:
    from stream.broker.ecg_publisher import publish_files
    from stream.broker.needs import PUBLISHERS
    from stream.broker.start_check import ready_topics

    await ready_topics(settings.kafka, PUBLISHERS[wanted.lane])
    source, how_far = wanted.source, HowFar(done=wanted.skip, total=wanted.source.total, before=wanted.skip)
    with show_progress(time.monotonic(), as_json=False) as show:

        def progress(done: int) -> None:
            how_far.done = done
            show(how_far)

        return await publish_files(
            settings.kafka,
            source.paths,
            lane=wanted.lane,
            rate_hz=wanted.rate_hz,
            skip=wanted.skip,
            ids=source.ids,
            zone=wanted.zone,
            roots=source.roots,
            last=wanted.last,
            account=account,
            progress=progress,
            confirmed=wanted.confirmed,
        )


def _print(sent: Sent, account: FileAccount, errors: Path | None, *, as_json: bool) -> None:
    counts = account.counts()
    if as_json:
        notes = {"first_notes": account.first_notes}
        print_json(msgspec.structs.asdict(sent) | msgspec.structs.asdict(counts) | notes)
    else:
        refused, passed_over = sum(counts.refused.values()), sum(counts.passed_over.values())
        print_plain(f"published {sent.published}, refused {refused}, passed over {passed_over}")
    print_totals(account)
    print_first_notes(account, errors)
    if not sent.found:
        say("there is no ECG among these files: --errors FILE lists what each of them is")
