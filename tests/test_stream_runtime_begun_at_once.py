"""Coroutines that are begun at once: the same as in a task, without the task where there is nothing to wait for."""

import asyncio
import gc

import pytest

from stream.runtime.begun_at_once import Occasions, begin_at_once


@pytest.fixture
async def end():
    return asyncio.Event()


@pytest.fixture
async def ends(end):
    occasions = Occasions(end)
    yield occasions
    occasions.close()


async def test_work_that_need_not_wait_is_done_without_a_task(ends):
    seen = []

    async def work():
        seen.append(asyncio.all_tasks())

    before = asyncio.all_tasks()
    await begin_at_once(work(), ends)
    assert seen == [before] == [asyncio.all_tasks()]


async def test_work_that_waits_goes_on_where_it_was(ends):
    steps, queue, lock = [], asyncio.Queue(), asyncio.Lock()

    async def work():
        async with lock:
            steps.append(await queue.get())
        await asyncio.sleep(0)
        steps.append(await queue.get())
        await asyncio.wait([asyncio.ensure_future(queue.get())])

    for number in range(3):
        asyncio.get_running_loop().call_later(0.001 * number, queue.put_nowait, number)
    await begin_at_once(work(), ends)
    assert (steps, queue.empty(), lock.locked()) == ([0, 1], True, False)


async def test_work_is_given_up_when_an_end_comes_and_the_next_work_waits_again(end, ends):
    given_up, forever = [], asyncio.Event()

    async def work(name):
        try:
            await forever.wait()
        except asyncio.CancelledError:
            given_up.append(name)
            raise

    for name in ("first", "second"):
        asyncio.get_running_loop().call_soon(end.set)
        await begin_at_once(work(name), ends)
        end.clear()
    await asyncio.sleep(0)
    assert given_up == ["first", "second"]


@pytest.mark.parametrize("waits", [False, True])
async def test_what_work_raises_is_raised(ends, waits):
    async def work():
        if waits:
            await asyncio.sleep(0)
        raise LookupError

    with pytest.raises(LookupError):
        await begin_at_once(work(), ends)
    gc.collect()  # a result that nobody took would be a warning, and warnings are errors


async def test_work_may_catch_what_it_waited_for(ends):
    broken = asyncio.get_running_loop().create_future()
    caught = []

    async def work():
        try:
            await broken
        except ValueError:
            caught.append(True)
            await asyncio.sleep(0)

    asyncio.get_running_loop().call_soon(broken.set_exception, ValueError())
    await begin_at_once(work(), ends)
    assert caught == [True]


async def test_who_is_cancelled_while_work_waits_gives_the_work_up(ends):
    given_up, begun = asyncio.Event(), asyncio.Event()

    async def work():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    waiting = asyncio.create_task(begin_at_once(work(), ends))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(5):
        await given_up.wait()
