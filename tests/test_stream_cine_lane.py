"""The cine lane and its maker: every request answered once, in its partition's order, whatever goes wrong."""

import asyncio
from types import SimpleNamespace

import msgspec
import pytest
import redis.asyncio
from fake_generator import FakeGenerator
from sample_cine import MODEL, sample_cine, sample_request

from inference.generator_manifest import EcgModel
from schemas.errors import MalformedRecord
from schemas.messages import encode_message
from stream.broker.record_batches import Gap
from stream.broker.unreadable_place import unreadable_place
from stream.cines.lane import MAX_REQUEST_BYTES, CineLane, read_request
from stream.cines.maker import CineBatcher, CineMaker
from stream.cines.store import CineStore, RedisFull, RedisUnavailable, cine_key
from stream.runtime.event import Tries
from stream.settings import Settings

pytestmark = pytest.mark.servers


class FakeEvent:
    """A Faust event as far as a lane sees it."""

    def __init__(self, value, partition, offset, acked, key):
        self.key, self.value = key, value
        self.message = SimpleNamespace(topic="t", partition=partition, offset=offset, timestamp=0.0)
        self._acked = acked

    def ack(self):
        self._acked.append((self.message.partition, self.message.offset))
        return True


class Bench:
    """A lane over a generator, a store, and what came out of it."""

    def __init__(self, generator=None, *, store, tries=3, deadline_s=1.0):
        self.generator = generator or FakeGenerator()
        self.store, self.tries, self.deadline_s = store, tries, deadline_s
        self.keys, self.results, self.acked, self.counted, self.steps = [], [], [], [], 0
        self.confirm = asyncio.Event()
        self.confirm.set()

    async def publish(self, key, result):
        self.keys.append(key)
        self.results.append(result)
        await self.confirm.wait()

    def step(self):
        self.steps += 1

    async def run(self, values, *, partitions=2, until=None, during=None, first_alone=False, key=b"key"):
        async def events():
            for n, value in enumerate(values):
                yield FakeEvent(value, n % partitions, n, self.acked, key)
                while first_alone and not self.results:
                    await asyncio.sleep(0.005)
            if until:
                await until.wait()

        async with CineBatcher(self.generator, cines_a_batch=1, max_queue=16, drain_s=1) as batcher:
            tries = Tries(self.tries, 0.001)
            maker = CineMaker(batcher, self.store, tries=tries, deadline_s=self.deadline_s, step=self.step)
            self.lane = CineLane(maker, self.publish, lambda outcome, _: self.counted.append(outcome))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.lane.run(events()))
                if during:
                    tasks.create_task(during())
        return self.results


@pytest.fixture(scope="module")
def settings(servers):
    with servers.place() as place:
        yield Settings.of(**place, cine_ttl_s=1000, redis_timeout_s=30)


@pytest.fixture
async def store(settings):
    async with redis.asyncio.Redis.from_url(settings.redis.url) as client:
        await client.flushdb()
    async with CineStore(settings.redis, ttl_s=settings.cines.ttl_s) as store:
        yield store


class Moody:
    """A store that raises first, for a number of calls of each kind, and then is the real one."""

    def __init__(self, store, error, *, calls, on):
        self._store, self._error, self._left, self._on = store, error, calls, on

    def __getattr__(self, name):
        method = getattr(self._store, name)
        if name != self._on:
            return method

        async def moody(*arguments, **options):
            if self._left:
                self._left -= 1
                raise self._error
            return await method(*arguments, **options)

        return moody


def values(*names):
    return [encode_message(sample_request(name)) for name in names]


async def test_each_request_gets_its_cine_and_its_result(store):
    bench = Bench(store=store)
    names = [f"r-{n}" for n in range(20)]
    results = await bench.run(values(*names))
    assert {result.record_id: result.status for result in results} == dict.fromkeys(names, "generated")
    for result in results:
        request = sample_request(result.record_id)
        assert (result.request_id, result.report_id) == (request.request_id, request.report_id)
        assert (result.redis_key, result.model) == (cine_key(request.record_id), bench.generator.reference)
        assert (result.size_bytes, result.seconds) > (0, 0)
        cine = await store.get(request.record_id)
        assert (cine.frames == sample_cine(request).frames).all()
    assert [offset for partition, offset in bench.acked if partition] == list(range(1, 20, 2))
    assert sorted(offset for _, offset in bench.acked) == list(range(20))
    assert (bench.lane.held, bench.lane.finished) == (0, 20)


