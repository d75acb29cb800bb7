"""Batches that are split where a topic takes only smaller ones, so that only a message that is too large is refused.

aiokafka refuses every message of a batch that the broker finds too large. It also counts the numbers of what was
refused, so that an idempotent producer's next batch would be refused too, for want of the numbers before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError, TopicAuthorizationFailedError
from aiokafka.producer.message_accumulator import MessageAccumulator, MessageBatch

TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


class _Kept(NamedTuple):
    """What a message is made of, while it is under way."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int | None
    headers: Sequence[Any]


class SplittableBatch(MessageBatch):  # type: ignore[misc]  # aiokafka is untyped
    """A batch that knows its messages, and where its halves go."""

    def __init__(self, accumulator: SplittingAccumulator, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._accumulator = accumulator
        self._kept: list[_Kept] = []

    def append(
        self,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int | None,
        headers: Sequence[Any] = (),
        **options: Any,
    ) -> Any:
        """Take a message in, if there is room, and return the future of its confirmation."""
        future = super().append(key, value, timestamp_ms, headers=headers, **options)
        if future is not None:
            self._kept.append(_Kept(key, value, timestamp_ms, headers))
        return future

    def failure(self, exception: BaseException) -> None:
        """Refuse the messages; if they are too large together, try each half of them."""
        is_too_large = isinstance(exception, TOO_LARGE)
        if is_too_large or (isinstance(exception, TopicAuthorizationFailedError) and self.retry_count == 1):
            self._accumulator.take_numbers_back(self)  # the broker has appended nothing, at no try
        if is_too_large and len(self._kept) > 1:
            self._accumulator.put_first(self._halves())
            self.future.set_result(None)
        else:
            super().failure(exception)

    def _halves(self) -> list[SplittableBatch]:
        middle = (len(self._kept) + 1) // 2
        futures = [future for future, _ in self._msg_futures]
        return [
            self._accumulator.new_batch(self.tp, self._kept[part], futures[part])
            for part in (slice(middle), slice(middle, None))
        ]


class SplittingAccumulator(MessageAccumulator):  # type: ignore[misc]
    """Makes such batches, and sends halves before what came after them."""

    def new_batch(self, tp: Any, kept: Sequence[_Kept], futures: Sequence[Any]) -> SplittableBatch:
        """Return a batch of these messages, which is full, for the futures that wait for them."""
        batch = SplittableBatch(self, tp, self.create_builder(), self._batch_ttl, 0.0)
        for message, future in zip(kept, futures, strict=True):
            batch.append(*message, _create_future=lambda future=future: future)
        batch._builder.close()  # noqa: SLF001
        return batch

    def put_first(self, halves: Sequence[SplittableBatch]) -> None:
        """Have these batches sent before the others of their partition, of which none is under way."""
        self._batches[halves[0].tp].extendleft(reversed(halves))

    def take_numbers_back(self, batch: SplittableBatch) -> None:
        """Give the numbers of a batch that was sent and refused to the next one of its partition."""
        if self._txn_manager is not None and batch.retry_count:
            self._txn_manager.increment_sequence_number(batch.tp, -batch.record_count)

    def _append_batch(self, builder: Any, tp: Any) -> SplittableBatch:
        if self._txn_manager is not None:
            self._txn_manager.maybe_add_partition_to_txn(tp)
        batch = SplittableBatch(self, tp, builder, self._batch_ttl, self._linger_time)
        self._batches[tp].append(batch)
        if not self._waiter_future.done():
            self._waiter_future.set_result(None)
        return batch
