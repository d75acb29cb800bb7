"""The lane: every record answered, acknowledged in order and only after its answers are confirmed."""

import asyncio
from collections import Counter
from types import SimpleNamespace

import pytest
from waiting import eventually

from engines.batcher import Batcher, Lane
from inference.screener import Refused
from schemas.errors import EngineFailed, MalformedRecord, RegistryUnavailable
from stream.broker.record_batches import Gap
from stream.broker.unreadable_place import unreadable_place
from stream.runtime.event import Tries
from stream.screening.lane import ScreeningLane

TRIES = Tries(limit=3, backoff_s=0.001)
REGISTRY_TRIES = Tries(limit=6, backoff_s=0.0001)


class FakeEvent:
    """A Faust event as far as a lane sees it."""

    def __init__(self, offset, acked, *, framed=False):
        self.key, self.value, self.headers = None, b"\x00" * framed + b"%d" % offset, {}
        self.message = SimpleNamespace(topic="t", partition=0, offset=offset, timestamp=0.0)
        self._acked = acked

    def ack(self):
        self._acked.append(self.message.offset)
        return True


class Broker:
    """Takes answers, confirms each when told to, and remembers."""

    def __init__(self, *, confirm=True):
        self.answers, self.acked, self.unconfirmed = {}, [], {}
        self._confirm = confirm

    async def publish(self, event, outcome):
        offset = event.message.offset
        self.answers[offset] = outcome
        delivery = asyncio.get_running_loop().create_future()
        self.unconfirmed[offset] = delivery
        if self._confirm:
            delivery.set_result(None)
        return [delivery]

    def acknowledged(self, event):
        assert self.acked[-1] == event.message.offset


async def events(count, acked, *, until=None, framed=False):
    for offset in range(count):
        yield FakeEvent(offset, acked, framed=framed)
    if until:
        await until.wait()


def values_of(ecgs):
    return [ecg.message.value for ecg in ecgs]


async def run_lane(count, run, *, broker=None, in_flight=64, prepare=values_of, until=None, framed=False):
    broker = broker or Broker()
    async with Batcher(prepare=prepare, run=run, max_batch=4, max_queue=8, drain_s=1.0) as batcher:
        lane = ScreeningLane(
            batcher,
            Lane.REALTIME,
            broker,
            tries=TRIES,
            in_flight=in_flight,
            failures_in_a_row=4,
            registry_tries=REGISTRY_TRIES,
        )
        await lane.run(events(count, broker.acked, until=until, framed=framed))
    return broker, lane


async def test_every_record_is_answered_and_acknowledged_in_order():
    broker, lane = await run_lane(50, lambda batch: [value.decode() for value in batch])
    assert broker.answers == {n: str(n) for n in range(50)}
    assert broker.acked == list(range(50))
    assert (lane.held, lane.finished) == (0, 50)


async def test_nothing_is_acknowledged_before_its_answer_is_confirmed():
    broker, release = Broker(confirm=False), asyncio.Event()
    task = asyncio.create_task(run_lane(3, list, broker=broker, until=release))
    while len(broker.unconfirmed) < 3:
        await asyncio.sleep(0.001)
    broker.unconfirmed[2].set_result(None)  # the last one first
    await asyncio.sleep(0.02)
    assert broker.acked == []
    broker.unconfirmed[0].set_result(None)
    broker.unconfirmed[1].set_result(None)
    release.set()
    await task
    assert broker.acked == [0, 1, 2]


async def test_a_refusal_is_an_answer_and_the_neighbours_go_on():
    def run(batch):
        return [Refused(None, MalformedRecord("bad")) if value == b"2" else value for value in batch]

    broker, _ = await run_lane(5, run)
    assert isinstance(broker.answers[2].error, MalformedRecord)
    assert broker.acked == [0, 1, 2, 3, 4]


async def test_a_place_that_cannot_be_read_comes_to_the_screener_with_its_refusal_and_the_neighbours_without_one():
    place = unreadable_place(Gap(1, 1, "it is damaged"), is_oversized=False)

    async def three(acked):
        for offset in range(3):
            event = FakeEvent(offset, acked)
            event.value = place if offset == 1 else event.value
            yield event

    broker = Broker()
    async with Batcher(
        prepare=lambda ecgs: [str(ecg.refusal) for ecg in ecgs], run=list, max_batch=4, max_queue=8, drain_s=1.0
    ) as batcher:
        lane = ScreeningLane(batcher, Lane.REALTIME, broker, tries=TRIES, in_flight=8, failures_in_a_row=4)
        await lane.run(three(broker.acked))
    assert broker.answers == {0: "None", 1: str(place.error), 2: "None"}
    assert broker.acked == [0, 1, 2]


async def test_an_engine_that_fails_now_and_then_is_tried_again():
    calls = 0

    def run(batch):
        nonlocal calls
        calls += 1
        if calls % 3 == 1:
            raise EngineFailed("now and then")
        return list(batch)

    broker, _ = await run_lane(20, run)
    assert all(broker.answers[n] == b"%d" % n for n in range(20))


async def test_a_poisonous_record_is_rejected_with_the_engines_code_and_takes_nobody_along():
    def run(batch):
        if b"5" in batch:
            raise EngineFailed("always on 5")
        return list(batch)

    broker, _ = await run_lane(12, run)
    assert broker.answers[5].error.code == "engine_failed"
    assert [n for n in range(12) if isinstance(broker.answers[n], Refused)] == [5]


