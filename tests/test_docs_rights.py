"""The rights that docker/users.acl gives to each user of Redis are enough, and no more."""

import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
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

FILE = Path(__file__).parent.parent / "docker" / "users.acl"
SECRETS = dict(re.findall(r"^user (\S+) on >(\S+) ", FILE.read_text(), re.MULTILINE))
WAVEFORM, CINE = "cardiacnets:waveform:r-1", "cardiacnets:cine:r-1"
REFUSED = [
    ("worker", "GET", WAVEFORM),
    ("worker", "SET", CINE, "x"),
    ("worker", "KEYS", "*"),
    ("cmr-worker", "GET", WAVEFORM),
    ("cmr-worker", "EVAL", f"return redis.call('get', '{WAVEFORM}')", "0"),
    ("cmr-worker", "EVAL", "return redis.call('flushall')", "0"),
    ("cmr-worker", "FLUSHALL"),
    ("dashboard", "SET", WAVEFORM, "x"),
    ("dashboard", "GET", "cardiacnets:ecg-id:r-1"),
    ("dashboard", "DEL", CINE),
    ("dashboard", "CONFIG", "GET", "*"),
    ("cine-command", "GET", WAVEFORM),
    ("cine-command", "DEL", CINE),
]
REFUSED += [(user, "CLIENT", "KILL", "ID", "1") for user in SECRETS]
REFUSED += [(user, "ACL", "LIST") for user in SECRETS]
REFUSED += [(user, "INFO") for user in SECRETS]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Host and port of a Redis that has loaded the file."""
    with embedded_redis(tmp_path_factory.mktemp("redis"), users=FILE) as (url, _):
        yield urlsplit(url)


@pytest.fixture(scope="module")
def accounts(place):
    """The settings of each account."""
    return {
        user: RedisSettings(url=f"redis://{user}:{secret}@{place.hostname}:{place.port}/0")
        for user, secret in SECRETS.items()
    }


def test_there_is_a_user_for_each_that_asks_redis(accounts):
    assert set(accounts) == {"worker", "cmr-worker", "dashboard", "cine-command"}


async def test_who_has_no_name_may_do_nothing(place):
    async with new_redis(RedisSettings(url=f"redis://{place.hostname}:{place.port}/0")) as redis:
        with pytest.raises(AuthenticationError):
            await redis.ping()


@pytest.mark.parametrize(("user", "command"), [(user, command) for user, *command in REFUSED])
async def test_what_is_not_a_users_own_work_is_refused(user, command, accounts):
    async with new_redis(accounts[user]) as redis:
        with pytest.raises(ResponseError, match=r"(?i)permission|ACL"):
            await redis.execute_command(*command)


async def test_whoever_fetches_a_cine_may_do_that_alone(accounts):
    async with CineStore(accounts["cmr-worker"], ttl_s=600) as store:
        await store.put("r-1", sample_cine(), seconds=1.0)
    async with CineStore(accounts["cine-command"], ttl_s=600) as store:
        assert (await store.get("r-1")).frames.any()
        with pytest.raises(RedisUnavailable, match="refuses"):
            await store.prolong("r-1")


async def test_a_worker_may_store_waveforms_and_read_nothing(accounts):
    async with new_redis(accounts["worker"]) as redis:
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
    async with new_redis(accounts["cmr-worker"]) as redis:
        with pytest.raises(NoPermissionError):
            await redis.get(waveform_key("r-1"))


async def test_a_dashboard_may_read_ecgs_and_cines_and_write_nothing(accounts):
    async with new_redis(accounts["worker"]) as redis:
        await redis.set(waveform_key("r-1"), b"an ECG", ex=600)
    async with CineStore(accounts["cmr-worker"], ttl_s=600) as store:
        await store.put("r-1", sample_cine(), seconds=1.0)
    async with new_redis(accounts["dashboard"]) as redis:
        assert await redis.ping()
        assert await redis.strlen(waveform_key("r-1")) == len(b"an ECG")
        assert await redis.get(waveform_key("r-1")) == b"an ECG"
        with pytest.raises(NoPermissionError):
            await redis.set(waveform_key("r-1"), b"another")
    async with CineStore(accounts["dashboard"], ttl_s=600) as store:
        assert (await store.get("r-1")).frames.any()
        with pytest.raises(RedisUnavailable, match="refuses"):
            await store.put("r-1", sample_cine(), seconds=1.0)


def test_the_page_for_operators_has_the_same_rights_as_commands():
    page = (FILE.parent.parent / "docs" / "operations.md").read_text()
    block = page.split("```bash\n")[1:]
    (rights,) = [part.split("```")[0] for part in block if part.startswith("redis-cli ACL SETUSER default off\n")]
    commands = [shlex.split(line)[3:] for line in rights.replace("\\\n", "").splitlines()]
    assert commands == [line.split()[1:] for line in FILE.read_text().splitlines()]
