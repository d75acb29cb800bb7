"""What a process knows of its consumer group: whether it belongs to it, and why it cannot.

The consumer's thread looks once a second. Health, watchdog and metrics ask from their own threads, so each fact is one
attribute, which is replaced as a whole.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog
from aiokafka.errors import KafkaError

from stream.broker.event_producer import MessageRefused
from stream.broker.refusals import refusal_of_group, refusal_of_message
from stream.settings import KafkaSettings

from .reading import Reading

AWAY_S = 5.0
"""Whoever was not seen in the group for so long is outside it. A busy machine may be late with a look a second."""

log = structlog.get_logger(__name__)


class Group:
    """The consumer group of a process.

    Args:
        settings: of the broker.
        name: the broker's name of the group.

    Attributes:
        is_joined: returns whether the process knows its partitions; among many processes it may have none.
        refusal: why the process cannot go on; None while it can.
        reading: what is left to read, and what was lost.
    """

    def __init__(self, settings: KafkaSettings, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.is_joined: Callable[[], bool] = lambda: False
        self.refusal: str | None = None
        self.reading = Reading(clock)
        self._settings = settings
        self._clock = clock
        self._seen_at = clock()
        self._last_word: str | None = None
        self._missing: tuple[str, ...] = ()
        self._end: Callable[[], object] = lambda: None

    @property
    def away_s(self) -> float:
        """For how long the process has not been seen in its group; 0 while it is in."""
        away = self._clock() - self._seen_at
        return away if away > AWAY_S else 0.0

    @property
    def outside(self) -> str | None:
        """Why the process is outside its group, and for how long; None while it is in."""
        if not (away_s := self.away_s):
            return None
        reason = f": {self._last_word}" if self._last_word else ""
        return f"joining the consumer group {self.name} for {away_s:.0f} s{reason}"

    @property
    def unready(self) -> str | None:
        """Why the process cannot work now; None if it can."""
        if self._missing:
            return f"the broker does not have the topic {', '.join(self._missing)}, or does not let us see it"
        return self.outside or (None if self.is_joined() else f"joining the consumer group {self.name}")

    def when_refused(self, end: Callable[[], object]) -> None:
        """Have the process ended by this function when it cannot go on. It is called in the consumer's thread."""
        self._end = end

    def seen(self, *, is_member: bool, missing: tuple[str, ...]) -> None:
        """Take note of what a look has shown.

        Args:
            is_member: whether the group's coordinator knows the process.
            missing: topics that the broker does not have, or does not let us see.
        """
        if is_member and self.is_joined():
            self._seen_at, self._last_word = self._clock(), None
        if missing and missing != self._missing:
            log.error("topics_missing", topics=missing, effect="nothing of them is read until they are there")
        self._missing = missing

    def refusal_by(self, error: BaseException | None) -> str | None:
        """Return why the process cannot go on after an error; None if it is none of the broker's refusals."""
        return refusal_of_group(error, self._settings, self.name) if isinstance(error, KafkaError) else None

    def heard(self, error: KafkaError, *, is_final: bool = False) -> None:
        """Take note of an error: it ends the process if waiting does not help.

        Args:
            error: what the coordinator said, or what ended the reading.
            is_final: whether nobody tries any more.
        """
        sentence = self.refusal_by(error)
        if sentence is None and is_final:
            sentence = f"the consumer of the group {self.name} has ended: {error}"
        if sentence is None:
            self._last_word = str(error) or type(error).__name__
            log.warning("group_error", group=self.name, error=self._last_word, effect="it is tried again")
        else:
            self._refuse("group_refused", sentence)

    async def work(self, lane: Awaitable[None]) -> None:
        """Wait for the work of a lane. If the broker refuses its answers, have the process ended, and wait for that."""
        try:
            await lane
        except* MessageRefused as refused:
            self._refuse("answer_refused", refusal_of_message(_first(refused), self._settings))
            await asyncio.Event().wait()

    def _refuse(self, event: str, sentence: str) -> None:
        if self.refusal is None:
            self.refusal = sentence
            log.critical(event, reason=sentence)
            self._end()


def _first(error: BaseExceptionGroup[MessageRefused]) -> MessageRefused:
    """Return the first of the errors that a lane has ended with."""
    first = error.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
