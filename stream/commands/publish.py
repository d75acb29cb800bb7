"""`cardiacnets publish`: ECG files to a Kafka topic, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from schemas.errors import DeploymentError, InvalidSettings
from stream.plain_text import print_plain

from .file_options import Errors, TimeZone, print_first_notes, print_totals, zone_named
from .options import Broker, Json, LaneName, settings_with
from .output import print_json, say
from .progress_bar import progress_bar

if TYPE_CHECKING:
    from engines.batcher import Lane
    from inference.file_account import FileAccount
    from stream.broker.ecg_publisher import Sent
    from stream.broker.publish_journal import JournalWriter
    from stream.settings import Settings


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run is asked for."""

    paths: Sequence[Path]
    lane: Lane
    rate_hz: float | None
    skip: int
    ids: Literal["name", "path"]
    zone: tzinfo | None
    confirmed: Callable[[int], object] = lambda _: None


def publish_command(
    paths: Annotated[
        list[Path], typer.Argument(help="ECG files, and folders in which ECGs are found by their content.")
    ],
    broker: Broker = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Largest number of records a second.")] = None,
    lane: LaneName = "realtime",
    skip: Annotated[
        int | None, typer.Option(min=0, help="Number of ECG files to skip, because an earlier run has published them.")
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="File that keeps how far the run came: the same command goes on."),
    ] = None,
    ids: Annotated[
        Literal["name", "path"],
        typer.Option(
            help="Record ids: the file's name without its ending, or its path below the folder that is named."
        ),
    ] = "name",
    time_zone: TimeZone = None,
    errors: Errors = None,
    as_json: Json = False,
) -> None:
    """Publish ECG files to Kafka, as a device fleet or an archive does.

    The name or the path of a file becomes the id of the record. Reports and dashboards show the id: it must not
    identify a patient. The exit code is 1 if a file was refused, or if there was no ECG.
    """
    import asyncio

    from engines.batcher import Lane
    from inference.file_account import open_account
    from inference.reading.wfdb_record import header_of

    if missing := [str(path) for path in paths if not (path.exists() or header_of(path))]:
        raise InvalidSettings(f"no such file or folder: {', '.join(missing)}")
    settings = settings_with(broker=broker)
    wanted = Wanted(paths=paths, lane=Lane(lane), rate_hz=rate, skip=skip or 0, ids=ids, zone=zone_named(time_zone))
    if journal is None:
        writer = None
    elif skip is not None:
        raise InvalidSettings("--journal knows how many files to skip: drop --skip")
    else:
        writer = _open_journal(journal, wanted, settings.kafka.broker, time_zone)
        if writer.journal.finished:
            say(f"{journal} says that all was published: remove it to publish again")
            return
        wanted = replace(wanted, skip=writer.journal.skip, confirmed=writer.confirmed)
    with open_account(errors, continues=skip is not None or wanted.skip > 0) as account:
        sent = asyncio.run(_publish(settings, wanted, account))
    if writer:
        writer.end(finished=sent.trouble is None)
    _print(sent, account, errors, as_json=as_json)
    if sent.trouble:
        again = f"with --skip {sent.skip} " if writer is None else ""
        raise DeploymentError(f"{sent.trouble}; run the same command {again}to continue")
    if account.counts().refused or not sent.found:
        raise SystemExit(1)


def _open_journal(path: Path, wanted: Wanted, broker: str, time_zone: str | None) -> JournalWriter:
    """Return what writes the journal. It holds what an earlier run of the same command has written."""
    from stream.broker.clients import LANE_TOPICS
    from stream.broker.publish_journal import Journal, JournalWriter, read_journal

    begun = Journal(
        paths=[str(path.resolve()) for path in wanted.paths],
        broker=broker,
        topic=LANE_TOPICS[wanted.lane],
        ids=wanted.ids,
        time_zone=time_zone,
    )
    return JournalWriter(path, read_journal(path, begun))


async def _publish(settings: Settings, wanted: Wanted, account: FileAccount) -> Sent:
    from stream.broker.clients import LANE_TOPICS, ensure_topics
    from stream.broker.ecg_publisher import publish_files

    await ensure_topics(settings.kafka, [LANE_TOPICS[wanted.lane]])
    has_folders = any(path.is_dir() for path in wanted.paths)  # a folder is walked while it is published
    total = None if has_folders else len(wanted.paths)
    with progress_bar() as show:
        return await publish_files(
            settings.kafka,
            wanted.paths,
            lane=wanted.lane,
            rate_hz=wanted.rate_hz,
            skip=wanted.skip,
            ids=wanted.ids,
            zone=wanted.zone,
            account=account,
            progress=lambda done: show("publishing", done, total),
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
