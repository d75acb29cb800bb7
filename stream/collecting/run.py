"""One run of collecting: connects, finds or begins the dataset, reads, and counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from engines.whole_json import write_json
from inference.reading.file_note import FileNote
from stream.settings import KafkaSettings

from .answers import KINDS, WantedLane
from .cluster import Cluster
from .collector import Collector, HowFar, deleted
from .columns import SCHEMA_VERSION
from .dataset import SUMMARY, Dataset, Made, Summary, create, find, refuse_other
from .ranges import segments


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is asked for.

    Attributes:
        follow: whether to go on at the ends of the topics.
        file_rows: of a file at most.
        file_s: a file that has rows is written after so long, while the topics are followed.
    """

    out: Path
    lane: WantedLane
    follow: bool
    file_rows: int
    file_s: float


async def collect(
    settings: KafkaSettings,
    asked: Asked,
    stop: asyncio.Event,
    *,
    tell: Callable[[FileNote], object] = lambda _: None,
    warn: Callable[[str], object] = lambda _: None,
    show: Callable[[HowFar], object] = lambda _: None,
) -> Summary:
    """Collect what the dataset lacks, and return what it has then.

    Args:
        settings: of the broker.
        asked: for what.
        stop: ends the run when it is set.
        tell: is told of messages that are no answers.
        warn: is told, in a sentence, of what a person should know.
        show: shows how far the work is.

    Raises:
        InvalidSettings: the folder holds something else, or other settings began it, or another process collects.
        DeploymentError: the broker cannot be used, or gives nothing any more.
    """
    begin, there = time.monotonic(), find(asked.out)
    async with Cluster(settings) as cluster:
        dataset = await _open(cluster, asked, there)
        with dataset.locked():
            collector = Collector(
                cluster,
                dataset,
                follow=asked.follow,
                file_rows=asked.file_rows,
                file_s=asked.file_s,
                tell=tell,
                warn=warn,
            )
            finished = await collector.run(stop, show)
            missing = await _deleted(cluster, dataset)
            seconds = time.monotonic() - begin
            summary = _summary(dataset, missing, finished=finished, seconds=seconds, messages=collector.messages)
            write_json(dataset.folder / SUMMARY, summary)
    return summary


async def _open(cluster: Cluster, asked: Asked, there: Dataset | None) -> Dataset:
    places = list(await cluster.places())
    limits = await cluster.limits(places)
    made = Made(
        program_version=version("cardiacnets"),
        created_at=datetime.now(UTC),
        broker=cluster.settings.broker,
        cluster=await cluster.identifier(),
        topics=sorted(cluster.settings.topic(kind.topic) for kind in KINDS),
        lane=asked.lane,
        begins={str(place): limit.begin for place, limit in limits.items()},
        schema=SCHEMA_VERSION,
    )
    if there is None:
        return create(asked.out, made)
    refuse_other(there, made)
    return there


async def _deleted(cluster: Cluster, dataset: Dataset) -> dict[str, int]:
    """Return how many offsets Kafka deleted before they were read, by partition."""
    places = await cluster.places()
    limits = await cluster.limits(list(places))
    held = {kind.table: dataset.held(kind) for kind in KINDS}
    counts = {
        str(place): deleted(
            segments(held[kind.table].get(place, []), dataset.made.begins.get(str(place), 0), None), limits[place].begin
        )
        for place, kind in places.items()
    }
    return {place: count for place, count in counts.items() if count}


def _summary(dataset: Dataset, missing: Mapping[str, int], *, finished: bool, seconds: float, messages: int) -> Summary:
    models, codes, passed_over, files = dataset.counted()
    return Summary(
        screened=models.total(),
        refused=dict(codes.most_common()),
        models=dict(models.most_common()),
        passed_over=passed_over,
        deleted=dict(missing),
        files=files,
        finished=finished,
        seconds=round(seconds, 3),
        messages=messages,
    )
