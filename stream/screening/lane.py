"""A lane: takes ECGs from one topic, has them screened, publishes the answers, and acknowledges in order.

Each record passes four steps. Several records are in each step at once.

1. accept       wait for room (the bound on memory), then hand the message to the batcher
2. settle       wait for the answer: a screening or a refusal. A failed engine is tried again, within bounds. An ECG
                whose id belongs to another ECG is refused
3. publish      hand the answer's messages to the producer
4. acknowledge  after the broker has confirmed every message, in the order of arrival. Faust commits across a gap of
                one offset, so a later record must never be acknowledged before an earlier one

An unforeseen error ends the lane, and its records stay unacknowledged: the process stops, and the consumer group gives
its partitions to another worker. An engine that fails on many records in a row ends the lane as well: then the engine
is at fault, so the records are not rejected.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engines.batcher import Batcher, Lane
from inference.screener import ReceivedEcg, Refused, ScreenedOrRefused
from schemas.ecg_message import ecg_message
from schemas.errors import EngineFailed, IdOfAnotherEcg, RegistryUnavailable, ShuttingDown, TransientError
from schemas.identity import ecg_digest
from stream.broker.unreadable_place import refusal_of
from stream.runtime.event import Event, Tries

from .known_ecgs import ClaimingEcg

REGISTRY_TRIES = Tries(limit=6, backoff_s=1.0)
"""Half a minute in all: a registry that restarts must not cost a record its screening."""


@dataclass(slots=True)
class _Pending:
    event: Event
    ecg: ClaimingEcg
    screening: asyncio.Future[ScreenedOrRefused]


class Publisher(Protocol):
    """Where a lane sends its answers."""

    async def publish(self, event: Event, outcome: ScreenedOrRefused) -> Sequence[Awaitable[object]]:
        """Hand the messages of an answer to the producer; return the delivery of each."""

    def acknowledged(self, event: Event) -> None:
        """Take note that the broker has confirmed every message of the answer."""


class ScreeningLane:
    """Runs one lane over one batcher.

    Args:
        tries: how often a record is tried whose engine failed.
        in_flight: how many records may be between arrival and acknowledgement.
        failures_in_a_row: the lane ends when every try of this many records in a row has failed. Then the engine or
            the schema registry is at fault, and not the records.
        registry_tries: of the first record whose schema cannot be had at the moment; the lane waits for it.
    """

    def __init__(
        self,
        batcher: Batcher[ReceivedEcg, Any, ScreenedOrRefused],
        lane: Lane,
        publisher: Publisher,
        *,
        tries: Tries,
        in_flight: int,
        failures_in_a_row: int,
        registry_tries: Tries = REGISTRY_TRIES,
    ) -> None:
        self._batcher = batcher
        self._lane = lane
        self._publisher = publisher
        self._tries = tries
        self._registry_tries = registry_tries
        self._failures_in_a_row = failures_in_a_row
        self._places = asyncio.Semaphore(in_flight)
        self._accepted: asyncio.Queue[_Pending | None] = asyncio.Queue()
        self._published: asyncio.Queue[tuple[Event, Sequence[Awaitable[object]]] | None] = asyncio.Queue()
        self._given_up = 0
        self._outage_waited_for: int | None = None  # the registry's, through which a record has waited in vain
        self.waits_for_registry = False
        self.held = 0
        self.finished = 0

    async def run(self, events: AsyncIterable[Event]) -> None:
        """Work until the events end, then finish the accepted records."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._answer())
            tasks.create_task(self._acknowledge())
            async for event in events:
                await self._accept(event)
            self._accepted.put_nowait(None)

    async def _accept(self, event: Event) -> None:
        await self._places.acquire()
        self.held += 1
        ecg = ClaimingEcg(ecg_message(event.value, event.headers), refusal=refusal_of(event.value), lane=self._lane)
        self._accepted.put_nowait(_Pending(event, ecg, await self._batcher.admit(ecg, lane=self._lane)))

    async def _answer(self) -> None:
        while pending := await self._accepted.get():
            outcome = await _of_one_ecg(pending.ecg, await self._settle(pending))
            self._published.put_nowait((pending.event, await self._publisher.publish(pending.event, outcome)))
        self._published.put_nowait(None)

    async def _settle(self, pending: _Pending) -> ScreenedOrRefused:
        """Return the screening, or the refusal that holds after the last try.

        Raises:
            TransientError: the same fault lasted through all tries of too many records in a row.
        """
        failed = 0
        while isinstance(outcome := await _outcome(pending), Refused) and isinstance(outcome.error, TransientError):
            failed += 1
            tries = self._tries_after(outcome.error)
            if failed >= tries.limit:
                outcome = self._give_up(outcome, failed)
                break
            self.waits_for_registry = tries is self._registry_tries
            await asyncio.sleep(tries.delay_s(failed))
            # Alone, so that one poisonous record cannot fail its neighbours a second time.
            pending.screening = await self._batcher.admit(pending.ecg, lane=self._lane, alone=True)
        self.waits_for_registry = False
        if not isinstance(outcome, Refused):
            self._given_up = 0
        return outcome

    def _tries_after(self, error: TransientError) -> Tries:
        """Return how often to try: one record waits for an outage of the registry to end, and no other record does."""
        patient = isinstance(error, RegistryUnavailable) and error.outage != self._outage_waited_for
        return self._registry_tries if patient else self._tries

    def _give_up(self, refused: Refused, failed: int) -> Refused:
        self._given_up += 1
        if isinstance(refused.error, RegistryUnavailable):
            self._outage_waited_for = refused.error.outage
        if self._given_up < self._failures_in_a_row:
            return refused
        in_a_row = f"failed on {self._given_up} records in a row"
        if isinstance(refused.error, RegistryUnavailable):
            raise RegistryUnavailable(f"the schema registry {in_a_row}: {refused.error}")
        raise EngineFailed(f"the engine {in_a_row}, each {failed} times")

    async def _acknowledge(self) -> None:
        while answered := await self._published.get():
            event, deliveries = answered
            for delivery in deliveries:
                await delivery
            event.ack()
            self._publisher.acknowledged(event)
            self.held -= 1
            self.finished += 1
            self._places.release()


async def _of_one_ecg(ecg: ClaimingEcg, outcome: ScreenedOrRefused) -> ScreenedOrRefused:
    """Return the answer, or the refusal of an ECG whose id belongs to another ECG."""
    if isinstance(outcome, Refused) or ecg.claim is None or not await ecg.claim.is_foreign():
        return outcome
    record = outcome.record
    refusal = IdOfAnotherEcg(
        f"record id {record.record_id} was already used for another ECG: give each ECG its own id",
        record_id=record.record_id,
    )
    # Of a third ECG under this id the rejection has an id of its own.
    refusal.subject = f"{record.record_id}/{ecg_digest(record).hex()}"
    return Refused(record, refusal)


async def _outcome(pending: _Pending) -> ScreenedOrRefused:
    """Return the answer to the ECG. A batch that failed as a whole is a refusal of each of its ECGs."""
    try:
        return await pending.screening
    except ShuttingDown:
        raise
    except TransientError as error:
        return Refused(pending.ecg.record, error)
