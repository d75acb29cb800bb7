"""A task that loses a cancellation ends all the same."""

import asyncio

from stream.end_tasks import end_tasks


async def test_a_task_that_loses_a_cancellation_is_cancelled_again():
    """As `asyncio.wait_for` of Python 3.11 does, where what it waits for is done at that moment."""
    sent = asyncio.get_running_loop().create_future()

    async def sends_for_ever():
        await asyncio.wait_for(sent, timeout=60)
        await asyncio.Event().wait()

    task = asyncio.create_task(sends_for_ever())
    await asyncio.sleep(0)
    sent.set_result(None)
    async with asyncio.timeout(60):
        await end_tasks(task)
    assert task.cancelled()


async def test_tasks_that_have_ended_are_left_as_they_are():
    task = asyncio.create_task(asyncio.sleep(0, "done"))
    await task
    await end_tasks(task)
    assert task.result() == "done"
