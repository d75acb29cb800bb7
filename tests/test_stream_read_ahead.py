"""Items are taken in a thread, a batch ahead: in order, no more than that, and the event loop goes on meanwhile."""

import asyncio
import itertools
import threading
from contextlib import aclosing

import pytest
from waiting import PATIENCE_S

from stream.broker.read_ahead import read_ahead


async def taken(items, most=None):
    found = []
    async with aclosing(read_ahead(iter(items), 4)) as ahead:
        async for item in ahead:
            found.append(item)
            if len(found) == most:
                break
    return found


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


@pytest.mark.parametrize("count", [0, 1, 4, 5, 100])
def test_all_items_come_in_order(count):
    assert asyncio.run(taken(range(count))) == list(range(count))


def test_no_more_than_two_batches_are_taken_ahead_and_no_thread_stays():
    counted = itertools.count()
    assert asyncio.run(taken(counted, most=3)) == [0, 1, 2]
    assert next(counted) <= 2 * 4
    assert threads() == []


def test_what_the_iterator_raises_comes_after_the_items_before_its_batch():
    def items():
        yield from range(9)
        raise ZeroDivisionError

    found = []

    async def collect():
        async for item in read_ahead(items(), 4):
            found.append(item)  # noqa: PERF401 -- what came before the error is wanted

    with pytest.raises(ZeroDivisionError):
        asyncio.run(collect())
    assert found == list(range(8))


def test_the_event_loop_goes_on_while_an_item_is_long_in_coming():
    loop_went_on = threading.Event()

    def items():
        yield loop_went_on.wait(PATIENCE_S)

    async def both():
        asyncio.get_running_loop().call_soon(loop_went_on.set)
        return [item async for item in read_ahead(items())]

    assert asyncio.run(both()) == [True]
