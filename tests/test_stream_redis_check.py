"""What Redis cannot do is said at the start, in one sentence."""

import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import structlog
from redis import Redis
from redis_proxy import redis_proxy
from redis_sentinels import embedded, sentinels
from waiting import PATIENCE_S, wait_until

from schemas.errors import DeploymentError
from stream.demo.child_process import Child
from stream.demo.embedded_servers import embedded_redis, free_port
from stream.redis_check import CINE_COMMAND, CMR_WORKER, DASHBOARD, WORKER, check_redis
from stream.settings import RedisSettings, Settings, as_environment

pytestmark = pytest.mark.servers

FILE = Path(__file__).parent.parent / "docker" / "users.acl"
USERS = {"worker": WORKER, "cmr-worker": CMR_WORKER, "dashboard": DASHBOARD, "cine-command": CINE_COMMAND}
LINES = {line.split()[1]: line.split() for line in FILE.read_text().splitlines() if " on " in line}
CONNECTS = {"+hello", "+auth", "+select", "+client|setinfo"}
RIGHTS = [
    (user, word)
    for user, words in LINES.items()
    for word in words
    if word[0] in "+~%" and word not in CONNECTS and (user, word) != ("worker", "+multi")
]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A Redis whose users the tests make."""
    with embedded_redis(tmp_path_factory.mktemp("redis")) as (url, _):
        yield url


@pytest.fixture
def account(url):
    """Return the settings of an account with the rights of a line of the file, less some of them."""

    def made(user, without=()):
        rules = [word for word in LINES[user][2:] if word not in without]
        with Redis.from_url(url) as redis:
            redis.execute_command("ACL", "SETUSER", "tested", "reset", *rules)
        secret = next(word[1:] for word in rules if word.startswith(">"))
        return RedisSettings(url=f"redis://tested:{secret}@{urlsplit(url).netloc}/0", timeout_s=PATIENCE_S)

    return made


@pytest.fixture
def logged():
    """What was logged."""
    with structlog.testing.capture_logs() as logs:
        yield logs


@contextmanager
def cluster(folder):
    """Run a cluster of one server without a slot; yield its URL."""
    port = free_port()
    options = {"port": port, "cluster-port": free_port(), "cluster-enabled": "yes", "save": "", "dir": folder}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with Child([embedded(), *words], log=folder / "cluster.log"):
        wait_until(lambda: listens(port))
        yield f"redis://127.0.0.1:{port}/0"


def listens(port):
    """Return whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("user", USERS)
async def test_the_rights_of_the_file_are_enough(user, account, logged):
    await check_redis(account(user), USERS[user])
    assert not logged


@pytest.mark.parametrize(("user", "right"), RIGHTS)
async def test_each_missing_right_is_named_in_a_sentence(user, right, account, logged):
    settings, words = account(user, without=[right]), right.lstrip("+~%RW")
    if USERS[user].without is None:
        with pytest.raises(DeploymentError) as refused:
            await check_redis(settings, USERS[user])
        sentence = str(refused.value)
    else:
        await check_redis(settings, USERS[user])
        (line,) = logged
        sentence = line["reason"]
        assert line["effect"] == USERS[user].without
    assert "refuses to our user" in sentence
    assert words in sentence
    assert "secret" not in sentence


async def test_nothing_is_written_by_asking(account, url):
    for name, user in USERS.items():
        await check_redis(account(name), user)
    with Redis.from_url(url) as redis:
        assert redis.dbsize() == 0


async def test_a_wrong_password_is_said(url, logged):
    settings = RedisSettings(url=url.replace("://", "://nobody:hidden-word@"))
    with pytest.raises(DeploymentError, match="refuses the user and the password of CARDIACNETS_REDIS") as refused:
        await check_redis(settings, CMR_WORKER)
    await check_redis(settings, WORKER)
    assert [line["event"] for line in logged] == ["redis_refuses"]
    assert "hidden-word" not in str(refused.value) + str(logged)


async def test_a_redis_that_is_away_is_said_and_no_reason_to_end(logged):
    for user in USERS.values():
        await check_redis(RedisSettings(url=f"redis://127.0.0.1:{free_port()}/0"), user)
    assert [line["event"] for line in logged] == ["redis_unavailable"] * len(USERS)


@pytest.mark.parametrize("user", USERS)
async def test_a_cluster_is_refused(user, tmp_path):
    with (
        cluster(tmp_path) as url,
        pytest.raises(DeploymentError, match=r"is a cluster, which cannot serve: set CARDIAC"),
    ):
        await check_redis(RedisSettings(url=url), USERS[user])


async def test_a_sentinel_in_the_place_of_redis_is_told_how_it_is_named(tmp_path):
    with sentinels(tmp_path) as there:
        port = next(iter(there.sentinels))
        with pytest.raises(
            DeploymentError, match=rf"is a Sentinel, .*: write redis\+sentinel://127.0.0.1:{port}/mymaster"
        ):
            await check_redis(RedisSettings(url=f"redis://127.0.0.1:{port}/0"), WORKER)
        await check_redis(RedisSettings(url=there.url), CMR_WORKER)


@pytest.mark.parametrize("user", ["cmr-worker", "dashboard", "cine-command"])
async def test_a_proxy_without_transactions_is_refused_by_who_needs_them(user, url):
    with redis_proxy(urlsplit(url).port, unknown=("MULTI", "EXEC", "DISCARD")) as proxy:
        settings = RedisSettings(url=f"redis://127.0.0.1:{proxy.port}/0")
        with pytest.raises(DeploymentError, match=r"has no transactions \(MULTI\): a proxy stands before it"):
            await check_redis(settings, USERS[user])
        await check_redis(settings, WORKER)


async def test_a_proxy_that_knows_no_scripts_is_refused_by_who_needs_them(url):
    with redis_proxy(urlsplit(url).port, unknown=("EVAL",)) as proxy:
        settings = RedisSettings(url=f"redis://127.0.0.1:{proxy.port}/0")
        with pytest.raises(DeploymentError, match=r"refuses to our user: eval on cardiacnets:cine-lock:\*"):
            await check_redis(settings, CMR_WORKER)


async def test_what_is_no_redis_of_today_is_said(url):
    with (
        redis_proxy(urlsplit(url).port, unknown=("HELLO",)) as proxy,
        pytest.raises(DeploymentError, match="does not begin as Redis 6 or newer does"),
    ):
        await check_redis(RedisSettings(url=f"redis://127.0.0.1:{proxy.port}/0"), WORKER)


def test_a_process_before_a_cluster_ends_in_a_sentence(tmp_path):
    with cluster(tmp_path) as url:
        settings = Settings.of(redis=url, http_port=0, dashboard_port=0, broker="127.0.0.1:1")
        run = subprocess.run(
            [sys.executable, "-m", "stream.cli", "cmr-worker"],
            check=False,
            env=as_environment(settings) | {"PYTHONPATH": str(FILE.parent.parent), "PATH": ""},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
    assert run.returncode == 1
    assert "is a cluster" in run.stderr
    assert "Traceback" not in run.stderr
