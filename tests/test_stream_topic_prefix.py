"""Staging and production share a broker: each has topics and groups under its prefix, and neither sees the other."""

import asyncio

import pytest
import waiting
from aiokafka.admin import AIOKafkaAdminClient
from dashboard_ward import publish as publish_messages
from dashboard_ward import simulate_case
from harness import collect, good_values, publish_values, ward
from redis.asyncio import Redis
from test_stream_cine_faults import Studio, as_messages, request_cines

from schemas.errors import InvalidSettings
from schemas.messages import CmrResult, decode_message
from schemas.topics import ALL_TOPICS, CMR_RESULTS, ECG_RECORDS, ECG_RISK
from stream.broker.clients import connection, ensure_topics, new_consumer
from stream.dashboard.feed import Feed
from stream.settings import Settings, load_settings

STAGING, PRODUCTION = "staging.", "production-"


def test_the_prefix_stands_before_topics_and_before_groups_that_are_not_set():
    settings = Settings.of(topic_prefix=STAGING)
    assert settings.kafka.topic(ECG_RECORDS) == "staging.ecg.records.v1"
    assert settings.kafka.name_of("staging.ecg.records.v1") == ECG_RECORDS
    assert (settings.kafka.screening_group, settings.cine_group) == (
        "staging.cardiacnets-screening",
        "staging.cardiacnets-cines",
    )
    named = settings.changed(consumer_group="a", cine_consumer_group="b")
    assert (named.kafka.screening_group, named.cine_group) == ("a", "b")


def test_without_a_prefix_topics_and_groups_are_called_as_ever():
    settings = Settings()
    assert settings.kafka.topic(ECG_RECORDS) == ECG_RECORDS
    assert (settings.kafka.screening_group, settings.cine_group) == ("cardiacnets-screening", "cardiacnets-cines")


@pytest.mark.parametrize("prefix", ["staging/", "a b", "ä", "x" * 129, "staging.\n"])
def test_a_prefix_that_no_topic_may_have_is_refused(prefix):
    with pytest.raises(InvalidSettings, match="CARDIACNETS_TOPIC_PREFIX"):
        load_settings({"CARDIACNETS_TOPIC_PREFIX": prefix})


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Give the settings of two sites on one broker, with a worker and a cmr-worker each, and records published."""
    folder = tmp_path_factory.mktemp("prefixes")
    with ward(folder, topic_prefix=STAGING, engine="onnxruntime", rebalance_timeout_s=2.0) as here:
        production = here.settings.changed(topic_prefix=PRODUCTION)
        asyncio.run(ensure_topics(production.kafka))
        for settings in (here.settings, production):
            here.settings = settings
            here.start()
            Studio(here).start()
        yield here.settings.changed(topic_prefix=STAGING), production


async def topics_of(settings):
    admin = AIOKafkaAdminClient(**connection(settings.kafka))
    await admin.start()
    try:
        return set(await admin.list_topics())
    finally:
        await admin.close()


@pytest.mark.servers
def test_two_prefixes_on_one_broker_do_not_see_each_others_records(sites):
    values = list(good_values(5).items())
    shares = dict(zip(sites, (dict(values[:2]), dict(values[2:])), strict=True))
    for settings, share in shares.items():
        asyncio.run(publish_values(settings, share))
    for settings, share in shares.items():
        answers = asyncio.run(collect(settings, until=lambda so_far, share=share: so_far.answered >= len(share)))
        assert set(answers.reports) == set(share)
        assert not answers.rejections
    there = asyncio.run(topics_of(sites[0]))
    assert {prefix + name for prefix in (STAGING, PRODUCTION) for name in ALL_TOPICS} == {
        name for name in there if not name.startswith("__")
    }


@pytest.mark.servers
def test_a_rejection_says_where_the_record_lies_on_the_broker(sites):
    _, production = sites
    asyncio.run(publish_values(production, {"broken": (b"bed 4", b"no ECG")}))
    answers = asyncio.run(collect(production, until=lambda so_far: so_far.rejections))
    (rejection,) = answers.rejections.values()
    assert rejection.source.startswith(f"{PRODUCTION}{ECG_RECORDS}/")


@pytest.mark.servers
def test_a_cine_is_drawn_by_the_cmr_worker_of_the_same_prefix(sites):
    for settings in sites:
        request_cines(settings, *as_messages(settings.kafka.topic_prefix))
    for settings in sites:
        (result,) = asyncio.run(results_of(settings, settings.kafka.topic_prefix))
        assert (result.record_id, result.status) == (settings.kafka.topic_prefix, "generated")


async def results_of(settings, wanted):
    """Return the results up to the one that is wanted, but for those of flagged ECGs."""
    async with (
        new_consumer(settings.kafka, [CMR_RESULTS], auto_offset_reset="earliest") as consumer,
        asyncio.timeout(waiting.PATIENCE_S),
    ):
        asked_for = []
        async for message in consumer:
            result = decode_message(CmrResult, message.value)
            if result.record_id in {STAGING, PRODUCTION}:
                asked_for.append(result)
            if result.record_id == wanted:
                return asked_for
    raise AssertionError("the result did not come")


@pytest.mark.servers
async def test_a_dashboard_shows_what_has_its_prefix(sites):
    staging, production = sites
    case = simulate_case(21, 1)
    await publish_messages(production, (ECG_RISK, case.key, case.report))
    async with asyncio.timeout(waiting.PATIENCE_S):
        for settings, shown in ((production, True), (staging, False)):
            async with Redis.from_url(settings.redis.url) as redis, Feed(settings, redis) as feed:
                while not feed.caught_up:
                    await asyncio.sleep(0.02)
                assert (feed.state.records.report(case.record.record_id) is not None) == shown
