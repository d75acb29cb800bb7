"""One id, one ECG: another ECG under a known id is refused, and the same ECG again is answered as before."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager

import msgspec
import numpy as np
import pytest
from harness import acknowledged, collect, good_values, publish_values, ward
from redis.asyncio import Redis
from test_stream_lane import Broker, FakeEvent
from waiting import PATIENCE_S

from engines.batcher import Batcher, Lane
from inference.screener import Screening
from schemas.codec import decode_ecg, encode_ecg
from schemas.ecg_message import EcgMessage
from schemas.ecg_record import LEADS, EcgRecord, Remark
from schemas.errors import EngineFailed, IdOfAnotherEcg, ShuttingDown
from schemas.identity import ecg_digest
from schemas.messages import ModelReference, Quality
from schemas.topics import ECG_BACKFILL, ECG_RECORDS, record_key
from stream.demo.embedded_servers import embedded_redis
from stream.redis_bounds import order_key
from stream.runtime.event import Tries
from stream.screening.archive_slots import ArchiveSlots
from stream.screening.id_owners import owner_key
from stream.screening.known_ecgs import ClaimingEcg, KnownEcgs
from stream.screening.lane import ScreeningLane
from stream.screening.metrics import Metrics
from stream.settings import RedisSettings

NOBODY = "redis://127.0.0.1:1/0"
MODEL = ModelReference(name="m", version="1", trained=True, weights="w")
QUALITY = Quality(warnings=(), sample_rate_hz=500.0, duration_s=10.0, derived_leads=())


def ecg(record_id="r1", seed=0, **changes):
    """Return an ECG; another seed gives other samples."""
    samples = np.random.default_rng(seed).integers(-99, 99, (12, 500)).astype("<i2").tobytes()
    fields = {"patient_id": "p", "leads": LEADS, "sample_rate_hz": 500.0, "microvolts_per_step": 5.0} | changes
    return EcgRecord(record_id=record_id, **({"samples": samples} | fields))


def received(*records, lane=Lane.REALTIME):
    return [ClaimingEcg(EcgMessage(b""), record, lane=lane) for record in records]


@asynccontextmanager
async def known(url=NOBODY, *, limit=1000, wait_s=PATIENCE_S, **changes):
    """Give the part, with a patient deadline, and its metrics."""
    metrics = Metrics()
    async with KnownEcgs(RedisSettings(url=url, ecg_id_wait_s=wait_s, **changes), metrics, limit=limit) as part:
        part.metrics = metrics
        yield part


async def foreign(part, *records, lane=Lane.REALTIME):
    """Look the ECGs up as one batch, and return whose ids belong to others."""
    ecgs = received(*records, lane=lane)
    await asyncio.to_thread(part.look_up, ecgs)
    return [await one.claim.is_foreign() for one in ecgs]


def counted(part, outcome):
    return part.metrics.registry.get_sample_value("cardiacnets_ecg_ids_total", {"outcome": outcome}) or 0


def unshared(part):
    return part.metrics.registry.get_sample_value("cardiacnets_unshared_ecg_ids_total")


async def test_the_first_ecg_owns_its_id_and_the_same_one_again_is_no_other():
    async with known() as part:
        assert await foreign(part, ecg(), ecg("r2", 2)) == [False, False]
        assert await foreign(part, ecg(seed=1)) == [True]
        assert await foreign(part, ecg(), ecg(seed=1), ecg("r2", 2)) == [False, True, False]
        assert (counted(part, "new"), counted(part, "repeated"), counted(part, "foreign")) == (2, 2, 2)


async def test_of_two_ecgs_of_one_batch_the_first_owns_the_id():
    async with known() as part:
        assert await foreign(part, ecg(), ecg(seed=1), ecg(), ecg(seed=2)) == [False, True, False, True]


def test_what_makes_an_ecg_is_in_the_digest_and_its_encoding_is_not():
    one = ecg()
    twins = [decode_ecg(encode_ecg(one, compress=compress)) for compress in (True, False)]
    twins += [ecg("other id"), ecg(site="ward 3", age_years=61.0, remarks=(Remark("electrode_off", "V3 was off"),))]
    assert {ecg_digest(twin) for twin in twins} == {ecg_digest(one)}
    others = [
        ecg(seed=1),
        ecg(patient_id="another"),
        ecg(patient_id=None),
        ecg(sample_rate_hz=250.0),
        ecg(microvolts_per_step=4.88),
        ecg(leads=LEADS[::-1]),
    ]
    assert len({ecg_digest(other) for other in [one, *others]}) == 7
    assert len(ecg_digest(one)) == 16


async def test_what_is_remembered_is_bounded_and_nothing_is_where_the_check_is_off():
    async with known(limit=2) as part:
        await foreign(part, *(ecg(f"r{n}") for n in range(3)))
        assert await foreign(part, ecg("r2", 1), ecg("r0", 1)) == [True, False]
    async with known(limit=0) as part:
        (one,) = received(ecg())
        part.look_up([one])
        assert one.claim is None


async def test_an_ecg_that_is_tried_again_keeps_its_claim():
    async with known() as part:
        (one,) = received(ecg())
        part.look_up([one])
        first = one.claim
        part.look_up([one])
        assert one.claim is first
        assert not await first.is_foreign()
    assert counted(part, "new") == 1


@pytest.fixture
def redis_url(servers):
    with servers.place() as place:
        yield place["redis"]


@pytest.mark.servers
async def test_workers_that_share_a_redis_know_what_the_others_saw(redis_url):
    async with known(redis_url) as one, known(redis_url) as other:
        assert await foreign(one, ecg(), ecg("r2")) == [False, False]
        assert await foreign(other, ecg(seed=1), ecg("r2")) == [True, False]
        assert (counted(other, "repeated"), counted(other, "foreign"), unshared(other)) == (1, 1, 0)
    async with known(redis_url) as restarted:
        assert await foreign(restarted, ecg(seed=1), ecg()) == [True, False]
    async with Redis.from_url(redis_url) as client:
        assert await client.get(owner_key("r1")) == ecg_digest(ecg())
        assert 7 * 86_400 < await client.ttl(owner_key("r1")) <= 8 * 86_400


@pytest.mark.servers
async def test_of_two_ecgs_of_one_batch_the_first_owns_the_id_in_redis_too(redis_url):
    async with known(redis_url) as one, known(redis_url) as other:
        assert await foreign(one, ecg(), ecg(seed=1)) == [False, True]
        assert await foreign(other, ecg(seed=1), ecg()) == [True, False]


ARCHIVE = Lane.BACKFILL


async def test_an_archives_ids_push_none_of_the_wards_out_of_memory():
    async with known(limit=2) as part:
        await foreign(part, ecg("ward"))
        await foreign(part, *(ecg(f"a{n}") for n in range(9)), lane=ARCHIVE)
        assert await foreign(part, ecg("ward", 1), ecg("a8", 1)) == [True, True]
        assert await foreign(part, ecg("ward", 1), ecg("a8", 1), ecg("ward"), lane=ARCHIVE) == [True, True, False]


@pytest.mark.servers
async def test_however_large_an_archive_is_redis_remembers_so_many_of_its_ids_and_all_of_the_wards(redis_url):
    async with known(redis_url, backfill_ecg_ids=20) as part, Redis.from_url(redis_url) as client:
        await foreign(part, *(ecg(f"w{n}") for n in range(30)))
        for batch in range(10):
            await foreign(part, *(ecg(f"a{batch}-{n}") for n in range(50)), lane=ARCHIVE)
        assert 30 + 10 < await client.dbsize() - await client.exists(order_key("ecg-id")) <= 30 + 20
        assert await client.lrange(order_key("ecg-id"), 0, -1) == [f"w{n}".encode() for n in range(30)]
        ttls = [await client.ttl(key) async for key in client.scan_iter("*:archive:*")]
        assert max(ttls) <= 86_400
    async with known(redis_url, backfill_ecg_ids=20) as restarted:
        assert await foreign(restarted, *(ecg(f"w{n}", 1) for n in range(30))) == [True] * 30
        assert await foreign(restarted, ecg("w3", 1), ecg("w4"), lane=ARCHIVE) == [True, False]
    async with known(redis_url, backfill_ecg_ids=0) as part, Redis.from_url(redis_url) as client:
        before = await client.dbsize()
        assert await foreign(part, *(ecg(f"b{n}") for n in range(50)), ecg("w5", 1), lane=ARCHIVE) == [False] * 50 + [
            True
        ]
        assert await client.dbsize() == before


@pytest.mark.servers
async def test_an_ecg_of_the_ward_under_an_archives_id_is_refused_by_every_worker_and_stays_so(redis_url):
    async with known(redis_url) as one, known(redis_url) as other, Redis.from_url(redis_url) as client:
        assert await foreign(one, ecg(), lane=ARCHIVE) == [False]
        assert await foreign(other, ecg(seed=1), ecg(seed=2), ecg()) == [True, True, False]
        await client.delete(*[key async for key in client.scan_iter("*:archive:*")])  # newer ids came
        async with known(redis_url) as third:
            assert await foreign(third, ecg(seed=1), ecg()) == [True, False]
        assert await foreign(one, ecg("r2"), lane=ARCHIVE) == [False]
        await client.delete(*[key async for key in client.scan_iter("*:archive:*")])
        assert await foreign(one, ecg("r2", 1)) == [True]  # it remembers, and writes down who owns the id
        assert await foreign(other, ecg("r2", 1)) == [True]


@pytest.mark.servers
async def test_of_both_lanes_in_one_batch_the_wards_ecg_owns_the_id(redis_url):
    async with known(redis_url) as part:
        ecgs = received(ecg(seed=1), lane=ARCHIVE) + received(ecg())
        await asyncio.to_thread(part.look_up, ecgs)
        assert [await one.claim.is_foreign() for one in ecgs] == [True, False]


@pytest.mark.servers
async def test_an_archive_has_so_many_slots_and_a_record_keeps_its_own(redis_url):
    settings = RedisSettings(url=redis_url, ecg_id_wait_s=PATIENCE_S)
    async with ArchiveSlots(settings, "waveforms", limit=20, ttl_s=900) as slots, Redis.from_url(redis_url) as client:
        took = [name for name in map(str, range(300)) if await slots.take(name)]
        assert len(took) == await client.dbsize() == 20
        assert [await slots.take(name) for name in took] == [True] * 20
        assert 0 < await client.ttl((await client.keys())[0]) <= 900
        async with ArchiveSlots(settings, "cines", limit=1, ttl_s=900) as others:
            assert [await others.take(name) for name in ("a", "b", "a")] == [True, False, True]
    async with ArchiveSlots(RedisSettings(url=NOBODY), "waveforms", limit=20, ttl_s=900) as away:
        assert not await away.take("a")


async def test_without_redis_the_process_alone_remembers_and_redis_is_asked_now_and_then():
    async with known() as part:
        for n in range(20):
            assert await foreign(part, ecg(f"r{n}")) == [False]
        assert await foreign(part, ecg("r7", 1)) == [True]
        assert unshared(part) == 20


@pytest.mark.servers
async def test_a_redis_that_hangs_holds_screening_up_for_a_moment_and_is_used_again_when_it_answers(tmp_path):
    with embedded_redis(tmp_path) as (url, redis):
        async with known(url, wait_s=0.2) as part:
            assert await foreign(part, ecg()) == [False]
            os.kill(redis.process.pid, signal.SIGSTOP)
            try:
                for n in range(5):
                    assert await foreign(part, ecg(f"hung {n}")) == [False]
            finally:
                os.kill(redis.process.pid, signal.SIGCONT)
            assert unshared(part) == 5
            numbers = iter(range(10_000))

            async def is_shared():
                name = f"after {next(numbers)}"
                assert await foreign(part, ecg(name)) == [False]
                async with Redis.from_url(url) as client:
                    return await client.get(owner_key(name)) == ecg_digest(ecg(name))

            await eventually_async(is_shared)
            assert await foreign(part, ecg(seed=1), ecg("hung 3", 1), ecg()) == [True, True, False]


async def eventually_async(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_a_part_that_ends_leaves_nobody_waiting():
    async with known() as part:
        ecgs = received(ecg())
        part.look_up(ecgs)
    assert not await ecgs[0].claim.is_foreign()
    late = received(ecg("late"))
    part.look_up(late)
    with pytest.raises(ShuttingDown):
        await late[0].claim.is_foreign()


async def test_an_error_of_the_look_up_reaches_the_lane():
    async with known() as part:
        (one,) = received(msgspec.structs.replace(ecg(), samples="no bytes"))
        part.look_up([one])
        with pytest.raises(TypeError):
            await one.claim.is_foreign()
        assert await foreign(part, ecg()) == [False]


def event_of(record, offset, acked):
    event = FakeEvent(offset, acked)
    event.value = encode_ecg(record)
    return event


async def run_lane(part, records, *, failing=()):
    """Run a lane over these ECGs; the engine fails on those places each time."""
    broker = Broker()

    def prepare(ecgs):
        for one in ecgs:
            one.record = one.record or decode_ecg(one.message.value)
        part.look_up(ecgs)
        return [one.record for one in ecgs]

    def run(batch):
        if any(record.record_id in failing for record in batch):
            raise EngineFailed("no")
        return [Screening(record, QUALITY, None, MODEL) for record in batch]

    async def events():
        for offset, record in enumerate(records):
            yield event_of(record, offset, broker.acked)

    async with Batcher(prepare=prepare, run=run, max_batch=4, max_queue=8) as batcher:
        lane = ScreeningLane(batcher, Lane.REALTIME, broker, tries=Tries(2, 0.001), in_flight=16, failures_in_a_row=9)
        await lane.run(events())
    return broker


async def test_a_lane_refuses_another_ecg_under_a_known_id_and_acknowledges_in_order():
    async with known() as part:
        records = [ecg("a"), ecg("b"), ecg("a", 1), ecg("a"), ecg("c"), ecg("a", 2), ecg("a", 1)]
        broker = await run_lane(part, records)
    refused = {n: outcome.error for n, outcome in broker.answers.items() if not isinstance(outcome, Screening)}
    assert set(refused) == {2, 5, 6}
    assert broker.acked == list(range(7))
    assert all(isinstance(error, IdOfAnotherEcg) for error in refused.values())
    assert str(refused[2]) == "record id a was already used for another ECG: give each ECG its own id"
    assert refused[2].subject == refused[6].subject != refused[5].subject


async def test_an_engine_that_fails_first_does_not_cost_an_ecg_its_id():
    async with known() as part:
        broker = await run_lane(part, [ecg("a"), ecg("poison"), ecg("a"), ecg("b")], failing={"poison"})
        assert [isinstance(broker.answers[n], Screening) for n in range(4)] == [True, False, True, True]
        assert counted(part, "foreign") == 0


def value_of(record):
    return record_key(record), encode_ecg(record)


@pytest.mark.servers
def test_a_worker_refuses_another_ecg_under_a_known_id_in_both_lanes_and_after_a_restart(tmp_path, servers):
    values = good_values(12)
    records = {record_id: decode_ecg(value) for record_id, (_, value) in values.items()}
    names = list(records)
    # The second ECG of an id has the samples and the patient of another id's.
    doubles = {
        name: value_of(msgspec.structs.replace(records[donor], record_id=name))
        for name, donor in zip(names[:6], names[6:], strict=True)
    }
    with ward(tmp_path, servers, ecg_id_wait_s=PATIENCE_S) as there:
        worker = there.start()
        asyncio.run(publish_values(there.settings, values))
        first = asyncio.run(collect(there.settings, until=lambda a: a.answered == 12))
        assert not first.rejections
        asyncio.run(publish_values(there.settings, doubles))
        asyncio.run(publish_values(there.settings, values))  # a replay
        answers = asyncio.run(collect(there.settings, until=lambda a: len(a.rejections) == 6))
        assert {r.record_id for r in answers.rejections.values()} == set(names[:6])
        assert {r.code for r in answers.rejections.values()} == {"id_of_another_ecg"}
        assert answers.report_ids == first.report_ids
        ids = {r.rejection_id for r in answers.rejections.values()}
        worker.process.kill()
        worker.process.wait(PATIENCE_S)
        there.start()
        asyncio.run(publish_values(there.settings, doubles, Lane.BACKFILL))
        asyncio.run(publish_values(there.settings, values, Lane.BACKFILL))
        topics = (ECG_RECORDS, ECG_BACKFILL)
        asyncio.run(acknowledged(there.settings.kafka, there.settings.kafka.screening_group, topics, 48))
        answers = asyncio.run(collect(there.settings, until=lambda a: len(a.rejections) >= 6, more_come=True))
        assert {r.rejection_id for r in answers.rejections.values()} == ids
        assert answers.report_ids == first.report_ids
