"""A connection to Redis that nobody used for a while may be dead. Nothing is lost by that."""

import asyncio
from urllib.parse import urlsplit

import pytest
from redis import Redis
from redis_proxy import redis_proxy
from sample_cine import sample_cine
from test_stream_known_ecgs import ecg
from waiting import eventually

from engines.batcher import Lane
from schemas.ecg_message import EcgMessage
from stream.cines.store import CineStore
from stream.demo.embedded_servers import embedded_redis, free_port
from stream.redis_client import new_redis
from stream.screening.known_ecgs import ClaimingEcg, KnownEcgs
from stream.screening.metrics import Metrics
from stream.screening.waveform_cache import WaveformCache
from stream.settings import Settings

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A Redis that hurts its clients."""
    with embedded_redis(tmp_path_factory.mktemp("redis")) as (url, _):
        yield url


@pytest.fixture
def redis(url):
    """A client that looks at Redis from outside."""
    with Redis.from_url(url) as client:
        yield client
        client.config_set("timeout", 0)


async def closed_by_redis(redis, _):
    """Redis ends the connections, as it does to those that are quiet for longer than `timeout`."""
    redis.client_kill_filter(_type="normal", skipme=True)


async def forgotten_by_a_proxy(redis, proxy):
    """A proxy or a firewall between drops what comes, and says nothing."""
    proxy.forget()


def others(redis):
    """Return the connections of other clients."""
    return [one for one in redis.client_list() if int(one["id"]) != redis.client_id()]


@pytest.fixture(params=[closed_by_redis, forgotten_by_a_proxy], ids=lambda way: way.__name__)
def quiet(request, url, redis):
    """The settings of a client before a proxy, and what a quiet time does to its connections."""
    with redis_proxy(urlsplit(url).port) as proxy:
        settings = Settings.of(redis=f"redis://127.0.0.1:{proxy.port}/0", redis_timeout_s=1, ecg_id_wait_s=1)
        yield settings, lambda: request.param(redis, proxy)


async def test_the_first_ecg_after_a_quiet_time_keeps_its_waveform(quiet):
    settings, pause = quiet
    await stores_waveforms_between(pause, settings)


async def test_redis_itself_may_close_what_is_quiet(url, redis):
    async def pause():
        redis.config_set("timeout", 1)
        await eventually(lambda: len(others(redis)) == 0, poll_s=0.1)
        redis.config_set("timeout", 0)

    await stores_waveforms_between(pause, Settings.of(redis=url))


async def stores_waveforms_between(pause, settings):
    """Store one waveform after each pause, and see that each is stored."""
    metrics = Metrics()
    async with WaveformCache(settings.redis, metrics) as cache:
        for stored in (1, 2, 3):
            cache.store(ecg(seed=stored))
            await eventually(lambda: count(metrics, "waveforms", outcome="stored") == stored)  # noqa: B023
            await pause()
    assert count(metrics, "waveforms", outcome="dropped") == 0


async def test_the_first_ecg_after_a_quiet_time_has_its_id_compared_with_all_workers(quiet):
    settings, pause = quiet
    metrics = Metrics()
    async with KnownEcgs(settings.redis, metrics, limit=10) as known:
        for seed in (11, 12, 13):
            claiming = [ClaimingEcg(EcgMessage(b""), ecg(f"r-{seed}", seed=seed), lane=Lane.REALTIME)]
            known.look_up(claiming)
            assert not await claiming[0].claim.is_foreign()
            await pause()
    assert count(metrics, "unshared_ecg_ids") == 0


async def test_a_cine_is_stored_found_and_locked_after_a_quiet_time(quiet):
    settings, pause = quiet
    async with CineStore(settings.redis, ttl_s=600) as store:
        await store.put("r-1", sample_cine(), seconds=1)
        await pause()
        request = f"request-{settings.redis.url}"
        claim = await store.claim(request)
        assert claim
        await pause()
        async with claim:
            await pause()
        assert await store.claim(request), "the lock was not released"
        await pause()
        assert await store.find("r-1")


async def test_what_a_page_of_the_dashboard_fetches_at_once_comes_after_a_quiet_time(quiet):
    settings, pause = quiet
    async with new_redis(settings.redis) as client:
        for _ in range(2):
            assert await asyncio.gather(*(client.ping() for _ in range(8))) == [True] * 8
            await pause()


def count(metrics, name, **labels):
    """Return the count of a metric."""
    return metrics.registry.get_sample_value(f"cardiacnets_{name}_total", labels)


async def test_waveforms_wait_for_a_redis_that_is_away_for_a_moment(tmp_path):
    metrics, port = Metrics(), free_port()
    settings = Settings.of(redis=f"redis://127.0.0.1:{port}/0")
    async with WaveformCache(settings.redis, metrics) as cache:
        for seed in range(20):
            cache.store(ecg(f"r-{seed}", seed=seed))
        await eventually(lambda: cache._failures >= 2)
        with embedded_redis(tmp_path, port=port):
            await eventually(lambda: count(metrics, "waveforms", outcome="stored") == 20)
    assert count(metrics, "waveforms", outcome="dropped") == 0


async def test_waveforms_are_dropped_at_last(tmp_path):
    metrics = Metrics()
    settings = Settings.of(redis=f"redis://127.0.0.1:{free_port()}/0")
    async with WaveformCache(settings.redis, metrics, hold_s=0.2) as cache:
        for seed in range(3):
            cache.store(ecg(f"r-{seed}", seed=seed))
        await eventually(lambda: count(metrics, "waveforms", outcome="dropped") == 3)


async def test_a_redis_that_refuses_waveforms_is_not_waited_for(url, redis):
    metrics = Metrics()
    redis.config_set("maxmemory", 1)
    redis.config_set("maxmemory-policy", "noeviction")
    try:
        async with WaveformCache(Settings.of(redis=url).redis, metrics) as cache:
            cache.store(ecg())
            await eventually(lambda: count(metrics, "waveforms", outcome="dropped") == 1)
    finally:
        redis.config_set("maxmemory", 0)
