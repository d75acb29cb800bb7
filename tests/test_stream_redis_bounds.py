"""What each kind of thing may take of Redis: the newest stay, whatever the number of processes."""

import asyncio
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pytest
import structlog
from redis import Redis
from sample_cine import sample_cine
from test_stream_known_ecgs import ecg, received
from waiting import PATIENCE_S, eventually

from schemas.codec import decode_ecg
from stream.cines.store import CineStore, cine_key
from stream.demo.embedded_servers import embedded_redis
from stream.redis_bounds import order_key
from stream.screening.brief_waveforms import Allowance
from stream.screening.id_owners import owner_key
from stream.screening.known_ecgs import KnownEcgs
from stream.screening.metrics import Metrics
from stream.screening.waveform_cache import WaveformCache, other_waveform_key, waveform_key
from stream.settings import Settings

pytestmark = pytest.mark.servers
NEWEST = ["r-6", "r-7", "r-8"]
ALL = [f"r-{n}" for n in range(9)]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with embedded_redis(tmp_path_factory.mktemp("redis")) as (url, _):
        yield url


@pytest.fixture
def redis(url):
    """A client that looks at an empty Redis from outside."""
    with Redis.from_url(url) as client:
        client.flushall()
        yield client


def settings_of(url):
    """Return settings with room for three things of each kind."""
    bounds = {"waveforms_at_most": 3, "cines_at_most": 3, "ecg_ids_at_most": 3}
    return Settings.of(redis=url, redis_timeout_s=PATIENCE_S, ecg_id_wait_s=PATIENCE_S, **bounds).redis


def there(redis, key_of):
    """Return which of the records have a key of this kind."""
    return [record_id for record_id in ALL if redis.exists(key_of(record_id))]


def count(metrics, name, outcome):
    return metrics.registry.get_sample_value(f"cardiacnets_{name}_total", {"outcome": outcome})


async def test_the_newest_waveforms_of_two_workers_stay(url, redis):
    metrics = Metrics()
    with structlog.testing.capture_logs() as logs:
        async with WaveformCache(settings_of(url), metrics) as one, WaveformCache(settings_of(url), metrics) as another:
            for n, record_id in enumerate(ALL):
                (one, another)[n % 2].store(ecg(record_id))
                await eventually(lambda: count(metrics, "waveforms", "stored") == n + 1)  # noqa: B023
    assert there(redis, waveform_key) == NEWEST
    assert redis.llen(order_key("waveform")) == 3
    assert count(metrics, "waveforms", "removed") == 6
    assert {(line["event"], line["kind"], line["at_most"]) for line in logs} == {("redis_bound_reached", "waveform", 3)}


async def test_ecgs_that_were_not_flagged_share_bytes_of_their_own_and_take_no_flagged_ones_place(url, redis):
    settings, metrics = Settings.of(redis=url, other_waveforms_bytes=2**20, other_waveform_ttl_s=600).redis, Metrics()
    noise = ecg("flagged", samples=np.random.default_rng(0).integers(-9999, 9999, 60_000).astype("<i2").tobytes())
    with structlog.testing.capture_logs() as logs:
        async with WaveformCache(settings, metrics) as cache:
            cache.store(noise)
            await eventually(lambda: count(metrics, "waveforms", "stored") == 1)
            for n in range(12):
                cache.store_briefly(msgspec.structs.replace(noise, record_id=f"r-{n}"))
            cache.store_briefly(msgspec.structs.replace(noise, patient_id="another under the id of a flagged one"))
            await eventually(lambda: count(metrics, "waveforms", "stored") == 14)
    kept = set(redis.keys(other_waveform_key("*")))
    assert 0 < len(kept) < 12
    assert other_waveform_key("flagged").encode() in kept
    assert other_waveform_key("r-0").encode() not in kept
    assert sum(redis.strlen(key) for key in kept) <= 2**20
    assert all(0 < redis.ttl(key) <= 660 for key in kept)
    assert decode_ecg(redis.get(waveform_key("flagged"))).patient_id == "p"
    assert logs == []


