"""What a process needs of Kafka is checked at its start, and `cardiacnets topics` prints, makes and checks it."""

import asyncio
import json
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from os import environ
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import IncompatibleBrokerVersion
from apache_kafka import needs_apache_kafka, tool
from dashboard_ward import publish, simulate_case
from guarded_kafka import PASSWORD
from kafka_acls import Rule, give, rules_of, take
from keepers import keeping
from redis.asyncio import Redis
from structlog.testing import capture_logs
from waiting import PATIENCE_S, eventually
from wfdb_records import STEPS, write_record

from schemas.codec import encode_ecg
from schemas.errors import DeploymentError
from schemas.messages import Acknowledgement
from schemas.topics import (
    ALL_TOPICS,
    CMR_REQUESTS,
    CMR_RESULTS,
    ECG_ALERTS_ACK,
    ECG_RECORDS,
    ECG_REJECTED,
    ECG_RISK,
    LARGEST,
)
from stream.broker.broker_facts import TopicFacts
from stream.broker.clients import connection, ensure_topics, new_consumer
from stream.broker.needs import DESCRIBE_CONFIGS, NEEDS
from stream.broker.start_check import find, ready_topics
from stream.broker.topic_findings import refusal, wrong_settings
from stream.commands import topics_output
from stream.dashboard.feed import Feed
from stream.demo.embedded_servers import embedded_redis, free_port
from stream.demo.stage import await_worker, start_worker
from stream.settings import KafkaSettings, Settings, as_environment

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

PREFIX = "ward-7."
ROOT = Path(__file__).parent.parent


def settings_of(guarded, process, **changes):
    """Return the settings of a process that comes in by its own account."""
    login = {"security_protocol": "SASL_PLAINTEXT", "sasl_username": process, "sasl_password": PASSWORD}
    place = {"broker": guarded.addresses["LOGIN"], "topic_prefix": PREFIX, "partitions": 1}
    return Settings.of(**place, **login, **changes)


def plain_settings(guarded, **changes):
    """Return the settings of somebody who may do everything."""
    return Settings.of(broker=guarded.addresses["CLIENTS"], partitions=1, **{"topic_prefix": PREFIX, **changes})


@asynccontextmanager
async def administrator(settings):
    """Connect an administrator."""
    admin = AIOKafkaAdminClient(**connection(settings.kafka))
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


