"""A dictionary with a bound: what was put first goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
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