async def test_without_the_right_to_bound_them_ecgs_that_were_not_flagged_are_not_kept(url, redis):
    rights = ("-@all", "~cardiacnets:waveform:*", "+hello", "+auth", "+set")
    redis.execute_command("ACL", "SETUSER", "old", "reset", "on", ">s", *rights)
    metrics = Metrics()
    async with WaveformCache(Settings.of(redis=url.replace("redis://", "redis://old:s@")).redis, metrics) as cache:
        cache.store_briefly(ecg("r-1"))
        await eventually(lambda: count(metrics, "waveforms", "left_out") == 1)
    assert not redis.exists(other_waveform_key("r-1"))


def test_of_ecgs_that_were_not_flagged_a_few_a_second_are_kept():
    now = 0.0
    allowance = Allowance(lambda: now)
    assert sum(allowance.take() for _ in range(100)) == 32
    now = 2.0
    assert sum(allowance.take() for _ in range(100)) == 8


async def test_the_newest_cines_stay(url, redis):
    removed = []
    async with CineStore(settings_of(url), ttl_s=600, removed=removed.append) as store:
        for record_id in ALL:
            await store.put(record_id, sample_cine(), seconds=1)
    assert there(redis, cine_key) == NEWEST
    assert sum(removed) == 6


async def test_the_newest_ids_are_remembered_and_what_is_asked_again_is_not_newer(url, redis):
    metrics = Metrics()
    async with (
        KnownEcgs(settings_of(url), metrics, limit=100) as one,
        KnownEcgs(settings_of(url), metrics, limit=9) as two,
    ):
        for record_id in ALL:
            for known in (one, two):
                ecgs = received(ecg(record_id))
                known.look_up(ecgs)
                assert not await ecgs[0].claim.is_foreign()
    assert there(redis, owner_key) == NEWEST
    assert redis.llen(order_key("ecg-id")) == 3
    assert count(metrics, "ecg_ids", "removed") == 6
    assert metrics.registry.get_sample_value("cardiacnets_unshared_ecg_ids_total") == 0


async def test_a_bound_that_is_set_lower_is_reached_step_by_step(url, redis):
    metrics = Metrics()
    async with WaveformCache(Settings.of(redis=url).redis, metrics) as cache:
        redis.rpush(order_key("waveform"), *(f"old-{n}" for n in range(150)))
        cache.store(ecg("r-0"))
        await eventually(lambda: count(metrics, "waveforms", "stored") == 1)
    async with WaveformCache(settings_of(url), metrics) as cache:
        for stored in (2, 3):
            cache.store(ecg(f"r-{stored}"))
            await eventually(lambda: count(metrics, "waveforms", "stored") == stored)  # noqa: B023
    assert redis.llen(order_key("waveform")) == 3


async def test_a_user_without_the_rights_of_the_bounds_stores_and_compares_all_the_same(url, redis):
    redis.execute_command(
        "ACL", "SETUSER", "old", "reset", "on", ">s", "-@all", "~*", "+hello", "+auth", "+set", "+mget"
    )
    metrics, settings = Metrics(), settings_of(f"redis://old:s@{urlsplit(url).netloc}/0")
    with structlog.testing.capture_logs() as logs:
        async with WaveformCache(settings, metrics) as cache, KnownEcgs(settings, metrics, limit=9) as known:
            cache.store(ecg("r-1"))
            await eventually(lambda: count(metrics, "waveforms", "stored") == 1)
            ecgs = received(ecg("r-1", seed=1), ecg("r-1", seed=2))
            known.look_up(ecgs)
            assert await asyncio.gather(*(one.claim.is_foreign() for one in ecgs)) == [False, True]
    assert {line["event"] for line in logs} == {"redis_refuses"}
    assert "rpush" in str(logs)
