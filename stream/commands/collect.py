"""`cardiacnets collect`: the answers of a lane from Kafka into a table of Parquet files, exactly once."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stream.plain_text import print_plain

from .backfill_progress import show_progress
from .file_options import print_first_notes, print_totals
from .options import Broker, Json, settings_with
from .output import print_json, say

if TYPE_CHECKING:
    from inference.file_account import FileAccount
    from stream.collecting.dataset import Summary
    from stream.collecting.run import Asked
    from stream.settings import KafkaSettings

FILE_ROWS = 5000
FILE_S = 300.0


def collect_command(
    out: Annotated[Path, typer.Option(help="Folder of the tables. A folder that was begun is gone on with.")],
    lane: Annotated[
        Literal["realtime", "backfill", "all"], typer.Option(help="Whose answers: of the ward, of an archive, or all.")
    ] = "backfill",
    broker: Broker = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on at the ends of the topics, until SIGTERM or the interrupt key.")
    ] = False,
    file_rows: Annotated[int, typer.Option(min=1, max=50_000, help="Rows of a file at most.")] = FILE_ROWS,
    file_seconds: Annotated[
        float, typer.Option(min=1, help="While the topics are followed: a file that has rows is written after so long.")
    ] = FILE_S,
    errors: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="File to write: a line of JSON for each message that is no answer."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Collect reports and rejections from Kafka into Parquet tables. Killed at any moment, the same command goes on.

    It ends where the topics ended when it began. The files' names say which offsets were read, so no row is lost and
    none comes twice. It needs no consumer group. The exit code is 1 if the work is not done.
    """
    from inference.file_account import open_account
    from stream.collecting.run import Asked

    settings = settings_with(broker=broker)
    asked = Asked(out, lane, follow, file_rows, file_seconds)
    with open_account(errors, continues=True) as account:
        summary, ended_by = asyncio.run(_collect(settings.kafka, asked, account, as_json=as_json))
    print_totals(account)
    if as_json:
        print_json(summary)
    else:
        print_first_notes(account, errors)
        _say(summary, out)
    if ended_by and not follow:
        raise SystemExit(128 + ended_by)


async def _collect(
    settings: KafkaSettings, asked: Asked, account: FileAccount, *, as_json: bool
) -> tuple[Summary, int | None]:
    """Return what the dataset has at the end, and the signal that ended the run before, if one did."""
    from stream.collecting.run import collect

    stop, ended_by = asyncio.Event(), []

    def end(number: int) -> None:
        ended_by.append(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    with show_progress(time.monotonic(), as_json=as_json, of="messages") as show:
        summary = await collect(settings, asked, stop, tell=account.tell, warn=say, show=show)
    return summary, ended_by[0] if ended_by else None


def _say(summary: Summary, out: Path) -> None:
    refused, passed_over = sum(summary.refused.values()), summary.passed_over
    print_plain(f"{out}: {summary.screened} ECGs screened, {refused} refused, in {summary.files} files")
    if passed_over.without_lane:
        sentence = "do not say their lane, because a worker of version 0.1 wrote them: --lane all takes them"
        say(f"{passed_over.without_lane} reports {sentence}, into another folder")
    if passed_over.malformed:
        say(f"{passed_over.malformed} messages are no answers, and have no row: --errors FILE lists those of a run")
    if passed_over.repeated:
        say(f"{passed_over.repeated} answers came again under the same id, and have no second row")
    for place, count in summary.deleted.items():
        say(f"{place}: {count} offsets were deleted by Kafka before they were read: their answers are not in the table")
    if len(summary.models) > 1:
        say(f"the reports are of {len(summary.models)} models: the column model_version says whose each is")
