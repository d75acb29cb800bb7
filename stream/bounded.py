"""Dictionaries with a bound, in number or in bytes: what was put first goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class RecentDict(Generic[KeyT, ValueT]):
    """Keeps the values that were put last, at most `limit` of them."""

    def __init__(self, limit: int) -> None:
        self._values: OrderedDict[KeyT, ValueT] = OrderedDict()
        self._limit = limit

    def __contains__(self, key: KeyT) -> bool:
        """Return whether the key is still there."""
        return key in self._values

    def __len__(self) -> int:
        """Return how many are there."""
        return len(self._values)

    def newest_first(self) -> Iterator[ValueT]:
        """Yield the values."""
        return reversed(self._values.values())

    def get(self, key: KeyT) -> ValueT | None:
        """Return the value, None where it never was or is no more."""
        return self._values.get(key)

    def put(self, key: KeyT, value: ValueT) -> None:
        """Set the value, as the newest; forget the oldest one too many."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._limit:
            self._values.popitem(last=False)

    def pop(self, key: KeyT) -> ValueT | None:
        """Remove and return the value, None where there is none."""
        return self._values.pop(key, None)

    def drop_while(self, gone: Callable[[ValueT], bool]) -> None:
        """Forget the values that were put first, up to the first one that is not gone."""
        while self._values and gone(next(iter(self._values.values()))):
            self._values.popitem(last=False)


class SizedDict(RecentDict[KeyT, ValueT]):
    """Keeps the values that were put last, at most `limit` of them and no more than `max_bytes` together."""

    def __init__(self, limit: int, max_bytes: int) -> None:
        super().__init__(limit)
        self._sizes: dict[KeyT, int] = {}
        self._max_bytes = max_bytes
        self.bytes = 0

    def put_sized(self, key: KeyT, value: ValueT, size: int) -> None:
        """Set the value, as the newest; forget the oldest ones too many."""
        self.pop(key)
        self._sizes[key] = size
        self.bytes += size
        self._values[key] = value
        while len(self._values) > self._limit or self.bytes > self._max_bytes:
            self.pop(next(iter(self._values)))

    def pop(self, key: KeyT) -> ValueT | None:
        """Remove and return the value, None where there is none."""
        self.bytes -= self._sizes.pop(key, 0)
        return super().pop(key)
