"""`cardiacnets publish`: ECG files to a Kafka topic, with a progress bar."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from engines.batcher import Lane
from schemas.errors import DeploymentError, InvalidSettings
from stream.broker.clients import LANE_TOPICS, ensure_topics
from stream.broker.ecg_publisher import Sent, publish_files
from stream.settings import Settings


def publish_command(
    settings: Settings, paths: Sequence[Path], *, rate_hz: float | None, lane: str, skip: int, as_json: bool
) -> None:
    """Publish the files; exit 1 when one of them could not be sent.

    Raises:
        DeploymentError: the broker stopped confirming; what was published is told before.
    """
    try:
        chosen = Lane(lane)
    except ValueError:
        raise InvalidSettings(f"no lane is called {lane!r}: choose realtime or backfill") from None
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise InvalidSettings(f"not there: {', '.join(missing)}")
    sent = asyncio.run(_publish(settings, paths, chosen, rate_hz, skip))
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(sent) + b"\n")
    else:
        Console().print(f"published {sent.published}, unreadable {len(sent.unreadable)}")
    for source, reason in sent.unreadable:
        print(f"{source}: {reason}", file=sys.stderr)
    if sent.trouble:
        raise DeploymentError(f"{sent.trouble}; the same command with --skip {sent.skip} goes on")
    if sent.unreadable:
        raise SystemExit(1)


async def _publish(settings: Settings, paths: Sequence[Path], lane: Lane, rate_hz: float | None, skip: int) -> Sent:
    await ensure_topics(settings.kafka, [LANE_TOPICS[lane]])
    columns = (TextColumn("publishing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        # A folder is walked while it is published, so its total is not known beforehand.
        task = bar.add_task("publishing", total=None if any(path.is_dir() for path in paths) else len(paths))
        return await publish_files(
            settings.kafka,
            paths,
            lane=lane,
            rate_hz=rate_hz,
            skip=skip,
            progress=lambda done: bar.update(task, completed=done),
        )
