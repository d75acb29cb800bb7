"""Publishes ECGs to a lane's topic: the sending side of a device fleet or an archive."""

from __future__ import annotations

import asyncio
import hashlib
from asyncio import CancelledError
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from engines.batcher import Lane
from inference.files import find_ecgs, printable, read_ecg
from schemas.codec import encode_ecg
from schemas.ecg_record import EcgRecord
from schemas.errors import RecordError, UnreadableFile
from schemas.topics import record_key
from stream.settings import KafkaSettings

from .clients import LANE_TOPICS, new_producer
from .event_producer import EventProducer
from .rate_limit import Pace

SOURCE = "urn:cardiacnets:publish"
UNCONFIRMED = 512
"""Records on their way to the broker at once: a bound on memory."""
TOO_LARGE = (
    "the broker takes no message as large as this: raise the topic's max.message.bytes (see schemas/asyncapi.yaml)"
)


@dataclass(slots=True)
class Sent:
    """What a run of publishing came to."""

    published: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """Source and reason of each file that was not sent, or that the broker took for too large."""
    trouble: str | None = None
    """Why it ended before its time: the broker confirmed no more."""
    skip: int | None = None
    """Then, how many files need not be published again."""


class File(NamedTuple):
    """Where a record came from: the how manieth file, from 1, and what to call it."""

    number: int
    name: str


class EcgPublisher:
    """Publishes records to one topic, with a bounded number of unconfirmed ones.

    Attributes:
        confirmed: how many the broker has.
        too_large: what the broker's limit for a message has kept out, by name.
    """

    def __init__(self, settings: KafkaSettings, lane: Lane) -> None:
        self._producer = new_producer(settings)
        self._events = EventProducer(self._producer, SOURCE)
        self._topic = LANE_TOPICS[lane]
        self._places = asyncio.Semaphore(UNCONFIRMED)
        self._failure: BaseException | None = None
        self._unconfirmed: list[File] = []
        self.confirmed = 0
        self.too_large: list[str] = []

    async def __aenter__(self) -> Self:
        """Connect."""
        await self._producer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush and disconnect."""
        await self._producer.stop()

    async def send(self, record: EcgRecord) -> None:
        """Publish one record, as soon as the unconfirmed ones allow."""
        await self.send_value(encode_ecg(record), key=record_key(record), record_id=record.record_id)

    async def send_value(self, value: bytes, *, key: bytes | None, record_id: str, file: File | None = None) -> None:
        """Publish a record that is already encoded; `file` is where it came from.

        Raises:
            KafkaError: an earlier record was not confirmed in time.
        """
        await self._places.acquire()
        if self._failure:
            raise self._failure
        file = file or File(0, record_id)
        self._unconfirmed.append(file)
        delivery = await self._events.send(self._topic, record_id, value, key)
        delivery.add_done_callback(partial(self._delivered, file))

    async def flush(self) -> None:
        """Wait until every record is confirmed.

        Raises:
            KafkaError: one was not.
        """
        await self._producer.flush()
        if self._failure:
            raise self._failure

    @property
    def unconfirmed(self) -> int | None:
        """The first file that the broker has not confirmed, by its number."""
        return self._unconfirmed[0].number if self._unconfirmed else None

    def _delivered(self, file: File, delivery: asyncio.Future[object]) -> None:
        self._places.release()
        error = CancelledError() if delivery.cancelled() else delivery.exception()
        if error is None:
            self.confirmed += 1
        elif isinstance(error, MessageSizeTooLargeError):
            self.too_large.append(file.name)
        else:
            self._failure = self._failure or error
            return
        self._unconfirmed.remove(file)


class _RecordIds:
    """Which ECG each record id stands for, 16 bytes of digest a record."""

    def __init__(self) -> None:
        self._ecgs: dict[bytes, bytes] = {}

    def claim(self, record_id: str, value: bytes) -> None:
        """Take a record in.

        Raises:
            UnreadableFile: its id stands for another ECG.
        """
        if self._ecgs.setdefault(_digest(record_id.encode()), ecg := _digest(value)) != ecg:
            raise UnreadableFile(
                f"its record id {record_id} is that of another file with another ECG, and would be taken for the same "
                "record: give the file a name of its own"
            )


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=8).digest()


async def publish_files(
    settings: KafkaSettings,
    paths: Iterable[Path],
    *,
    lane: Lane,
    rate_hz: float | None = None,
    skip: int = 0,
    progress: Callable[[int], object] = lambda _: None,
) -> Sent:
    """Publish every ECG under `paths`; a file that cannot be sent is reported, and the rest goes on.

    Two files with one record id and different ECGs would be taken for one record: the second is not sent.

    Args:
        skip: so many files at the beginning are passed over: an earlier run has published them.
        progress: called with the number of files done so far.
    """
    sent, pace, known = Sent(), Pace(rate_hz), _RecordIds()
    done = skip
    async with EcgPublisher(settings, lane) as publisher:
        try:
            for done, path in enumerate(islice(find_ecgs(paths), skip, None), start=skip + 1):
                try:
                    record = read_ecg(path)
                    value = encode_ecg(record)
                    known.claim(record.record_id, value)
                except RecordError as refusal:
                    sent.unreadable.append((printable(path), refusal.detail))
                else:
                    await pace.step()
                    file = File(done, printable(path))
                    await publisher.send_value(value, key=record_key(record), record_id=record.record_id, file=file)
                progress(done)
            await publisher.flush()
        except KafkaError as error:
            sent.trouble = f"the broker confirms no more records: {error!r}"
            sent.skip = (publisher.unconfirmed or done + 1) - 1
        sent.published = publisher.confirmed
    sent.unreadable += [(source, TOO_LARGE) for source in publisher.too_large]
    return sent
