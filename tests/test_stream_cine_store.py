"""Cines in a real Redis: whole or not at all, for a while, and nothing that lies there can do harm."""

import asyncio
import contextlib
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import redis.asyncio
import zstandard
from sample_cine import sample_cine, sample_request
from waiting import PATIENCE_S

from inference.intake import screened_part
from schemas.codec import decode_ecg, encode_ecg
from schemas.ecg_message import ecg_message
from schemas.ecg_record import LEADS, EcgRecord, Remark
from schemas.ecg_schema import VERSION_1_2
from schemas.messages import encode_message
from schemas.topics import CMR_REQUESTS, LARGEST
from stream.cines.lane import read_request
from stream.cines.store import (
    MAX_FIELD_BYTES,
    CineStore,
    CorruptCine,
    OversizedCine,
    RedisFull,
    RedisUnavailable,
    cine_key,
    lock_key,
)
from stream.demo.embedded_servers import embedded_redis
from stream.screening.metrics import Metrics
from stream.screening.waveform_cache import MAX_WAITING_BYTES, MAX_WAVEFORM_BYTES, WaveformCache, waveform_key
from stream.settings import Settings

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    with embedded_redis(tmp_path_factory.mktemp("redis")) as (url, _):
        yield Settings.of(redis=url, cine_ttl_s=1000)


@pytest.fixture
async def store(settings):
    async with CineStore(settings.redis, ttl_s=settings.cines.ttl_s) as store:
        yield store


@pytest.fixture
async def client(settings):
    async with redis.asyncio.Redis.from_url(settings.redis.url) as client:
        await client.flushall()
        await client.config_set("maxmemory", "256mb")
        yield client


async def test_a_cine_comes_back_as_it_was(store, client):
    cine = sample_cine()
    size = await store.put("r-1", cine, seconds=1.5)
    back = await store.get("r-1")
    assert np.array_equal(back.frames, cine.frames)
    assert (back.geometry, back.provenance) == (cine.geometry, cine.provenance)
    stored = await store.find("r-1")
    assert (stored.size_bytes, stored.seconds, stored.provenance) == (size, 1.5, cine.provenance)
    assert await store.get("another") is None
    assert await store.find("another") is None


async def test_cines_expire_at_spread_times(store, client):
    ttls = set()
    for n in range(12):
        await store.put(f"r-{n}", sample_cine(), seconds=1)
        ttls.add(await client.ttl(cine_key(f"r-{n}")))
    assert 890 <= min(ttls) < max(ttls) <= 1100
    await client.expire(cine_key("r-0"), 5)
    assert await store.prolong("r-0")
    assert await client.ttl(cine_key("r-0")) >= 890
    assert not await store.prolong("another")


async def test_a_new_cine_leaves_nothing_of_the_old_one(store, client):
    await client.hset(cine_key("r-1"), "stray", "x")
    await store.put("r-1", sample_cine(), seconds=1)
    assert await client.hkeys(cine_key("r-1")) == [b"version", b"geometry", b"provenance", b"seconds", b"frames"]


def bomb(size):
    return zstandard.compress(bytes(size))


def unsized(size):
    compressor = zstandard.ZstdCompressor(write_content_size=False)
    return compressor.compress(bytes(size))


GEOMETRY = msgspec.to_builtins(sample_cine().geometry)

