"""Redis behind Sentinels: a failover costs seconds, and no waveform, cine or id."""

import asyncio
import time
from contextlib import contextmanager

import pytest
import trustme
from redis_sentinels import needs_redis_with_tls, sentinels
from sample_cine import sample_cine
from test_stream_known_ecgs import ecg
from waiting import PATIENCE_S, eventually, wait_until

from stream.cines.store import CineStore, RedisUnavailable
from stream.redis_client import redis_place
from stream.screening.metrics import Metrics
from stream.screening.waveform_cache import WaveformCache, waveform_key
from stream.settings import Settings

pytestmark = pytest.mark.servers


@contextmanager
def certificates(folder):
    """Yield the files of an authority and of a server at 127.0.0.1."""
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1")
    files = {name: folder / f"{name}.pem" for name in ("ca", "server", "server_key")}
    authority.cert_pem.write_to_path(files["ca"])
    server.cert_chain_pems[0].write_to_path(files["server"])
    server.private_key_pem.write_to_path(files["server_key"])
    yield files


@pytest.fixture(params=["plain", pytest.param("tls", marks=needs_redis_with_tls)])
def there(request, tmp_path):
    """A Redis that fails over."""
    with certificates(tmp_path) as files, sentinels(tmp_path, files if request.param == "tls" else None) as servers:
        yield servers


def kill(there, master):
    """Kill the master as a power cut does."""
    there.servers[master].process.kill()
    there.servers[master].process.wait()


def hand_over(there, _):
    """Let a Sentinel make the replica the master, as an operator does before an upgrade."""
    there.hand_over()


@pytest.mark.parametrize("way", [kill, hand_over])
async def test_the_waveforms_and_cines_of_a_failover_wait_for_the_new_master(way, there):
    settings, metrics = Settings.of(redis=there.url), Metrics()
    async with WaveformCache(settings.redis, metrics) as cache, CineStore(settings.redis, ttl_s=600) as cines:
        cache.store(ecg("before"))
        await eventually(lambda: count(metrics, "stored") == 1)
        old = there.master()
        wait_until(lambda: waveform(there, there.other(old), "before"))
        began = time.monotonic()
        way(there, old)
        sent = await flow(cache, until=lambda: there.master() != old)
        await eventually(lambda: count(metrics, "stored") == 1 + sent)
        print(f"{way.__name__}: all {sent} waveforms are stored {time.monotonic() - began:.1f} s after")
        await cine_stored(cines)
        assert waveform(there, there.master(), "before")
        kept = sum(waveform(there, there.master(), f"r-{n}") for n in range(sent))
        print(f"{way.__name__}: {sent - kept} of them went with the old master, which had confirmed them")
        assert kept == sent or way is hand_over
        last = await flow(cache, until=lambda: waveform(there, there.master(), "r-0"))
        print(
            f"{way.__name__}: the new master has one {time.monotonic() - began:.1f} s after, the {last}th that was sent"
        )
    assert count(metrics, "dropped") == 0


async def flow(cache, *, until):
    """Store waveforms, ten a second, until the condition holds; return how many."""
    sent = 0

    def one_more():
        nonlocal sent
        cache.store(ecg(f"r-{sent}", seed=sent))
        sent += 1
        return until()

    await eventually(one_more, poll_s=0.1)
    return sent


async def cine_stored(cines):
    """Return when a cine is stored."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await cines.put("r-1", sample_cine(), seconds=1)
            except RedisUnavailable:
                await asyncio.sleep(0.05)


async def test_sentinels_that_do_not_know_the_master_are_named_and_nothing_is_stored(tmp_path):
    with sentinels(tmp_path) as there:
        settings = Settings.of(redis=there.url.replace("/ward/", "/another/"))
        async with CineStore(settings.redis, ttl_s=600) as store:
            with pytest.raises(
                RedisUnavailable, match=r"master another of the Sentinels 127.0.0.1:\d+, .*MasterNotFound"
            ):
                await store.find("r-1")


def test_the_place_of_redis_is_said_without_the_password():
    place = redis_place(
        Settings.of(redis="redis+sentinel://me:secret@h-1:1,h-2,[::1]:3/ward/2?sentinel_password=x").redis
    )
    assert place == "the master ward of the Sentinels h-1:1, h-2:26379, ::1:3"


def waveform(there, port, record_id):
    """Return whether a server has a waveform."""
    with there.client(port) as client:
        return client.exists(waveform_key(record_id))


def count(metrics, outcome):
    """Return how many waveforms had an outcome."""
    return metrics.registry.get_sample_value("cardiacnets_waveforms_total", {"outcome": outcome})
