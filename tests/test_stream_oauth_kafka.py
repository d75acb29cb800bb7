"""Apache Kafka with tokens (OAUTHBEARER), which it checks by the keys of the endpoint: every process logs in."""

import asyncio
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from apache_kafka import apache_kafka, needs_apache_kafka
from harness import PROMPT, collect, good_values, publish_values
from token_endpoint import AUDIENCE, CLIENT, ISSUER, SECRET, token_endpoint
from waiting import PATIENCE_S, wait_until

from schemas.errors import DeploymentError
from schemas.topics import CMR_REQUESTS, CMR_RESULTS
from stream.broker.clients import ensure_topics, new_consumer
from stream.demo.embedded_servers import embedded_redis, free_port
from stream.demo.stage import await_dashboard, await_worker, start_worker
from stream.settings import Settings, as_environment

pytestmark = [pytest.mark.servers, needs_apache_kafka, pytest.mark.timeout(2 * PATIENCE_S)]
PACKAGE = "org.apache.kafka.common.security.oauthbearer"
CHECK = "OAuthBearerValidatorCallbackHandler"
RECORDS = 30
LIFE_S = 10


@pytest.fixture(scope="module")
def endpoint():
    with token_endpoint() as there:
        yield there


@pytest.fixture(scope="module")
def settings(endpoint, tmp_path_factory):
    """The settings of a client of an Apache Kafka that takes tokens and ends connections when the token ends."""
    port, folder = free_port(), tmp_path_factory.mktemp("servers")
    changes = {
        "sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.token.oauthbearer.sasl.jaas.config": f"{PACKAGE}.OAuthBearerLoginModule required;",
        "listener.name.token.oauthbearer.sasl.server.callback.handler.class": f"{PACKAGE}.{CHECK}",
        "listener.name.token.oauthbearer.connections.max.reauth.ms": 3_600_000,
        "sasl.oauthbearer.jwks.endpoint.url": endpoint.keys_url,
        "sasl.oauthbearer.expected.audience": AUDIENCE,
        "sasl.oauthbearer.expected.issuer": ISSUER,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", f"-D{'org.apache.kafka.sasl.oauthbearer'}.allowed.urls={endpoint.keys_url}")
        stack = ExitStack()
        stack.enter_context(apache_kafka(folder, changes, listeners={"TOKEN": ("SASL_PLAINTEXT", port)}))
    with stack, embedded_redis(folder) as (redis, _):
        login = {"oauth_token_url": endpoint.url, "oauth_client_id": CLIENT, "oauth_client_secret": SECRET}
        manner = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "OAUTHBEARER"}
        place = {"broker": f"127.0.0.1:{port}", "redis": redis, "partitions": 2}
        yield Settings.of(**PROMPT, **manner, **login, **place)


def test_worker_cmr_worker_and_dashboard_outlive_their_tokens(settings, endpoint, tmp_path):
    endpoint.life_s = LIFE_S
    values, later = good_values(RECORDS), good_values(RECORDS, seed=8)
    ports = {
        name: settings.changed(http_port=free_port(), dashboard_port=free_port()) for name in ("worker", "cmr-worker")
    }
    ports["dashboard"] = settings.changed(dashboard_port=free_port())
    asyncio.run(ensure_topics(settings.kafka))
    with ExitStack() as stack:
        stage = {name: start_worker(own, tmp_path / f"{name}.log", name) for name, own in ports.items()}
        for child in stage.values():
            stack.enter_context(child)
        await_worker(stage["worker"], ports["worker"])
        await_worker(stage["cmr-worker"], ports["cmr-worker"])
        await_dashboard(stage["dashboard"], ports["dashboard"])
        asyncio.run(publish_values(settings, values))
        asyncio.run(collect(settings, until=lambda answers: answers.answered >= RECORDS))
        asked = len(endpoint.asked)
        wait_until(lambda: len(endpoint.asked) >= asked + 4, poll_s=0.1)  # the tokens of all have ended
        asyncio.run(publish_values(settings, later))
        answers = asyncio.run(collect(settings, until=lambda answers: answers.answered >= 2 * RECORDS))
        asyncio.run(first_result(settings))
        assert all(child.running for child in stage.values())
    assert answers.report_ids.keys() == values.keys() | later.keys()
    assert {len(ids) for ids in answers.report_ids.values()} == {1}
    assert not answers.rejections
    logs = "".join((tmp_path / f"{name}.log").read_text() for name in stage)
    assert SECRET not in logs
    assert not re.search(r"eyJ[A-Za-z0-9_-]+\.", logs), "a token is in a log"


async def first_result(settings):
    """Return when a cine was drawn, or asked for in vain."""
    async with (
        asyncio.timeout(PATIENCE_S),
        new_consumer(settings.kafka, (CMR_REQUESTS, CMR_RESULTS), auto_offset_reset="earliest") as consumer,
    ):
        async for message in consumer:
            if message.topic == CMR_RESULTS:
                return


@pytest.mark.parametrize("command", ["worker", "cmr-worker", "dashboard", "publish", "collect"])
def test_a_command_without_a_token_ends_in_a_sentence(command, settings, tmp_path):
    wrong = settings.changed(oauth_client_secret="wrong-word", http_port=free_port(), dashboard_port=free_port())
    more = {"publish": ["."], "collect": ["--out", "answers"]}.get(command, [])
    run = subprocess.run(
        [sys.executable, "-m", "stream.cli", command, *more],
        check=False,
        cwd=tmp_path,
        env={**os.environ, **as_environment(wrong), "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert run.returncode == 1
    said = " ".join((run.stderr + run.stdout).split())
    assert "there is no token to log in with at Kafka" in said
    assert (
        f"refuses CARDIACNETS_OAUTH_CLIENT_ID={CLIENT} with CARDIACNETS_OAUTH_CLIENT_SECRET (401 invalid_client)"
        in said
    )
    assert "Traceback" not in said
    assert "wrong-word" not in said


def test_a_token_of_another_audience_is_refused_and_said_so(settings, endpoint):
    endpoint.audience = "billing"
    try:
        with pytest.raises(
            DeploymentError, match="refuses the token that .* gives to .*: compare its issuer, audience"
        ) as said:
            asyncio.run(ensure_topics(settings.kafka))
    finally:
        endpoint.audience = AUDIENCE
    assert SECRET not in str(said.value)
