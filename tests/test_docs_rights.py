"""The rights that the operator's page gives to each account of Redis are enough, and no more."""

import asyncio
import re
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError
from sample_cine import sample_cine
from test_stream_known_ecgs import ecg
from waiting import PATIENCE_S

from schemas.ecg_message import EcgMessage
from stream.cines.store import CineStore, RedisUnavailable
from stream.demo.embedded_servers import embedded_redis
from stream.redis_client import new_redis
from stream.screening.known_ecgs import ClaimingEcg, KnownEcgs
from stream.screening.metrics import Metrics
from stream.screening.waveform_cache import waveform_key
from stream.settings import RedisSettings

pytestmark = pytest.mark.servers

PAGE = (Path(__file__).parent.parent / "docs" / "operations.md").read_text(encoding="utf-8")
(ACL,) = re.findall(r"^```acl\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
USERS = [line.split()[1:] for line in ACL.splitlines()]


@pytest.fixture(scope="module")
def accounts(tmp_path_factory):
    """The settings of each account, on a Redis that knows no other."""
    with embedded_redis(tmp_path_factory.mktemp("redis")) as (url, _):
        asyncio.run(create_users(url))
        place = urlsplit(url)
        yield {name: RedisSettings(url=f"redis://{name}:secret@{place.hostname}:{place.port}/0") for name, *_ in USERS}


async def create_users(url):
    async with Redis.from_url(url) as redis:
        for name, *rules in USERS:
            await redis.execute_command("ACL", "SETUSER", name, *rules)
        await redis.execute_command("ACL", "SETUSER", "default", "off")


async def test_a_worker_may_store_waveforms_and_read_nothing(accounts):
    async with new_redis(accounts["worker"], retries=0) as redis:
        await redis.set(waveform_key("r-1"), b"an ECG", ex=600)
        with pytest.raises(NoPermissionError):
            await redis.get(waveform_key("r-1"))


async def test_a_worker_may_claim_the_ids_of_ecgs_and_see_who_owns_them(accounts):
    settings = msgspec.structs.replace(accounts["worker"], ecg_id_wait_s=PATIENCE_S)
    ecgs = [ClaimingEcg(EcgMessage(b""), ecg(seed=seed)) for seed in (0, 1)]
    metrics = Metrics()
    async with KnownEcgs(settings, metrics, limit=10) as known:
        known.look_up(ecgs)
        assert [await one.claim.is_foreign() for one in ecgs] == [False, True]
    assert metrics.registry.get_sample_value("cardiacnets_unshared_ecg_ids_total") == 0


async def test_a_cmr_worker_may_claim_store_find_and_prolong_cines_and_see_no_ecg(accounts):
    async with CineStore(accounts["cmr-worker"], ttl_s=600) as store:
        async with await store.claim("request"):
            await store.put("r-1", sample_cine(), seconds=1.0)
        assert await store.claim("request") is not None  # it was released
        assert await store.find("r-1")
        assert await store.prolong("r-1")
    async with new_redis(accounts["cmr-worker"], retries=0) as redis:
        with pytest.raises(NoPermissionError):
            await redis.get(waveform_key("r-1"))


async def test_a_dashboard_may_read_ecgs_and_cines_and_write_nothing(accounts):
    async with new_redis(accounts["worker"], retries=0) as redis:
        await redis.set(waveform_key("r-1"), b"an ECG", ex=600)
    async with CineStore(accounts["cmr-worker"], ttl_s=600) as store:
        await store.put("r-1", sample_cine(), seconds=1.0)
    async with new_redis(accounts["dashboard"], retries=0) as redis:
        assert await redis.ping()
        assert await redis.strlen(waveform_key("r-1")) == len(b"an ECG")
        assert await redis.get(waveform_key("r-1")) == b"an ECG"
        with pytest.raises(NoPermissionError):
            await redis.set(waveform_key("r-1"), b"another")
    async with CineStore(accounts["dashboard"], ttl_s=600) as store:
        assert (await store.get("r-1")).frames.any()
        with pytest.raises(RedisUnavailable, match="refuses"):
            await store.put("r-1", sample_cine(), seconds=1.0)
