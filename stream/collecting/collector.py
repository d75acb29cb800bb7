"""Reads the answers' topics into files, each of which holds the offsets that its name says.

A partition is read in segments: offsets that no file holds. What was read lies in memory until a file is full. Then the
file is written, whole, and that alone moves the position. A process that is killed reads again what lay in memory.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from inference.reading.file_note import FileNote
from schemas.errors import DeploymentError

from .answers import Kind
from .cluster import Cluster, Limits
from .dataset import Dataset
from .filling import KNOWN_IDS, Filling, Judge
from .ranges import Place, Segment, segments

TAKE_S = 0.1
"""How long the partitions may have nothing to give before it is looked what else is to be done."""
MESSAGES_AT_ONCE = 1000
MAX_ROWS = 50_000
"""In memory, of all partitions: about 75 MB."""
STALL_S = 60.0
LOOK_S = 30.0
"""While the topics are followed: how often the broker is asked for new partitions and ends."""
AWAY_S = 300.0
"""For so long a broker may not answer while it is followed. Then the process ends, so that somebody notices."""


@dataclass(slots=True)
class Reading:
    """A partition that is read: the segments that are left, of which the first is being read, and its file.

    Attributes:
        end: where the reading ends; None while that is not known, and where it is followed.
    """

    judge: Judge
    left: deque[Segment]
    filling: Filling
    end: int | None = None


class HowFar:
    """How far the work is, in offsets.

    Attributes:
        done: that were read by this run.
        total: that this run has to read, as far as that is known.
        before: nothing, since earlier runs do not count.
    """

    def __init__(self) -> None:
        self.done = self.total = self.before = 0


class Collector:
    """Collects what a dataset lacks.

    Args:
        follow: whether to go on at the ends of the topics.
        file_rows: of a file at most.
        file_s: a file that has rows is written after so long, while the topics are followed.
        tell: is told of messages that are no answers.
        warn: is told, in a sentence, of what a person should know.
    """

    def __init__(
        self,
        cluster: Cluster,
        dataset: Dataset,
        *,
        follow: bool,
        file_rows: int,
        file_s: float,
        tell: Callable[[FileNote], object],
        warn: Callable[[str], object],
    ) -> None:
        self._cluster, self._dataset = cluster, dataset
        self._follow, self._file_rows, self._file_s = follow, file_rows, file_s
        self._tell, self._warn = tell, warn
        self._readings: dict[Place, Reading] = {}
        self._known: dict[Place, Limits] = {}
        self.messages = 0
        self.how_far = HowFar()

    async def run(self, stop: asyncio.Event, show: Callable[[HowFar], object]) -> bool:
        """Read until the ends of the topics as they are now, or until it is told to stop; write what was read.

        Returns:
            Whether everything was read that was there at the start. Who follows has never read everything.

        Raises:
            DeploymentError: the broker gives nothing any more, or the topics are others than before.
        """
        try:
            await self._look()
            moved_at = looked_at = time.monotonic()
            while self._readings and not stop.is_set():
                moved = await self._take()
                await self._cut_what_is_full()
                show(self.how_far)
                now = time.monotonic()
                moved_at = now if moved else moved_at
                if self._follow and now - looked_at >= LOOK_S:
                    looked_at = now
                    moved_at = now if await self._answers() else moved_at
                self._refuse_stall(now - moved_at)
            return not self._readings
        finally:
            for place in list(self._readings):
                self._write(place)

    async def _answers(self) -> bool:
        """Look for what is new, and return whether the broker answers."""
        try:
            await self._look()
        except DeploymentError as error:
            self._warn(f"{error}; it is waited for")
            return False
        return True

    def _refuse_stall(self, seconds: float) -> None:
        if seconds < (AWAY_S if self._follow else STALL_S):
            return
        places = ", ".join(f"{place} from {reading.filling.next}" for place, reading in self._readings.items())
        advice = "is the broker away, a partition without a leader, or a transaction open?"
        sentence = (
            f"Kafka at {self._cluster.settings.broker} gave nothing for {seconds:.0f} s, and some is left: {places}"
        )
        raise DeploymentError(f"{sentence}; {advice} What was read is kept, and the same command goes on")

    # --- what there is to read

    async def _look(self) -> None:
        """Find the partitions and where they end, and begin to read those that are new."""
        places = await self._cluster.places()
        self._known = await self._cluster.limits(list(places))
        new = [place for place in places if place not in self._readings]
        for place in new:
            self._readings[place] = self._new_reading(places[place], place)
        if new:
            self._assign()
        self._count_total()

    def _new_reading(self, kind: Kind[Any], place: Place) -> Reading:
        left = self._left(kind, place)
        ids = self._dataset.last_ids(kind, place, KNOWN_IDS)
        judge = Judge(kind, place, self._dataset.made.lane, ids, self._tell)
        return Reading(judge, left, Filling(judge, left[0].first))

    def _assign(self) -> None:
        consumer = self._cluster.consumer
        consumer.assign([TopicPartition(*place) for place in self._readings])
        for place, reading in self._readings.items():  # an assignment forgets where each was
            consumer.seek(TopicPartition(*place), reading.filling.next)

    def _left(self, kind: Kind[Any], place: Place) -> deque[Segment]:
        """Return the offsets of a partition that no file holds, and that Kafka has. The last ones have no end."""
        held, begin = self._dataset.held(kind).get(place, []), self._known[place].begin
        free = segments(held, self._dataset.made.begins.get(str(place), 0), None)
        self._say_what_was_deleted(place, free, begin)
        kept = [Segment(max(one.first, begin), one.end) for one in free]
        return deque(one for one in kept if one.end is None or one.first < one.end)

    def _say_what_was_deleted(self, place: Place, free: Iterable[Segment], begin: int) -> None:
        if count := deleted(free, begin):
            self._warn(
                f"{place}: Kafka has deleted {count} offsets that were not read yet; {place} begins at {begin} now"
            )

    def _count_total(self) -> None:
        left = sum(
            max(0, (self._known[place].end if one.end is None else one.end) - max(one.first, reading.filling.next))
            for place, reading in self._readings.items()
            for one in reading.left
        )
        self.how_far.total = self.how_far.done + left

    # --- reading

    async def _take(self) -> bool:
        """Take the next messages in, and return whether there were any, or offsets without one."""
        try:
            batches = await self._cluster.consumer.getmany(
                timeout_ms=round(TAKE_S * 1000), max_records=MESSAGES_AT_ONCE
            )
        except OffsetOutOfRangeError as error:
            await self._go_on_behind(error)
            return True
        except KafkaError as error:
            raise DeploymentError(f"Kafka refuses to be read ({error!r}); what was read is kept") from error
        for partition, messages in batches.items():
            self._take_in(Place(*partition), messages)
        return await self._reach_positions() > 0

    def _take_in(self, place: Place, messages: Iterable[Any]) -> None:
        reading = self._readings[place]
        end = reading.left[0].end
        for message in messages:
            if end is not None and message.offset >= end:
                break  # another file has it
            if message.offset < reading.filling.next:
                continue
            if reading.filling.rows >= self._file_rows:
                self._write(place)
            self._reach(reading, message.offset)
            reading.filling.take(message)
            self.how_far.done += 1
            self.messages += 1

    async def _reach_positions(self) -> int:
        """Note how far each partition was read, go on with its next segment, and return by how many offsets."""
        before = self.how_far.done
        for place, reading in list(self._readings.items()):
            position = await self._cluster.consumer.position(TopicPartition(*place))
            end = self._end_of(place, reading, position)
            self._reach(reading, position if end is None else min(position, end))
            if end is not None and position >= end:
                self._end_segment(place, reading)
        return self.how_far.done - before

    def _end_of(self, place: Place, reading: Reading, position: int) -> int | None:
        """Return where the segment ends that is being read; None if that is not known, or never."""
        if (end := reading.left[0].end) is not None:
            return end
        if reading.end is None and (stable := self._cluster.stable_end(place)) is not None:
            self._refuse_new_topic(place, position, stable)
            reading.end = max(stable, self._known[place].end)
        return None if self._follow else reading.end

    def _refuse_new_topic(self, place: Place, position: int, end: int) -> None:
        if position > end:
            sentence = f"{place} ends at offset {end}, and {self._dataset.folder} has it up to {position - 1}"
            raise DeploymentError(f"{sentence}: the topic was made anew; name a new folder with --out")

    def _reach(self, reading: Reading, offset: int) -> None:
        self.how_far.done += max(0, offset - reading.filling.next)
        reading.filling.reach(offset)

    def _end_segment(self, place: Place, reading: Reading) -> None:
        self._write(place)
        reading.left.popleft()
        if reading.left:
            self._begin_segment(place, reading)
        else:
            self._leave(place)

    def _leave(self, place: Place) -> None:
        del self._readings[place]
        self._cluster.consumer.pause(TopicPartition(*place))

    def _begin_segment(self, place: Place, reading: Reading) -> None:
        reading.filling = Filling(reading.judge, reading.left[0].first)
        self._cluster.consumer.seek(TopicPartition(*place), reading.left[0].first)

    async def _go_on_behind(self, error: OffsetOutOfRangeError) -> None:
        """Go on behind what Kafka has deleted meanwhile."""
        self._known |= await self._cluster.limits(list(self._readings))
        for partition, position in error.args[0].items():
            place = Place(*partition)
            if (reading := self._readings.get(place)) is None:
                continue
            self._refuse_new_topic(place, position, self._known[place].end)
            self._write(place)
            reading.left = self._left(reading.judge.kind, place)
            self._begin_segment(place, reading)

    # --- writing

    async def _cut_what_is_full(self) -> None:
        for place, reading in self._readings.items():
            if self._follow and reading.filling.rows and time.monotonic() - reading.filling.since >= self._file_s:
                self._write(place)
        while sum(reading.filling.rows for reading in self._readings.values()) > MAX_ROWS:
            self._write(max(self._readings, key=lambda place: self._readings[place].filling.rows))

    def _write(self, place: Place) -> None:
        """Write what was read of a partition, and begin its next file."""
        reading = self._readings[place]
        filling = reading.filling
        if filling.held:
            self._dataset.write(reading.judge.kind, place, filling.held, filling.table(), filling.counts)
        reading.filling = Filling(reading.judge, filling.next)


def deleted(free: Iterable[Segment], begin: int) -> int:
    """Return how many of the offsets that no file holds lie before a partition's begin."""
    ends = ((one, begin if one.end is None else min(one.end, begin)) for one in free)
    return sum(max(0, end - one.first) for one, end in ends)