async def test_one_job_is_in_flight_a_partition_and_nothing_is_acknowledged_before_it_is_confirmed(store):
    bench, until = Bench(store=store), asyncio.Event()
    bench.confirm.clear()

    async def look():
        while len(bench.results) < 2:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)
        assert [result.record_id for result in bench.results] == ["r-0", "r-1"]  # one of either partition
        assert bench.acked == []
        bench.confirm.set()
        until.set()

    # the first result is there before the other partition begins: which of two is quicker is nobody's promise
    await bench.run(values(*[f"r-{n}" for n in range(6)]), until=until, during=look, first_alone=True)
    assert len(bench.acked) == len(bench.results) == 6


async def test_the_same_request_twice_is_drawn_once_and_answered_twice(store):
    bench = Bench(store=store)
    first, second = await bench.run(values("r-1", "r-1"))  # in two partitions, and so at the same time
    assert len(bench.generator.drawn) == 1
    same = {"request_id", "status", "redis_key", "size_bytes", "seconds", "model"}
    assert {name: getattr(first, name) for name in same} == {name: getattr(second, name) for name in same}


async def test_another_models_cine_does_not_answer_a_request(store):
    request = sample_request("r-1")
    newer = sample_request("r-1", msgspec.structs.replace(MODEL, version="2"))
    bench = Bench(store=store)
    await bench.run([encode_message(request), encode_message(newer)], partitions=1)
    assert bench.generator.drawn == [request.seed, newer.seed]
    assert (await store.get("r-1")).provenance.report_id == newer.report_id


async def test_an_unreadable_cine_is_drawn_again(store, settings):
    async with redis.asyncio.Redis.from_url(settings.redis.url) as client:
        await client.set(cine_key("r-1"), "a string")
    (result,) = await Bench(store=store).run(values("r-1"))
    assert result.status == "generated"
    assert await store.get("r-1")


async def test_a_request_whose_lock_is_held_waits_for_it_and_finds_the_cine(store):
    request = sample_request("r-1")
    bench, claim = Bench(store=store, deadline_s=20), await store.claim(request.request_id)

    async def the_other_worker():
        async with claim:
            await asyncio.sleep(0.2)
            await store.put("r-1", sample_cine(request), seconds=0.25)

    (result,) = await bench.run(values("r-1"), during=the_other_worker)
    assert (result.seconds, bench.generator.drawn) == (0.25, [])


async def test_a_lock_that_is_never_released_does_not_hold_a_request_up_for_ever(store):
    request = sample_request("r-1")
    async with await store.claim(request.request_id):
        (result,) = await Bench(store=store, deadline_s=0.2).run(values("r-1"))
    assert result.status == "generated"


async def test_a_drawing_that_fails_is_tried_again_within_bounds(store):
    assert [r.status for r in await Bench(FakeGenerator(failures=2), store=store).run(values("r-1"))] == ["generated"]
    bench = Bench(FakeGenerator(failures=3), store=store)
    failed, generated = await bench.run(values("r-2", "r-3"), partitions=1)
    assert (failed.status, failed.code, failed.detail) == ("failed", "generation_failed", "told to fail")
    assert (failed.redis_key, failed.size_bytes, failed.seconds) == (None, None, None)
    assert generated.status == "generated"
    assert bench.counted == ["generation_failed", "generated"]


async def test_the_embedding_of_another_model_is_refused_and_nothing_is_drawn(store):
    own = sample_request("r-1").model
    bench = Bench(store=store)
    bench.generator.ecg_model = EcgModel(name=own.name, version="of last year")
    (failed,) = await bench.run(values("r-1"))
    assert (failed.status, failed.code) == ("failed", "foreign_embedding")
    assert "of last year" in failed.detail
    assert bench.generator.drawn == []
    bench.generator.ecg_model = EcgModel(name=own.name, version=own.version)
    assert (await bench.run(values("r-2")))[-1].status == "generated"


@pytest.mark.parametrize("on", ["claim", "find", "prolong", "put"])
async def test_a_redis_that_comes_back_is_waited_for(store, on):
    await Bench(store=store).run(values("r-1"))
    bench = Bench(store=Moody(store, RedisUnavailable("gone"), calls=2, on=on), deadline_s=5)
    assert [r.status for r in await bench.run(values("r-1", "r-2"), partitions=1)] == ["generated"] * 2
    assert bench.steps >= 2  # a watchdog sees that it waits and does not hang