def run(settings, *words, cwd=None):
    """Run a command of ours, and return how it ended."""
    return subprocess.run(
        [sys.executable, "-m", "stream.cli", *words],
        check=False,
        cwd=cwd or ROOT,
        env={**environ, **as_environment(settings), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


@pytest.fixture(scope="module")
def commands():
    """The commands of Kafka's own tool that `cardiacnets topics --acls` prints."""
    settings = Settings.of(topic_prefix=PREFIX)
    accounts = [topics_output.account_of(needs, settings, None) for needs in NEEDS.values()]
    return topics_output.acl_commands(accounts, settings.kafka)


@pytest.fixture(scope="module")
def given(guarded, commands):
    """Kafka with the topics, and with the rights that the commands give and no others."""
    settings = plain_settings(guarded)
    rules = [rule for command in commands for rule in rules_of(command)]

    async def set_up():
        await ensure_topics(settings.kafka)
        async with administrator(settings) as admin:
            await give(admin, rules)
        for process in NEEDS:
            await until_said("", settings_of(guarded, process), process)

    asyncio.run(set_up())
    return rules


async def said_of(settings, process):
    """Check what a process needs; return what is logged, or the sentence in which the check ends."""
    with capture_logs() as logs:
        try:
            await ready_topics(settings.kafka, NEEDS[process], NEEDS[process].group(settings))
        except DeploymentError as error:
            return str(error)
    return "; ".join(line["reason"] for line in logs)


async def until_said(words, settings, process):
    """Return what is said of a process once it contains the words, or nothing: Kafka takes a moment to know a rule."""
    end = time.monotonic() + PATIENCE_S
    while words not in (said := await said_of(settings, process)) or (said and not words):
        assert time.monotonic() < end, said
        await asyncio.sleep(0.05)
    print(said)
    return said


RIGHTS = [
    (needs.process, number, f"{right.operation} on {right.name}")
    for needs in NEEDS.values()
    for number, right in enumerate(needs.rights(Settings().kafka, needs.group(Settings())))
]


@needs_apache_kafka
@pytest.mark.parametrize("process", NEEDS)
async def test_the_printed_rights_are_enough(process, guarded, given):
    assert await said_of(settings_of(guarded, process), process) == ""


@needs_apache_kafka
@pytest.mark.parametrize(("process", "number", "what"), RIGHTS, ids=[f"{p}: {what}" for p, _, what in RIGHTS])
async def test_each_printed_right_that_is_taken_away_is_named(process, number, what, guarded, given):
    rule = [rule for rule in given if rule.principal == f"User:{process}"]
    needs, settings = NEEDS[process], settings_of(guarded, process)
    right = needs.rights(settings.kafka, needs.group(settings))[number]
    (rule,) = [one for one in rule if (one.kind, one.name, one.operation) == (right.kind, right.name, right.operation)]
    async with administrator(plain_settings(guarded)) as admin:
        await take(admin, [rule])
        try:
            if right.operation == DESCRIBE_CONFIGS:
                reason = f"the settings of {right.name}: User:{process} has no right DescribeConfigs on them"
                assert await until_said(reason, settings, process) == reason
            else:
                lack = f"refuses User:{process} {right.operation} on the {right.kind} {right.name}: "
                advice = f"`cardiacnets topics --for {process} --acls` prints what gives it"
                assert (await until_said(lack + advice, settings, process)).startswith("Kafka at ")
        finally:
            await give(admin, [rule])
            await until_said("", settings, process)


@needs_apache_kafka
async def test_kafkas_own_tool_takes_the_printed_commands(tmp_path, guarded, commands):
    (command,) = [line for line in commands if "User:device" in line]
    words = shlex.split(command.replace("User:device", "User:nobody"))[3:]
    tool(guarded.folder, guarded.addresses["CLIENTS"], "AclCommand", *words)
    settings = settings_of(guarded, "nobody")
    await ensure_topics(plain_settings(guarded).kafka)
    await until_said("", settings, "device")
    assert "Read on the topics ward-7.ecg.risk.v1, ward-7.ecg.rejected.v1" in await said_of(settings, "collect")


@needs_apache_kafka
def test_a_process_without_any_right_ends_with_all_of_them_in_one_sentence(guarded, given):
    ended = run(settings_of(guarded, "stranger", http_port=0), "worker")
    print(ended.stderr)
    (said,) = [line for line in ended.stderr.splitlines() if line.startswith("cardiacnets: ")]
    assert (ended.returncode, "Traceback" in ended.stderr) == (1, False)
    command = "cardiacnets topics --for worker --account User:stranger --acls"
    assert said == (
        f"cardiacnets: Kafka at {guarded.addresses['LOGIN']} refuses User:stranger Read on the topics "
        "ward-7.ecg.records.v1, ward-7.ecg.backfill.v1, ward-7.ecg.alerts.v1, ward-7.ecg.alerts.shelved.v1, "
        "and Write on the topics ward-7.ecg.risk.v1, "
        "ward-7.ecg.alerts.v1, ward-7.ecg.rejected.v1, ward-7.cmr.requests.v1, and Read on the group "
        f"ward-7.cardiacnets-screening: `{command}` prints what gives it (without a right on a "
        "topic Kafka does not say whether it is there)"
    )


@needs_apache_kafka
async def test_a_topic_that_is_not_there_and_may_not_be_made_is_named(guarded):
    settings = settings_of(guarded, "nobody").changed(topic_prefix="absent.")
    name = settings.kafka.topic(ECG_RECORDS)
    async with administrator(plain_settings(guarded)) as admin:
        await give(admin, [Rule("User:nobody", "topic", name, "Write")])
    said = await until_said("Create on", settings, "device")
    assert said == (
        f"Kafka at {guarded.addresses['LOGIN']} refuses User:nobody Create on the topic {name}: "
        f"there is no topic {name}, and an account that may makes it by `cardiacnets topics --create`"
    )


# --- the whole stage


@needs_apache_kafka
def test_the_whole_stage_runs_by_the_printed_rights_and_no_others(tmp_path, guarded, given):
    published = [write_record(tmp_path, f"ecg-{number}", STEPS + number) for number in range(3)]
    with embedded_redis(tmp_path) as (redis, _):

        def of(process, **changes):
            return settings_of(guarded, process, redis=redis, http_port=free_port(), **changes)

        worker, drawing = of("worker", engine="onnxruntime"), of("cmr-worker")
        with start_worker(worker, tmp_path / "worker.log") as screening:
            await_worker(screening, worker)
            with start_worker(drawing, tmp_path / "cmr-worker.log", "cmr-worker") as drawer:
                await_worker(drawer, drawing)
                for process, lane in (("device", "realtime"), ("archive", "backfill")):
                    sent = run(of(process), "publish", *map(str, published), "--lane", lane, "--json", "--ids", "path")
                    assert json.loads(sent.stdout)["published"] == len(published), sent.stderr
                asyncio.run(looked_at(of("dashboard"), len(published)))
                asyncio.run(kept(of("alert-keeper", alert_escalates_s=0.1)))
                asyncio.run(subscribed(of("subscriber"), 2 * len(published)))
                assert screening.running
                assert drawer.running
        collected = run(of("collect"), "collect", "--lane", "realtime", "--out", str(tmp_path / "table"), "--json")
    answers = json.loads(collected.stdout)
    assert answers["screened"] + sum(answers["refused"].values()) == len(published)


async def kept(settings):
    """Keep alerts until one has been moved on."""
    async with keeping(settings) as keeper:
        await eventually(lambda: keeper.unready is None, poll_s=0.05)
        await eventually(lambda: keeper.rounds > 3, poll_s=0.05)


async def looked_at(settings, records):
    """See the records on a dashboard, ask for a cine, and acknowledge."""
    case = simulate_case(5, 1)
    async with Redis.from_url(settings.redis.url) as redis, Feed(settings, redis) as feed:
        await eventually(lambda: feed.state.overview(0.0).records >= records, poll_s=0.05)
        assert feed.header().kafka
        await feed.publish(CMR_REQUESTS, case.request, case.request.request_id, case.key)
        who, at = {"acknowledged_by": "Dr. A", "comment": ""}, datetime.now(UTC)
        note = Acknowledgement(identifier="alert", record_id=case.record.record_id, acknowledged_at=at, **who)
        await feed.publish(ECG_ALERTS_ACK, note, "note", case.key)


async def subscribed(settings, answers):
    """Read the answers and a cine's result in the group of another's dashboard, and say how far."""
    kafka = settings.kafka
    group = NEEDS["subscriber"].group(settings)
    rules = {"group_id": group, "auto_offset_reset": "earliest", "enable_auto_commit": False}
    topics, seen = [ECG_RISK, ECG_REJECTED, CMR_RESULTS], Counter()
    async with new_consumer(kafka, topics, **rules) as consumer, asyncio.timeout(PATIENCE_S):
        while seen[ECG_RISK] + seen[ECG_REJECTED] < answers or not seen[CMR_RESULTS]:
            seen[kafka.name_of((await consumer.getone()).topic)] += 1
        await consumer.commit()


# --- settings of topics


@needs_apache_kafka
async def test_settings_that_cannot_work_are_named_all_at_once(guarded):
    settings = plain_settings(guarded, topic_prefix="ill-made.")
    ill = {"cleanup.policy": "compact", "max.message.bytes": "20000", "min.insync.replicas": "2"}
    topics = {ECG_RECORDS: {"cleanup.policy": "compact,delete"}, ECG_RISK: ill}
    made = [NewTopic(settings.kafka.topic(name), 1, 1, topic_configs=changes) for name, changes in topics.items()]
    async with administrator(settings) as admin:
        await admin.create_topics(made)
    said = await until_said("cleanup.policy", settings, "worker")
    takes_away = "Kafka takes away all messages of a patient but the newest: set delete"
    assert said == (
        f"Kafka at {guarded.addresses['CLIENTS']} has topics that cannot work: "
        f"cleanup.policy of ill-made.ecg.records.v1 is compact,delete: {takes_away}; "
        f"cleanup.policy of ill-made.ecg.risk.v1 is compact: {takes_away}; "
        "max.message.bytes of ill-made.ecg.risk.v1 is 20000: what we write may have 32768 bytes, and a larger one is "
        "refused: set 32768; min.insync.replicas of ill-made.ecg.risk.v1 is 2: a partition has 1 replica, so it takes "
        "no message: set 1 at most, or give it more replicas"
    )
    checked = run(settings, "topics", "--check")
    assert (checked.returncode, checked.stderr) == (1, "")
    assert f"cleanup.policy of ill-made.ecg.risk.v1 is compact: {takes_away}" in checked.stdout.splitlines()


@needs_apache_kafka
async def test_a_topic_of_ecgs_with_kafkas_own_bound_on_messages_is_used_and_said(guarded):
    settings = plain_settings(guarded, topic_prefix="default.")
    async with administrator(settings) as admin:
        await admin.create_topics([NewTopic(settings.kafka.topic(ECG_RECORDS), 1, 1)])
    said = await until_said("max.message.bytes", settings, "device")
    assert said == (
        "max.message.bytes of default.ecg.records.v1 is 1048588: an ECG may have 4194304 bytes, and a larger one is "
        "refused: set 4259840"
    )


def test_replicas_that_are_out_of_sync_for_a_while_end_nothing():
    facts = TopicFacts(is_there=True, rights=None, replicas=3, in_sync=1)
    (wrong,) = wrong_settings(ECG_RISK, KafkaSettings(), {"min.insync.replicas": "2"}, facts, writes=True)
    assert not wrong.stops
    assert str(wrong) == (
        "min.insync.replicas of ecg.risk.v1 is 2: a partition has 1 replica in sync, so it takes no message: start the "
        "brokers that hold the others"
    )
    assert wrong_settings(ECG_RISK, KafkaSettings(), {"min.insync.replicas": "2"}, facts, writes=False) == []


async def test_a_broker_that_does_not_say_what_we_may_do_is_worked_with(servers):
    with servers.place() as place:
        place.pop("redis")
        said = await said_of(Settings.of(**place), "worker")
    assert "the rights on topics: the broker does not say them" in said


# --- what is refused later


@needs_apache_kafka
@pytest.mark.parametrize(("process", "topic"), [("worker", ECG_RISK), ("cmr-worker", CMR_RESULTS)])
def test_an_answer_that_its_topic_refuses_ends_the_process_in_a_sentence(process, topic, tmp_path, guarded):
    settings = plain_settings(guarded, topic_prefix=f"tight-{process}.", http_port=free_port(), engine="onnxruntime")
    name = settings.kafka.topic(topic)
    bound = ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": "300"})
    case = simulate_case(7, 1)
    asyncio.run(ensure_topics(settings.kafka))
    with embedded_redis(tmp_path) as (redis, _):
        settings = settings.changed(redis=redis)
        with start_worker(settings, tmp_path / "process.log", process) as child:
            await_worker(child, settings)

            async def refuse():
                async with administrator(settings) as admin:
                    await admin.alter_configs([bound])
                ecg = [(ECG_RECORDS, case.key, encode_ecg(case.record))] * 5
                await publish(settings, *(ecg if process == "worker" else [(CMR_REQUESTS, case.key, case.request)]))

            asyncio.run(refuse())
            assert child.process.wait(PATIENCE_S) == 1
    said, log = child.last_words(1), child.log.read_text()
    print(said)
    sentence = (
        rf"cardiacnets: the topic {name} refuses an answer of \d+ bytes: set its max.message.bytes to {LARGEST[topic]} "
    )
    assert re.match(sentence, said)
    assert "Traceback" not in log
    assert "never retrieved" not in log


class OldBroker:
    """An administrator's client of a broker that knows topics, and no question about rights and settings."""

    async def _send_request(self, question):
        fields = (("error_code", 0), ("topic", "t"), ("is_internal", False), ("partitions", []))
        return SimpleNamespace(to_object=lambda: {"topics": [{**dict(fields), "topic": t} for t in question._topics]})

    async def find_coordinator(self, group):
        raise IncompatibleBrokerVersion("no coordinator")

    async def describe_configs(self, _):
        raise NotImplementedError("Support for DescribeConfigsRequest v0 has not yet been added")


async def test_what_an_old_broker_does_not_say_is_listed_and_is_no_fault():
    settings = Settings()
    findings = await find(OldBroker(), settings.kafka, NEEDS["worker"], "g")
    assert findings.fits
    assert len(findings.unchecked) == 3
    assert refusal(settings.kafka, NEEDS["worker"], findings) is None


# --- the command


def test_topics_are_made_and_checked_on_a_broker_that_is_there(servers):
    with servers.place() as place:
        settings = Settings.of(**place)
        name = settings.kafka.topic(ECG_RECORDS)
        before = run(settings, "topics", "--check", "--for", "device")
        assert (before.returncode, before.stdout) == (1, f"there is no topic {name}: --create makes it\n")
        made = run(settings, "topics", "--create", "--check", "--for", "device")
        assert (made.returncode, made.stdout) == (0, f"created {name}\nall fits at {settings.kafka.broker}\n")
        again = run(settings, "topics", "--create", "--json", "--for", "device")
        assert json.loads(again.stdout) == {"created": [], "findings": None}


def test_what_strimzi_gets_says_the_same_topics_and_rights(commands):
    settings = Settings.of(topic_prefix=PREFIX, replication_factor=3)
    printed = run(settings, "topics", "--strimzi", "hospital")
    resources = list(yaml.safe_load_all(printed.stdout))
    topics = {r["spec"]["topicName"]: r["spec"] for r in resources if r["kind"] == "KafkaTopic"}
    assert set(topics) == {PREFIX + name for name in ALL_TOPICS}
    assert {spec["replicas"] for spec in topics.values()} == {3}
    assert topics[PREFIX + ECG_RECORDS]["config"]["max.message.bytes"] == "4259840"
    rules = {
        Rule(f"User:{user['metadata']['name']}", acl["resource"]["type"], acl["resource"]["name"], operation)
        for user in resources
        if user["kind"] == "KafkaUser"
        for acl in user["spec"]["authorization"]["acls"]
        for operation in acl["operations"]
    }
    assert rules == {rule for command in commands for rule in rules_of(command)}
    assert {resource["metadata"]["labels"]["strimzi.io/cluster"] for resource in resources} == {"hospital"}


def test_the_operations_page_has_the_rights_that_are_printed():
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    settings = Settings()
    for process, needs in NEEDS.items():
        group = needs.group(settings)
        cells = [", ".join(f"`{name}`" for name in names) for names in (needs.reads, needs.writes, needs.looks_at)]
        cells.append(f"`{group}`" if group else "none")
        assert re.sub(" +", " ", f"| {process} | {' | '.join(cells)} |") in page


def test_names_are_whole_where_there_is_no_terminal():
    printed = run(Settings.of(topic_prefix="a-rather-long-prefix-of-a-hospital."), "topics", "--for", "worker").stdout
    assert "a-rather-long-prefix-of-a-hospital.cardiacnets-screening" in printed
    assert "…" not in printed


@pytest.mark.parametrize("words", [["--acls", "--json"], ["--account", "User:x"], ["--acls", "--check"]])
def test_what_does_not_go_together_is_refused(words):
    assert run(Settings(), "topics", *words).returncode == 2