async def test_a_transient_refusal_is_tried_again_alone_as_an_engine_that_raises_is():
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        return [Refused(None, EngineFailed("no numbers")) if len(batch) > 1 else value for value in batch]

    broker, _ = await run_lane(4, run)
    assert all(broker.answers[n] == b"%d" % n for n in range(4))
    assert max(sizes) > 1


async def test_what_an_engine_failed_on_is_refused_with_its_record_although_the_whole_batch_failed():
    def prepare(ecgs):
        for ecg in ecgs:
            ecg.record = f"record {ecg.message.value.decode()}"
        return ecgs

    def fail(batch):
        raise EngineFailed("always")

    broker, _ = await run_lane(3, fail, prepare=prepare)
    assert [broker.answers[n].record for n in range(3)] == ["record 0", "record 1", "record 2"]


async def test_an_engine_that_fails_on_everything_ends_the_lane_and_rejects_no_more():
    def broken(batch):
        raise EngineFailed("out of memory")

    broker = Broker()
    with pytest.raises(ExceptionGroup) as ended:
        await run_lane(50, broken, broker=broker)
    assert "4 records in a row, each 3 times" in str(ended.value.exceptions[0])
    assert list(broker.answers) == [0, 1, 2]


async def test_a_record_whose_schema_cannot_be_had_at_the_moment_is_tried_for_longer_and_its_neighbours_go_on():
    failures = 5

    def run(batch):
        nonlocal failures
        failures -= b"2" in batch
        return [RegistryUnavailable("away") if value == b"2" and failures >= 0 else value for value in batch]

    broker, _ = await run_lane(5, run)
    assert broker.answers == {n: b"%d" % n for n in range(5)}
    assert broker.acked == [0, 1, 2, 3, 4]


def away_for(outages, tries):
    """Return a run that counts the tries, and has no schema for these values: each is tried in one outage."""

    def run(batch):
        tries.update(batch)
        return [
            RegistryUnavailable("away", outage=outages[n]) if (n := value[-1:]) in outages else value for value in batch
        ]

    return run


@pytest.mark.parametrize("framed", [False, True])
async def test_one_record_waits_for_a_registry_that_is_away_and_those_after_it_wait_no_more(framed):
    tries = Counter()
    broker, _ = await run_lane(8, away_for({b"1": 1, b"3": 1, b"4": 1}, tries), framed=framed)
    assert [n for n in range(8) if isinstance(broker.answers[n], Refused)] == [1, 3, 4]
    counts = {value[-1:]: count for value, count in tries.items()}
    assert [counts[n] for n in (b"1", b"3", b"4")] == [REGISTRY_TRIES.limit, TRIES.limit, TRIES.limit]


async def test_once_the_registry_has_answered_a_record_waits_for_it_again():
    tries = Counter()
    await run_lane(8, away_for({b"1": 1, b"5": 2}, tries))
    assert [tries[b"1"], tries[b"5"]] == [REGISTRY_TRIES.limit] * 2


async def test_a_registry_that_stays_away_rejects_some_records_then_ends_the_lane_and_names_itself():
    broker = Broker()
    with pytest.raises(ExceptionGroup) as ended:
        await run_lane(50, lambda batch: [RegistryUnavailable("away") for _ in batch], broker=broker)
    (error,) = ended.value.exceptions
    assert isinstance(error, RegistryUnavailable)
    assert str(error) == "the schema registry failed on 4 records in a row: away"
    assert [broker.answers[n].error.code for n in range(3)] == ["schema_registry_unavailable"] * 3


async def test_failures_with_a_success_between_do_not_end_the_lane():
    def now_and_then(batch):
        if len(batch) > 1 or int(batch[0]) % 3:  # two of three have all their tries used up
            raise EngineFailed("out of memory")
        return list(batch)

    broker, lane = await run_lane(12, now_and_then)
    assert lane.finished == 12
    refusals = [answer for answer in broker.answers.values() if isinstance(answer, Refused)]
    assert [type(refusal.error) for refusal in refusals] == [EngineFailed] * 8


async def test_the_records_in_flight_are_bounded():
    broker, release = Broker(confirm=False), asyncio.Event()
    task = asyncio.create_task(run_lane(100, list, broker=broker, in_flight=7, until=release))
    await eventually(lambda: len(broker.unconfirmed) >= 7)
    await asyncio.sleep(0.05)  # for one too many
    assert len(broker.unconfirmed) == 7
    release.set()
    while not task.done():
        for delivery in list(broker.unconfirmed.values()):
            if not delivery.done():
                delivery.set_result(None)
        await asyncio.sleep(0.001)
    assert broker.acked == list(range(100))


async def test_a_bug_ends_the_lane_with_nothing_acknowledged():
    def prepare(values):
        raise ZeroDivisionError

    broker = Broker()
    with pytest.raises(ExceptionGroup) as failure:
        await run_lane(3, list, broker=broker, prepare=prepare)
    assert failure.group_contains(ZeroDivisionError)
    assert broker.acked == []


async def test_an_answer_that_the_broker_refuses_ends_the_lane():
    broker = Broker(confirm=False)

    async def refuse():
        while not broker.unconfirmed:
            await asyncio.sleep(0.001)
        broker.unconfirmed[0].set_exception(ConnectionError("gone"))

    refusing = asyncio.create_task(refuse())
    with pytest.raises(ExceptionGroup) as failure:
        await run_lane(1, list, broker=broker, until=asyncio.Event())
    await refusing
    assert failure.group_contains(ConnectionError)
    assert broker.acked == []
