"""The batcher: every waiter is settled on every path, and realtime goes first."""

import asyncio
import gc
import logging
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import PATIENCE_S, eventually

from engines.batcher import Batcher, Lane, preparers_for
from schemas.errors import EngineFailed, Overloaded, RecordError, ShuttingDown


class Device:
    """Runs batches when it is let, and keeps them: a real `run`, with a gate in front."""

    def __init__(self):
        self.batches = []
        self.started = threading.Semaphore(0)
        self._gate = threading.Event()

    def run(self, batch):
        self.batches.append(list(batch))
        self.started.release()
        assert self._gate.wait(timeout=PATIENCE_S)
        return [f"result of {item}" for item in batch]

    def let(self):
        self._gate.set()

    async def has_started(self):
        await asyncio.to_thread(self.started.acquire, timeout=PATIENCE_S)


def make_batcher(run, *, prepare=list, max_batch=4, max_queue=100, preparers=1, drain_s=60.0):
    return Batcher(
        prepare=prepare, run=run, max_batch=max_batch, max_queue=max_queue, preparers=preparers, drain_s=drain_s
    )


several = pytest.mark.parametrize("preparers", [1, 3])


def batcher_threads():
    """Return the threads of batchers that are alive."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("batcher-")]


async def occupy(batcher, device):
    """Fill the pipeline: one batch runs, one is ready, so that whatever follows stays queued."""
    running = batcher.submit("running")
    await device.has_started()
    ready = batcher.submit("ready")
    await eventually(lambda: not batcher.queued(Lane.REALTIME))
    return [running, ready]


async def test_a_lone_item_goes_at_once():
    async with make_batcher(list) as batcher:
        await batcher.submit(0)  # the threads are awake
        waited_s = []
        for item in range(50):
            started = time.perf_counter()
            assert await batcher.submit(item) == item
            waited_s.append(time.perf_counter() - started)
        assert min(waited_s) < 0.01  # the batcher lets none of them wait; a busy machine may


async def test_batches_grow_while_the_device_is_busy_up_to_the_limit():
    device = Device()
    async with make_batcher(device.run) as batcher:
        futures = await occupy(batcher, device)
        futures += [batcher.submit(item) for item in range(6)]
        device.let()
        await asyncio.gather(*futures)
    assert device.batches == [["running"], ["ready"], [0, 1, 2, 3], [4, 5]]


async def test_the_next_batch_is_prepared_while_one_runs():
    device, prepared = Device(), threading.Event()

    def prepare(items):
        if "second" in items:
            prepared.set()
        return items

    async with make_batcher(device.run, prepare=prepare) as batcher:
        batcher.submit("first")
        await device.has_started()
        batcher.submit("second")
        assert await asyncio.to_thread(prepared.wait, PATIENCE_S)
        assert len(device.batches) == 1
        device.let()


async def test_realtime_overtakes_queued_backfill_and_backfill_fills_what_is_left():
    device = Device()
    async with make_batcher(device.run) as batcher:
        futures = await occupy(batcher, device)
        futures += [batcher.submit(f"b{n}", lane=Lane.BACKFILL) for n in range(4)]
        futures += [batcher.submit(f"r{n}", lane=Lane.REALTIME) for n in range(6)]
        device.let()
        await asyncio.gather(*futures)
    assert device.batches[2:] == [["r0", "r1", "r2", "r3"], ["r4", "r5", "b0", "b1"], ["b2", "b3"]]


async def test_an_item_that_must_be_alone_has_a_batch_of_its_own():
    device = Device()
    async with make_batcher(device.run) as batcher:
        futures = await occupy(batcher, device)
        futures += [batcher.submit("b", lane=Lane.BACKFILL, alone=True), batcher.submit("r"), batcher.submit("s")]
        futures += [batcher.submit("r alone", alone=True)]
        device.let()
        await asyncio.gather(*futures)
    assert device.batches[2:] == [["r alone"], ["r", "s"], ["b"]]


@several
@pytest.mark.parametrize("error", [EngineFailed("device"), ZeroDivisionError("bug")])
async def test_a_failing_engine_fails_every_waiter_and_serving_goes_on(error, preparers):
    def run(batch):
        if "bad" in batch:
            raise error
        return batch

    async with make_batcher(run, prepare=list, preparers=preparers) as batcher:
        neighbours = [batcher.submit(item) for item in ("bad", "x")]
        outcomes = await asyncio.gather(*neighbours, return_exceptions=True)
        assert outcomes[0] is error
        assert await batcher.submit("good") == "good"
        assert batcher.counts.failures == 1


@several
async def test_a_failing_preparation_fails_every_waiter_and_serving_goes_on(preparers):
    error = ValueError("cannot prepare")

    def prepare(items):
        if "bad" in items:
            raise error
        return items

    async with make_batcher(list, prepare=prepare, preparers=preparers) as batcher:
        for _ in range(2 * preparers):  # whichever thread it was goes on
            with pytest.raises(ValueError, match="cannot prepare") as raised:
                await batcher.submit("bad")
            assert raised.value is error
        assert await batcher.submit("good") == "good"


async def test_several_preparers_work_at_the_same_time():
    together = threading.Barrier(3)

    def prepare(items):
        together.wait(PATIENCE_S)
        return items

    async with make_batcher(list, prepare=prepare, max_batch=1, preparers=3) as batcher:
        assert await asyncio.gather(*(batcher.submit(item) for item in range(6))) == list(range(6))


async def test_batches_run_in_the_order_in_which_they_were_formed_whichever_is_prepared_first():
    device, later = Device(), threading.Semaphore(0)
    device.let()

    def prepare(items):
        if items == ["first"]:
            assert later.acquire(timeout=PATIENCE_S)
        else:
            later.release()
        return items

    async with make_batcher(device.run, prepare=prepare, max_batch=1, preparers=2) as batcher:
        await asyncio.gather(*(batcher.submit(item) for item in ("first", "second", "third")))
    assert device.batches == [["first"], ["second"], ["third"]]


async def test_no_more_batches_are_prepared_than_there_are_preparers_while_the_device_is_busy():
    device, prepared = Device(), []

    def prepare(items):
        prepared.append(items)
        return items

    async with make_batcher(device.run, prepare=prepare, max_batch=1, preparers=3) as batcher:
        futures = [batcher.submit("running")]
        await device.has_started()
        futures += [batcher.submit(item) for item in range(10)]
        await eventually(lambda: len(prepared) == 4)
        await asyncio.sleep(0.05)
        assert len(prepared) == 4
        assert batcher.queued(Lane.REALTIME) == 7
        device.let()
        await asyncio.gather(*futures)


async def test_a_batch_behind_one_that_cannot_be_prepared_is_run():
    failing = threading.Event()

    def prepare(items):
        if items == ["bad"]:
            assert failing.wait(PATIENCE_S)
            raise ValueError("cannot prepare")
        return items

    async with make_batcher(list, prepare=prepare, max_batch=1, preparers=2) as batcher:
        bad, good = batcher.submit("bad"), batcher.submit("good")
        await asyncio.sleep(0.02)
        assert not good.done()  # its turn comes after
        failing.set()
        assert await good == "good"
        with pytest.raises(ValueError, match="cannot prepare"):
            await bad


async def test_several_preparers_end_with_the_batcher():
    device = Device()
    async with make_batcher(device.run, max_batch=1, preparers=3) as batcher:
        futures = [batcher.submit(item) for item in range(3)]
        await device.has_started()
        await eventually(lambda: not batcher.queued(Lane.REALTIME))
        futures += [batcher.submit(item, alone=True) for item in range(3)]
        asyncio.get_running_loop().call_later(0.05, device.let)
    assert all(future.done() for future in futures)
    assert not batcher_threads()


@pytest.mark.parametrize("results", [[], [1, 2], None, 3])
async def test_a_wrong_number_of_results_fails_the_whole_batch(results):
    async with make_batcher(lambda batch: results) as batcher:
        with pytest.raises(EngineFailed if isinstance(results, list) else TypeError):
            await batcher.submit("one")


@pytest.mark.parametrize("error", [StopIteration(), asyncio.CancelledError(), KeyboardInterrupt(), SystemExit()])
async def test_an_error_that_would_end_the_waiters_task_or_loop_reaches_it_as_its_cause(error):
    def run(batch):
        raise error

    async with make_batcher(run) as batcher:
        with pytest.raises(RuntimeError, match=type(error).__name__) as raised:
            await batcher.submit("one")
        assert raised.value.__cause__ is error


async def test_a_result_that_is_an_error_is_raised_to_its_waiter_alone():
    refusal = RecordError("not this one")
    device = Device()

    def run(batch):
        device.run(batch)
        return [refusal if item == 1 else item for item in batch]

    async with make_batcher(run) as batcher:
        await occupy(batcher, device)
        futures = [batcher.submit(item) for item in range(3)]
        device.let()
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert outcomes == [0, refusal, 2]
    assert device.batches[2] == [0, 1, 2]


async def test_a_cancelled_waiter_is_dropped_from_the_queue_and_its_neighbours_notice_nothing():
    device = Device()
    async with make_batcher(device.run) as batcher:
        occupying = await occupy(batcher, device)
        futures = [batcher.submit(item) for item in range(4)]
        futures[1].cancel()
        occupying[0].cancel()  # this one runs already: its result is ignored
        device.let()
        assert await futures[3] == "result of 3"
        assert await occupying[1] == "result of ready"
    assert device.batches[2] == [0, 2, 3]


async def test_a_full_lane_refuses_and_the_other_lane_does_not_mind():
    device = Device()
    async with make_batcher(device.run, max_queue=2) as batcher:
        await occupy(batcher, device)
        for _ in range(2):
            batcher.submit("b", lane=Lane.BACKFILL)
        assert batcher.queued(Lane.BACKFILL) == 2
        with pytest.raises(Overloaded, match="2 items of the backfill lane"):
            batcher.submit("b", lane=Lane.BACKFILL)
        batcher.submit("r")
        assert batcher.queued(Lane.REALTIME) == 1
        device.let()


async def test_room_comes_when_a_batch_is_formed():
    device = Device()
    async with make_batcher(device.run, max_queue=2) as batcher:
        await occupy(batcher, device)
        await batcher.room(Lane.REALTIME)
        futures = [batcher.submit(item) for item in range(2)]
        waiting = [asyncio.create_task(batcher.room(Lane.REALTIME)) for _ in range(3)]
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in waiting)
        device.let()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*waiting, *futures)


async def test_producers_that_wait_for_room_lose_nothing_and_never_exceed_the_queue():
    depths = []

    async def produce(batcher, start):
        futures = []
        for item in range(start, start + 100):
            while True:
                await batcher.room(Lane.BACKFILL)
                try:
                    futures.append(batcher.submit(item, lane=Lane.BACKFILL))
                    break
                except Overloaded:
                    continue
            depths.append(batcher.queued(Lane.BACKFILL))
        return await asyncio.gather(*futures)

    async with make_batcher(list, max_queue=3) as batcher:
        results = await asyncio.gather(*(produce(batcher, start) for start in (0, 100, 200, 300)))
    assert [item for part in results for item in part] == list(range(400))
    assert max(depths) <= 3


async def test_on_exit_the_queued_ones_are_told_and_the_formed_ones_finish():
    device = Device()
    batcher = make_batcher(device.run)
    async with batcher:
        formed = await occupy(batcher, device)
        queued = [batcher.submit(item, lane=lane) for item, lane in enumerate(Lane)]
        asyncio.get_running_loop().call_later(0.05, device.let)
    assert [await future for future in formed] == ["result of running", "result of ready"]
    for future in queued:
        with pytest.raises(ShuttingDown):
            await future
    with pytest.raises(ShuttingDown):
        batcher.submit("late")
    assert not batcher_threads()


async def test_a_waiter_for_room_is_released_on_exit():
    device = Device()
    async with make_batcher(device.run, max_queue=1) as batcher:
        await occupy(batcher, device)
        batcher.submit("fills the queue")
        waiting = asyncio.create_task(batcher.room(Lane.REALTIME))
        await asyncio.sleep(0)
        device.let()
    async with asyncio.timeout(PATIENCE_S):
        await waiting


@several
@pytest.mark.parametrize("stage", ["prepare", "run"])
async def test_a_stuck_stage_is_abandoned_after_the_deadline_and_its_waiters_told(stage, preparers, caplog):
    release, stuck = threading.Event(), threading.Event()

    def block(batch):
        stuck.set()
        assert release.wait(PATIENCE_S)
        return batch

    stages = {"prepare": list, "run": list, stage: block}
    batcher = make_batcher(drain_s=0.1, preparers=preparers, **stages)
    async with batcher:
        future = batcher.submit("stuck")
        assert await asyncio.to_thread(stuck.wait, PATIENCE_S)
    abandoned = batcher_threads()
    assert abandoned  # the stage is stuck still, and was not waited for
    with pytest.raises(ShuttingDown, match="before the item's batch had run"):
        await future
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    release.set()  # an abandoned thread ends by itself once the device lets go
    for thread in abandoned:
        await asyncio.to_thread(thread.join, PATIENCE_S)
        assert not thread.is_alive()


async def test_exit_that_is_itself_cancelled_still_tells_everyone():
    device = Device()
    futures = []

    async def serve():
        async with make_batcher(device.run, drain_s=60) as batcher:
            futures.extend(await occupy(batcher, device))

    task = asyncio.create_task(serve())
    await eventually(lambda: len(futures) == 2)
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for future in futures:
        with pytest.raises(ShuttingDown):
            await future
    device.let()


def test_a_loop_that_is_closed_meanwhile_makes_no_noise(caplog):
    device = Device()

    async def abandon():
        batcher = make_batcher(device.run, drain_s=0.0)
        async with batcher:
            batcher.submit("running")
            await device.has_started()
            batcher.submit("never waited for")
        return batcher_threads()

    threads = asyncio.run(abandon())
    device.let()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    gc.collect()
    assert [record.name for record in caplog.records] == ["engines.batcher"]  # the deadline, and nothing of asyncio's


async def test_an_error_that_nobody_waits_for_makes_no_noise(caplog):
    def run(batch):
        raise EngineFailed("unheard")

    async with make_batcher(run) as batcher:
        batcher.submit("forgotten")
        await eventually(lambda: batcher.counts.failures)
        await asyncio.sleep(0.01)
    gc.collect()
    assert not caplog.records


async def test_the_threads_keep_no_batch_alive_while_idle():
    class Item:
        alive = 0

        def __init__(self):
            Item.alive += 1

        def __del__(self):
            Item.alive -= 1

    async with make_batcher(lambda batch: [None] * len(batch)) as batcher:
        await batcher.submit(Item())
        await asyncio.sleep(0.05)
        gc.collect()
        assert Item.alive == 0


async def test_the_tally_counts_batches_items_and_time():
    device = Device()
    async with make_batcher(device.run) as batcher:
        futures = await occupy(batcher, device)
        futures += [batcher.submit(item) for item in range(6)]
        device.let()
        await asyncio.gather(*futures)
        tally = batcher.counts
        assert (tally.batches, tally.items, tally.failures) == (4, 8, 0)
        assert tally.sizes == {1: 2, 4: 1, 2: 1}
        assert tally.busy_s > 0


async def test_before_it_is_entered_it_takes_nothing():
    with pytest.raises(ShuttingDown):
        make_batcher(list).submit("early")


@pytest.mark.parametrize(("max_batch", "max_queue"), [(0, 1), (1, 0)])
def test_sizes_below_one_are_refused(max_batch, max_queue):
    with pytest.raises(ValueError, match="at least one item"):
        make_batcher(list, max_batch=max_batch, max_queue=max_queue)


@pytest.mark.parametrize(("cores", "preparers"), [(1, 1), (2, 1), (8, 1), (16, 2), (32, 4), (96, 4)])
def test_many_cores_have_several_preparers(cores, preparers):
    assert preparers_for(cores) == preparers


def test_a_batcher_without_preparers_is_refused():
    with pytest.raises(ValueError, match="at least one thread"):
        make_batcher(list, preparers=0)


async def test_the_batcher_itself_costs_little():
    async with make_batcher(list, max_batch=8, max_queue=50_000) as batcher:
        started = time.process_time()  # of the processor, which other processes do not lengthen
        futures = [batcher.submit(item) for item in range(20_000)]
        await asyncio.gather(*futures)
        assert 20_000 / (time.process_time() - started) > 5_000  # 60,000 to 80,000 on two cores


# Generated schedules: whatever is submitted, cancelled and failing, in whatever order.

FATES = ("good", "refused", "fails its batch", "fails its preparation")
SUBMIT = st.tuples(st.just("submit"), st.sampled_from(Lane), st.booleans(), st.sampled_from(FATES[:1] * 5 + FATES[1:]))
STEP = st.one_of(
    SUBMIT,
    SUBMIT,
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("pause"), st.sampled_from([0, 0, 0.0005])),
)


class Watched:
    """`prepare` and `run` over items (number, lane, alone, fate), checking on every call what must always hold."""

    def __init__(self, max_batch):
        self.max_batch = max_batch
        self.batches, self.ran, self.violations = [], [], []
        self._thread, self._running = None, threading.Lock()

    def prepare(self, items):
        self.batches.append(list(items))
        if any(fate == "fails its preparation" for *_, fate in items):
            raise RecordError("preparation")
        return items

    def run(self, batch):
        self.ran.append(batch)
        self._thread = self._thread or threading.get_ident()
        self.require(self._thread == threading.get_ident(), "the device has one thread")
        self.require(self._running.acquire(blocking=False), "one batch at a time")
        try:
            self.require(1 <= len(batch) <= self.max_batch, "a batch within its limit")
            self.require(len(batch) == 1 or not any(alone for _, _, alone, _ in batch), "alone means alone")
            if any(fate == "fails its batch" for *_, fate in batch):
                raise EngineFailed("batch")
            return [RecordError("refused") if fate == "refused" else number for number, _, _, fate in batch]
        finally:
            self._running.release()

    def require(self, condition, what):
        if not condition:
            self.violations.append(what)


async def follow(schedule, batcher):
    submitted = []
    for step, *arguments in schedule:
        if step == "submit":
            item = (len(submitted), *arguments)
            try:
                submitted.append((item, batcher.submit(item, lane=item[1], alone=item[2])))
            except Overloaded:
                assert batcher.queued(item[1]) >= 0
        elif step == "cancel" and arguments[0] < len(submitted):
            submitted[arguments[0]][1].cancel()
        elif step == "pause":
            await asyncio.sleep(arguments[0])
    return submitted


def fate_of(item, future, batch_of, *, exited):
    """Tell whether the future ended as it must, given the batch that its item was in."""
    if future.cancelled():
        return True
    error = future.exception()
    batch = batch_of.get(item[0])
    if isinstance(error, ShuttingDown):
        return exited and batch is None
    fates = {fate for *_, fate in batch}
    if "fails its preparation" in fates:
        return isinstance(error, RecordError)
    if "fails its batch" in fates:
        return isinstance(error, EngineFailed)
    return isinstance(error, RecordError) if item[3] == "refused" else error is None and future.result() == item[0]


@settings(max_examples=120, deadline=None)
@given(
    schedule=st.lists(STEP, max_size=40),
    max_batch=st.integers(1, 5),
    max_queue=st.integers(1, 12),
    preparers=st.integers(1, 3),
    exits_early=st.booleans(),
)
def test_whatever_happens_every_future_ends_as_its_batch_did(schedule, max_batch, max_queue, preparers, exits_early):
    watched = Watched(max_batch)

    async def serve():
        sizes = {"max_batch": max_batch, "max_queue": max_queue, "preparers": preparers}
        async with make_batcher(watched.run, prepare=watched.prepare, **sizes) as batcher:
            submitted = await follow(schedule, batcher)
            if not exits_early:
                await asyncio.wait_for(asyncio.gather(*(f for _, f in submitted), return_exceptions=True), PATIENCE_S)
        return submitted

    submitted = asyncio.run(serve())
    batch_of = {item[0]: batch for batch in watched.batches for item in batch}
    assert watched.violations == []
    assert sum(map(len, watched.batches)) == len(batch_of), "no item twice"
    for item, future in submitted:
        assert future.done()
        assert fate_of(item, future, batch_of, exited=exits_early), item
    in_order = watched.batches if preparers == 1 else watched.ran  # several are prepared at one time
    for lane in Lane:
        for alone in (False, True):
            order = [n for batch in in_order for n, where, solo, _ in batch if (where, solo) == (lane, alone)]
            assert order == sorted(order), "first come, first served"


@settings(max_examples=40, deadline=None)
@given(
    queued=st.lists(st.tuples(st.sampled_from(Lane), st.booleans()), min_size=1, max_size=30),
    max_batch=st.integers(1, 5),
)
def test_no_realtime_item_is_left_behind_while_backfill_is_taken(queued, max_batch):
    device = Device()

    async def serve():
        async with make_batcher(device.run, max_batch=max_batch) as batcher:
            futures = await occupy(batcher, device)
            futures += [batcher.submit((n, lane), lane=lane, alone=alone) for n, (lane, alone) in enumerate(queued)]
            device.let()
            await asyncio.gather(*futures)

    asyncio.run(serve())
    lanes = [[lane for _, lane in batch] for batch in device.batches[2:]]
    last_with_realtime = max((n for n, batch in enumerate(lanes) if Lane.REALTIME in batch), default=0)
    for batch in lanes[:last_with_realtime]:
        assert batch[0] is Lane.REALTIME, "a batch of backfill ran before a realtime item that was already queued"