CORRUPTIONS = {
    "no frames": ("frames", b"", "lacks frames"),
    "frames that are no zstd": ("frames", b"x" * 100, "no zstd frame"),
    "frames cut short": ("frames", zstandard.compress(np.random.default_rng(0).bytes(5760))[:-20], "no zstd frame"),
    "a bomb": ("frames", bomb(2**30), "claims 1073741824 bytes, not 5760"),
    "frames of unknown size": ("frames", unsized(5760), "claims"),
    "too few frames": ("frames", bomb(5759), "claims 5759"),
    "bytes after the frames": ("frames", bomb(5760) + b"trailing", "no zstd frame"),
    "another version": ("version", b"2", "layout b'2'"),
    "no version": ("version", b"", "lacks version"),
    "a geometry that is no JSON": ("geometry", b"\xff{", "not what it should be"),
    "deep JSON": ("geometry", b"[" * 15_000, "not what it should be"),
    "a huge geometry": ("geometry", msgspec.json.encode(GEOMETRY | {"frames": 10**12}), "over the bound"),
    "a negative geometry": ("geometry", msgspec.json.encode(GEOMETRY | {"frames": -10, "rows": -24}), "over the bound"),
    "a provenance without a seed": ("provenance", b'{"record_id": "r"}', "not what it should be"),
    "a provenance without end": ("provenance", b" " * 2**20, "over its bound"),
    "seconds that are words": ("seconds", b'"many"', "not what it should be"),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
async def test_a_corrupt_cine_is_said_so(store, client, name):
    field, value, reason = CORRUPTIONS[name]
    await store.put("r-1", sample_cine(), seconds=1)
    await client.hset(cine_key("r-1"), field, value)
    with pytest.raises(CorruptCine, match=reason):
        await store.get("r-1")


async def test_a_cine_of_another_record_is_said_so(store, client):
    await store.put("r-2", sample_cine(), seconds=1)
    for ask in (store.get, store.find):
        with pytest.raises(CorruptCine, match="names another record"):
            await ask("r-2")


async def test_what_its_readers_would_not_take_is_not_stored(store, client):
    cine = sample_cine()
    model = msgspec.structs.replace(cine.provenance.model, weights="w" * MAX_FIELD_BYTES)
    with pytest.raises(OversizedCine, match="provenance has"):
        await store.put("r-1", replace(cine, provenance=replace(cine.provenance, model=model)), seconds=1)
    assert not await client.exists(cine_key("r-1"))


async def test_the_largest_request_has_a_cine_that_can_be_read_again(store, client):
    request = sample_request("r-1")
    room = LARGEST[CMR_REQUESTS] - len(encode_message(request)) - 1
    model = msgspec.structs.replace(request.model, weights="\\" * (room // 2))
    largest = msgspec.structs.replace(request, model=model)
    assert read_request(encode_message(largest)) == largest
    await store.put("r-1", sample_cine(largest), seconds=1)
    assert (await store.get("r-1")).provenance.model == model


async def test_another_kind_of_value_at_the_key_is_said_so_and_can_be_replaced(store, client):
    await client.set(cine_key("r-1"), "a string")
    with pytest.raises(CorruptCine, match="no hash"):
        await store.get("r-1")
    await store.put("r-1", sample_cine(), seconds=1)
    assert await store.get("r-1")


async def test_a_lock_has_one_owner_at_a_time_and_only_its_owner_releases_it(store, client):
    claim = await store.claim("q")
    assert await store.claim("q") is None
    async with claim:
        await client.set(lock_key("q"), "somebody else's")  # it had expired, and another worker took it
    assert await client.get(lock_key("q")) == b"somebody else's"
    await client.delete(lock_key("q"))
    async with await store.claim("q"):
        assert await client.pttl(lock_key("q")) > 0
    assert await client.exists(lock_key("q")) == 0


async def test_a_lock_lasts_as_long_as_its_owner_lives(settings, client):
    async with CineStore(settings.redis, ttl_s=settings.cines.ttl_s, lock_s=3) as store:
        async with await store.claim("q"):
            left = await client.pttl(lock_key("q"))
            while (now := await client.pttl(lock_key("q"))) <= left:  # until it is renewed
                left = now
                await asyncio.sleep(0.01)
            assert await store.claim("q") is None
        assert await store.claim("q")


async def test_a_lock_whose_owner_is_killed_is_free_after_a_while(settings, client):
    async with CineStore(settings.redis, ttl_s=settings.cines.ttl_s, lock_s=2) as store:
        assert await store.claim("q")  # and its owner is killed at once
        assert await store.claim("q") is None
        while not (claim := await store.claim("q")):
            await asyncio.sleep(0.01)
        assert claim


async def test_a_full_redis_is_told_from_one_that_is_gone(store, client, settings):
    await client.config_set("maxmemory-policy", "noeviction")
    await client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(RedisFull, match="memory limit"):
            await store.put("r-1", sample_cine(), seconds=1)
        with pytest.raises(RedisFull, match="memory limit"):
            await store.claim("q")
        assert await store.get("r-1") is None
    finally:
        await client.config_set("maxmemory", "256mb")
    await store.put("r-1", sample_cine(), seconds=1)


async def test_a_redis_that_is_gone_is_said_so_soon_and_without_its_password():
    settings = Settings.of(redis="redis://user:secret@127.0.0.1:1/0")
    async with CineStore(settings.redis, ttl_s=settings.cines.ttl_s) as store, asyncio.timeout(60):
        for question in (store.get("r"), store.find("r"), store.claim("q"), store.prolong("r")):
            with pytest.raises(RedisUnavailable, match="127.0.0.1:1") as failure:
                await question
            assert "secret" not in str(failure.value)
        with pytest.raises(RedisUnavailable):
            await store.put("r", sample_cine(), seconds=1)


async def test_a_redis_that_refuses_is_told_from_one_that_does_not_answer(settings):
    wrong = settings.changed(redis=settings.redis.url.replace("redis://", "redis://nobody:secret@"))
    async with CineStore(wrong.redis, ttl_s=wrong.cines.ttl_s) as store:
        with pytest.raises(RedisUnavailable, match="refuses") as failure:
            await store.get("r")
    assert "secret" not in str(failure.value)


class FailedOver:
    """Redis's protocol at an address whose first connections lead to what has become a replica, the rest to a master.

    Only the answers are there: nothing is stored.
    """

    def __init__(self, replicas):
        self.replicas = replicas

    async def serve(self, reader, writer):
        writes = b"+OK" if self.replicas <= 0 else b"-READONLY You can't write against a read only replica."
        ends = b"*3\r\n:0\r\n:5\r\n:1" if self.replicas <= 0 else b"-EXECABORT Transaction discarded"
        self.replicas -= 1
        while header := await reader.readline():
            words = [await self._word(reader) for _ in range(int(header[1:]))]
            answer = {b"CLIENT": b"+OK", b"MULTI": b"+OK", b"RPUSH": b":1", b"EXEC": ends}.get(words[0], writes)
            writer.write(answer + b"\r\n")
        writer.close()

    async def _word(self, reader):
        size = int((await reader.readline())[1:])
        return (await reader.readexactly(size + 2))[:-2]


@contextlib.asynccontextmanager
async def failed_over(replicas):
    async with await asyncio.start_server(FailedOver(replicas).serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield Settings.of(redis=f"redis://127.0.0.1:{port}/0?protocol=2", redis_timeout_s=5)


async def test_a_connection_that_a_failover_left_with_a_replica_is_replaced_at_once():
    async with failed_over(1) as settings, CineStore(settings.redis, ttl_s=settings.cines.ttl_s) as store:
        assert await store.put("r-1", sample_cine(), seconds=1)
    async with failed_over(1) as settings, CineStore(settings.redis, ttl_s=settings.cines.ttl_s) as store:
        assert await store.claim("q")


async def test_what_stays_a_replica_is_asked_anew_whenever_patience_asks():
    async with failed_over(2) as settings, CineStore(settings.redis, ttl_s=settings.cines.ttl_s) as store:
        with pytest.raises(RedisUnavailable, match="refuses"):
            await store.claim("q")
        assert await store.claim("q")


def ecg(record_id, seconds=10, rate_hz=500, leads=LEADS):
    """Return an ECG of noise, which cannot be compressed."""
    noise = np.random.default_rng(0).integers(-30_000, 30_000, (len(leads), seconds * rate_hz))
    return EcgRecord(
        record_id=record_id,
        patient_id="p",
        leads=leads,
        sample_rate_hz=float(rate_hz),
        microvolts_per_step=5.0,
        samples=noise.astype("<i2").tobytes(),
    )


async def until(metrics, outcome, number):
    """Wait until so many waveforms had an outcome."""
    async with asyncio.timeout(PATIENCE_S):
        while metrics.registry.get_sample_value("cardiacnets_waveforms_total", {"outcome": outcome}) != number:
            await asyncio.sleep(0.01)


async def test_of_a_long_ecg_with_other_leads_redis_keeps_what_was_screened(settings, client):
    metrics, long = Metrics(), ecg("long", seconds=100, rate_hz=1000, leads=(*LEADS, "X", "Y", "Z"))
    async with WaveformCache(settings.redis, metrics) as waveforms:
        waveforms.store(long)
        await until(metrics, "stored", 1)
    assert await client.strlen(waveform_key("long")) <= MAX_WAVEFORM_BYTES
    kept = decode_ecg(await client.get(waveform_key("long")))
    assert (kept.record_id, kept.patient_id, kept.leads, kept.n_samples) == ("long", "p", LEADS, 10_000)


@pytest.mark.parametrize(
    ("changes", "encoding", "headers", "as_it_came"),
    [
        ({}, {}, {}, True),
        ({"site": "ward 3"}, {}, {}, True),
        ({}, {"compress": False}, {}, False),
        ({}, {"schema_id": 7}, {}, False),
        ({}, {}, {"ce_dataschema": VERSION_1_2.encode()}, False),
        ({"remarks": (Remark("r", "a remark"),)}, {}, {}, False),
        ({"leads": (*LEADS[:-1], "X")}, {}, {}, False),
        ({"sample_rate_hz": 400.0}, {}, {}, False),  # 12.5 s, of which 10 are screened
    ],
)
async def test_an_ecg_that_came_as_we_would_store_it_is_kept_as_it_came(
    settings, client, changes, encoding, headers, as_it_came
):
    quiet = msgspec.structs.replace(ecg("r"), samples=bytes(12 * 5000 * 2), **changes)
    value = encode_ecg(quiet, **encoding)
    metrics = Metrics()
    async with WaveformCache(settings.redis, metrics) as waveforms:
        waveforms.store(quiet, came_as=ecg_message(value, headers))
        await until(metrics, "stored", 1)
    kept = await client.get(waveform_key("r"))
    assert kept == (value if as_it_came else encode_ecg(screened_part(quiet)))


async def test_waveforms_that_wait_are_bounded_in_bytes(settings, client):
    metrics, large = Metrics(), ecg("large", seconds=100, rate_hz=1000)
    fitting = MAX_WAITING_BYTES // len(large.samples)
    async with WaveformCache(settings.redis, metrics) as waveforms:
        for _ in range(fitting + 3):
            waveforms.store(large)
        await until(metrics, "dropped", 3)
        await until(metrics, "stored", fitting)
        waveforms.store(large)
        await until(metrics, "stored", fitting + 1)


async def test_no_waveform_is_lost_to_a_failover():
    metrics = Metrics()
    async with (
        failed_over(1) as settings,
        WaveformCache(settings.redis, metrics) as waveforms,
        asyncio.timeout(PATIENCE_S),
    ):
        for n in range(2):
            waveforms.store(ecg(f"r-{n}"))
        while metrics.registry.get_sample_value("cardiacnets_waveforms_total", {"outcome": "stored"}) != 2:
            await asyncio.sleep(0.01)
    assert metrics.registry.get_sample_value("cardiacnets_waveforms_total", {"outcome": "dropped"}) == 0
