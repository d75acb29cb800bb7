"""Publishes ECGs to the topic of a lane, as a device fleet or an archive does."""

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
from inference.reading.content import printable
from inference.reading.find_ecgs import find_ecgs
from inference.reading.read_ecg import read_ecg
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
"""How many records may be on their way to the broker at once: a bound on memory."""
TOO_LARGE = (
    "the record is larger than the broker accepts: raise the topic's max.message.bytes (see schemas/asyncapi.yaml)"
)


@dataclass(slots=True)
class Sent:
    """The result of one run of publishing."""

    published: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """Name and reason of each file that was not sent, or that was too large for the broker."""
    trouble: str | None = None
    """Why the run ended early, if the broker confirmed no more records."""
    skip: int | None = None
    """Then: how many files at the beginning need not be published again."""


class File(NamedTuple):
    """The file of a record: its position (from 1) and its name."""

    number: int
    name: str


class EcgPublisher:
    """Publishes records to one topic, with a bounded number of unconfirmed ones.

    Attributes:
        confirmed: how many records the broker has confirmed.
        too_large: the names of the records that exceed the broker's limit for a message.
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
        """Send what waits, and disconnect."""
        await self._producer.stop()

    async def send(self, record: EcgRecord) -> None:
        """Publish one record, after waiting until few enough are unconfirmed."""
        await self.send_value(encode_ecg(record), key=record_key(record), record_id=record.record_id)

    async def send_value(self, value: bytes, *, key: bytes | None, record_id: str, file: File | None = None) -> None:
        """Publish a record that is encoded already; `file` says where the record came from.

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
            KafkaError: one record was not confirmed.
        """
        await self._producer.flush()
        if self._failure:
            raise self._failure

    @property
    def unconfirmed(self) -> int | None:
        """The number of the first file that the broker has not confirmed; None if there is none."""
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
    """Which ECG each record id stands for. It takes 16 bytes of digests a record."""

    def __init__(self) -> None:
        self._ecgs: dict[bytes, bytes] = {}

    def claim(self, record_id: str, value: bytes) -> None:
        """Note that a record id stands for an ECG.

        Raises:
            UnreadableFile: the id stands for another ECG already.
        """
        if self._ecgs.setdefault(_digest(record_id.encode()), ecg := _digest(value)) != ecg:
            raise UnreadableFile(
                f"another file with another ECG has the same record id {record_id}, so both would be taken for one "
                "record: rename one of the files"
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
    """Publish every ECG under `paths`. A file that cannot be sent is reported, and the others are sent.

    Two files with one record id and different ECGs would be taken for one record, so the second is not sent.

    Args:
        skip: how many files at the beginning to skip, because an earlier run has published them.
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
            sent.trouble = f"the broker no longer confirms records: {error!r}"
            sent.skip = (publisher.unconfirmed or done + 1) - 1
        sent.published = publisher.confirmed
    sent.unreadable += [(source, TOO_LARGE) for source in publisher.too_large]
    return sent
