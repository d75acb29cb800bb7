"""`cardiacnets publish`: ECG files to a Kafka topic, with a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import DeploymentError, InvalidSettings

from .options import Broker, Json, LaneName, settings_with
from .output import print_json
from .progress_bar import progress_bar

if TYPE_CHECKING:
    from engines.batcher import Lane
    from stream.broker.ecg_publisher import Sent
    from stream.settings import Settings


def publish_command(
    paths: Annotated[list[Path], typer.Argument(help="ECG files, and folders that are searched for ECG files.")],
    broker: Broker = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Largest number of records a second.")] = None,
    lane: LaneName = "realtime",
    skip: Annotated[
        int, typer.Option(min=0, help="Number of files to skip, because an earlier run has published them.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Publish ECG files to Kafka, as a device fleet or an archive does.

    The name of a file, without its ending, becomes the id of the record. Reports and dashboards show the id: it must
    not identify a patient.
    """
    import asyncio

    from engines.batcher import Lane

    if missing := [str(path) for path in paths if not path.exists()]:
        raise InvalidSettings(f"no such file or folder: {', '.join(missing)}")
    sent = asyncio.run(_publish(settings_with(broker=broker), paths, Lane(lane), rate, skip))
    _print(sent, as_json=as_json)
    if sent.trouble:
        raise DeploymentError(f"{sent.trouble}; run the same command with --skip {sent.skip} to continue")
    if sent.unreadable:
        raise SystemExit(1)


async def _publish(settings: Settings, paths: Sequence[Path], lane: Lane, rate_hz: float | None, skip: int) -> Sent:
    from stream.broker.clients import LANE_TOPICS, ensure_topics
    from stream.broker.ecg_publisher import publish_files

    await ensure_topics(settings.kafka, [LANE_TOPICS[lane]])
    total = None if any(path.is_dir() for path in paths) else len(paths)  # a folder is walked while it is published
    with progress_bar() as show:
        return await publish_files(
            settings.kafka,
            paths,
            lane=lane,
            rate_hz=rate_hz,
            skip=skip,
            progress=lambda done: show("publishing", done, total),
        )


def _print(sent: Sent, *, as_json: bool) -> None:
    if as_json:
        print_json(sent)
    else:
        print(f"published {sent.published}, unreadable {len(sent.unreadable)}")
    for source, reason in sent.unreadable:
        print(f"{source}: {reason}", file=sys.stderr)
