"""Publishes ECGs to the topic of a lane, as a device fleet or an archive does."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import aclosing
from datetime import tzinfo
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import msgspec
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from engines.batcher import Lane
from inference.file_account import FileAccount
from inference.reading.content import printable
from inference.reading.file_note import FileNote
from schemas.codec import encode_ecg
from schemas.ecg_record import EcgRecord
from schemas.topics import record_key
from stream.settings import KafkaSettings

from .clients import LANE_TOPICS, new_producer
from .encoded_files import Ids, Reached, encoded_files, reached
from .event_producer import EventProducer
from .rate_limit import Pace
from .read_ahead import read_ahead

SOURCE = "urn:cardiacnets:publish"
UNCONFIRMED = 512
"""How many records may be on their way to the broker at once: a bound on memory."""
TOO_LARGE = (
    "the record is larger than the broker accepts: raise the topic's max.message.bytes (see schemas/asyncapi.yaml)"
)


class Sent(msgspec.Struct, kw_only=True):
    """The result of one run of publishing. What became of the other files is in the account.

    Attributes:
        published: how many records the broker has confirmed.
        found: how many ECG files there were, the skipped ones among them.
        trouble: why the run ended early, if the broker confirmed no more records.
        skip: then: how many ECG files at the beginning need not be published again.
    """

    published: int = 0
    found: int = 0
    trouble: str | None = None
    skip: int | None = None


class File(NamedTuple):
    """The file of a record: its position (from 1) and its name."""

    number: int
    name: str


class EcgPublisher:
    """Publishes records to one topic, with a bounded number of unconfirmed ones.

    Attributes:
        confirmed: how many records the broker has confirmed.
    """

    def __init__(
        self, settings: KafkaSettings, lane: Lane, *, too_large: Callable[[str], object] = lambda _: None
    ) -> None:
        self._producer = new_producer(settings)
        self._events = EventProducer(self._producer, SOURCE)
        self._topic = LANE_TOPICS[lane]
        self._places = asyncio.Semaphore(UNCONFIRMED)
        self._failure: BaseException | None = None
        self._unconfirmed: list[File] = []
        self.confirmed = 0
        self._too_large = too_large

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
        delivery.future.add_done_callback(partial(self._delivered, file))

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
            self._too_large(file.name)
        else:
            self._failure = self._failure or error
            return
        self._unconfirmed.remove(file)


async def publish_files(
    settings: KafkaSettings,
    paths: Iterable[Path],
    *,
    lane: Lane,
    rate_hz: float | None = None,
    skip: int = 0,
    ids: Ids = "name",
    zone: tzinfo | None = None,
    roots: tuple[Path, ...] | None = None,
    last: Reached | None = None,
    account: FileAccount | None = None,
    progress: Callable[[int], object] = lambda _: None,
    confirmed: Callable[[int, Reached | None], object] = lambda *_: None,
) -> Sent:
    """Publish every ECG under `paths`. The account is told of every file that is not sent, and the others are sent.

    Two files with one record id and different ECGs would be taken for one record, so the second is not sent.

    Args:
        skip: how many ECG files at the beginning to skip, because an earlier run has published them. Files that are no
            ECGs do not count.
        ids: where the ids of the records come from.
        zone: of times in files that name none; None: the zone of this computer.
        roots: the folders that ids are below which come from the path; None: those among the paths.
        last: one of the skipped files, as the earlier run knew it.
        account: of what became of the files.
        progress: called with the number of ECG files done so far.
        confirmed: called with the number of ECG files at the beginning that need not be published again, and the last
            one of them that this run has published.

    Raises:
        InvalidSettings: another file is at the place of the last one.
    """
    account = account or FileAccount()
    sent, pace = Sent(found=skip), Pace(rate_hz)
    encoded_ecgs = encoded_files(paths, account, skip=skip, ids=ids, zone=zone, roots=roots, last=last)
    files, handed = read_ahead(encoded_ecgs), deque[Reached]()
    async with (
        aclosing(files),
        EcgPublisher(settings, lane, too_large=lambda name: account.tell(_too_large(name))) as publisher,
    ):
        try:
            async for number, encoded in files:
                sent.found = number
                if encoded is not None:
                    await pace.step()
                    file = File(number, printable(encoded.path))
                    record_id = encoded.record_id
                    await publisher.send_value(encoded.value, key=encoded.key, record_id=record_id, file=file)
                    handed.append(reached(number, encoded.path))
                progress(number)
                done = (publisher.unconfirmed or number + 1) - 1
                last = _take_last(handed, done) or last
                confirmed(done, last)
            await publisher.flush()
            confirmed(sent.found, _take_last(handed, sent.found) or last)
        except KafkaError as error:
            sent.trouble = f"the broker no longer confirms records: {error!r}"
            sent.skip = (publisher.unconfirmed or sent.found + 1) - 1
        sent.published = publisher.confirmed
    return sent


def _take_last(handed: deque[Reached], done: int) -> Reached | None:
    """Remove the files that are done with, and return the last one of them, if there is one."""
    last = None
    while handed and handed[0].number <= done:
        last = handed.popleft()
    return last


def _too_large(path: str) -> FileNote:
    return FileNote(path=path, status="refused", code="oversized_record", detail=TOO_LARGE)