@pytest.mark.parametrize(("error", "on"), [(RedisFull("full"), "put"), (RedisUnavailable("gone"), "claim")])
async def test_a_redis_that_stays_away_fails_the_request_with_its_code_and_the_next_one_is_tried(store, error, on):
    bench = Bench(store=Moody(store, error, calls=4, on=on), deadline_s=0.2)
    results = await bench.run(values("r-1", "r-2"), partitions=1)
    assert [(r.status, r.code) for r in results] == [("failed", error.code), ("generated", None)]


def changed(**changes):
    return msgspec.json.encode(msgspec.to_builtins(sample_request("r-1")) | changes)


GARBLED = {
    "nothing": b"",
    "no JSON": b"\xff\x00\x01",
    "deep JSON": b"[" * 50_000,
    "another message": b'{"identifier": "x"}',
    "an embedding too short": changed(embedding=[1.0]),
    "an embedding of words": changed(embedding=["a"] * 256),
    "an embedding of length 16": changed(embedding=[1.0] * 256),
    "an embedding of zeros": changed(embedding=[0.0] * 256),
    "an embedding without bounds": changed(embedding=[1e308] * 256),
    "an embedding whose squares are too large": changed(embedding=[1e154] * 256),
    "a negative seed": changed(seed=-1),
    "another record's report": changed(report_id="a-report-that-is-not"),
    "another report's request": changed(request_id="forged"),
    "a seed of its own": changed(seed=8),
    "a huge request": changed(padding="x" * MAX_REQUEST_BYTES),
}


@pytest.mark.parametrize("name", GARBLED)
def test_what_is_no_request_is_refused(name):
    with pytest.raises(MalformedRecord):
        read_request(GARBLED[name])


async def test_garbled_values_are_passed_over_and_answered_where_their_ids_can_be_read(store):
    bench = Bench(store=store)
    good = [f"r-{n}" for n in range(len(GARBLED))]
    mixed = [value for pair in zip(GARBLED.values(), values(*good), strict=True) for value in pair]
    results = await bench.run(mixed, partitions=1)
    assert [r.record_id for r in results if r.status == "generated"] == good
    failed = [r for r in results if r.status == "failed"]
    assert {(r.code, r.record_id) for r in failed} == {("malformed_request", "r-1")}
    assert len(failed) == 10  # those that carry ids and are not too large to look
    assert bench.acked == [(0, n) for n in range(len(mixed))]
    assert bench.counted.count("malformed_request") == len(GARBLED)


async def test_a_place_that_cannot_be_read_is_counted_by_its_code_and_acknowledged_in_its_turn(store):
    places = [unreadable_place(Gap(2, 2, "it is damaged"), is_oversized=bomb) for bomb in (False, True)]
    bench = Bench(store=store)
    results = await bench.run([*values("r-0"), *places, *values("r-3")], partitions=1)
    assert [result.record_id for result in results] == ["r-0", "r-3"]
    assert bench.counted == ["generated", "unreadable_record", "oversized_batch", "generated"]
    assert bench.acked == [(0, n) for n in range(4)]


@pytest.mark.parametrize(
    ("key", "published"), [("Ü" * 256, "Ü" * 256), ("Ü" * 257, "r-1"), ("{" * 2**20, "r-1"), ("", "r-1")]
)
async def test_a_result_has_its_requests_key_or_the_records_id_where_that_is_none_of_ours(key, published):
    bench = Bench(store=None)
    await bench.run([GARBLED["an embedding too short"]], key=key.encode())
    assert bench.keys == [published.encode()]


async def test_finishing_ends_what_is_drawn_and_leaves_the_rest_unacknowledged(store):
    bench, until = Bench(store=store), asyncio.Event()
    bench.confirm.clear()

    async def finish():
        while not bench.results:
            await asyncio.sleep(0.005)
        finishing = asyncio.create_task(bench.lane.finish(5))
        await asyncio.sleep(0.05)
        assert not finishing.done()
        bench.confirm.set()
        await finishing
        assert bench.acked == [(0, 0)]
        until.set()

    await bench.run(values("r-0", "r-1", "r-2"), partitions=1, until=until, during=finish)
    assert bench.acked == [(0, 0)]


async def test_a_bug_ends_the_lane_with_nothing_acknowledged(store):
    class Buggy(FakeGenerator):
        def draw(self, embeddings, seeds):
            raise ZeroDivisionError

    bench = Bench(Buggy(), store=store)
    with pytest.raises(ExceptionGroup) as failure:
        await bench.run(values("r-1"))
    assert failure.group_contains(ZeroDivisionError)
    assert bench.acked == bench.results == []
