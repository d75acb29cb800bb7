"""Publishes ECGs to a lane's topic: the sending side of a device fleet or an archive."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from engines.batcher import Lane
from inference.files import find_ecgs, printable, read_ecg
from schemas.cloudevents import AVRO, event_headers
from schemas.codec import encode_ecg
from schemas.ecg_record import EcgRecord
from schemas.errors import RecordError, UnreadableFile
from schemas.topics import record_key

from .kafka import LANE_TOPICS, new_producer
from .pace import Pace
from .settings import Settings

SOURCE = "urn:cardiacnets:publish"
UNCONFIRMED = 512
"""Records on their way to the broker at once: a bound on memory."""


@dataclass(slots=True)
class Sent:
    """What a run of publishing came to."""

    published: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """Source and reason of each file that was not sent."""


class EcgPublisher:
    """Publishes records to one topic, with a bounded number of unconfirmed ones."""

    def __init__(self, settings: Settings, lane: Lane) -> None:
        self._producer = new_producer(settings)
        self._topic = LANE_TOPICS[lane]
        self._places = asyncio.Semaphore(UNCONFIRMED)
        self._failure: BaseException | None = None
        self.confirmed = 0

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

    async def send_value(self, value: bytes, *, key: bytes | None, record_id: str) -> None:
        """Publish a record that is already encoded.

        Raises:
            KafkaError: an earlier record was not confirmed in time.
        """
        await self._places.acquire()
        if self._failure:
            raise self._failure
        headers = event_headers(
            kind=self._topic, identifier=record_id, source=SOURCE, time=datetime.now(UTC), content_type=AVRO
        )
        delivery = await self._producer.send(self._topic, value, key=key, headers=headers)
        delivery.add_done_callback(self._delivered)

    async def flush(self) -> None:
        """Wait until every record is confirmed.

        Raises:
            KafkaError: one was not.
        """
        await self._producer.flush()
        if self._failure:
            raise self._failure

    def _delivered(self, delivery: asyncio.Future[object]) -> None:
        self._places.release()
        if not delivery.cancelled() and (error := delivery.exception()):
            self._failure = self._failure or error
        else:
            self.confirmed += 1


class _Identities:
    """Which ECG each record id stands for, 16 bytes of digest a record."""

    def __init__(self) -> None:
        self._ecgs: dict[bytes, bytes] = {}

    def admit(self, record_id: str, value: bytes) -> None:
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
    settings: Settings,
    paths: Iterable[Path],
    *,
    lane: Lane,
    rate_hz: float | None = None,
    progress: Callable[[int], object] = lambda _: None,
) -> Sent:
    """Publish every ECG under `paths`; a file that cannot be sent is reported, and the rest goes on.

    Two files with one record id and different ECGs would be taken for one record: the second is not sent.

    Args:
        progress: called with the number of files done so far.
    """
    sent, pace, known = Sent(), Pace(rate_hz), _Identities()
    async with EcgPublisher(settings, lane) as publisher:
        for done, path in enumerate(find_ecgs(paths), start=1):
            try:
                record = read_ecg(path)
                value = encode_ecg(record)
                known.admit(record.record_id, value)
            except RecordError as refusal:
                sent.unreadable.append((printable(path), refusal.detail))
            else:
                await pace.step()
                await publisher.send_value(value, key=record_key(record), record_id=record.record_id)
            progress(done)
        await publisher.flush()
        sent.published = publisher.confirmed
    return sent
