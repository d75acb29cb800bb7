"""The keeper of alerts over a real broker: what it publishes, once, whoever of several keepers is at work."""

import asyncio

import pytest
from keepers import QUICK, acknowledgement, alert, alerts_topic, keeping, publish_to
from waiting import PATIENCE_S, eventually

from schemas.messages import AcknowledgedBy
from schemas.topics import ECG_ALERTS, ECG_ALERTS_ACK
from stream.broker.clients import ensure_topics, new_producer
from stream.settings import Settings

pytestmark = pytest.mark.servers


@pytest.fixture
def settings(servers):
    with servers.place() as place:
        made = Settings.of(partitions=2, **QUICK, **place)
        asyncio.run(ensure_topics(made.kafka))
        yield made


async def ready(keeper):
    async with asyncio.timeout(PATIENCE_S):
        while keeper.unready:
            await asyncio.sleep(0.05)


async def test_an_alert_has_its_whole_life_on_the_topic_and_each_state_is_handed_on_once(settings):
    moved = []

    async def on_moved(one, status):
        moved.append((one.identifier, status))

    left, first, second = (
        alert("left"),
        alert("first", record_id="r"),
        alert("second", record_id="r", code="pericarditis"),
    )
    async with new_producer(settings.kafka) as producer, alerts_topic(settings) as topic:
        await publish_to(producer, ECG_ALERTS, alert("before"))
        async with keeping(settings, on_moved) as keeper:
            await ready(keeper)
            await publish_to(producer, ECG_ALERTS, left, first, second, b"no alert", b"")
            await topic.until(lambda states: ("left", "escalated") in states)
            said = acknowledgement(second, whole_record=True)
            await publish_to(producer, ECG_ALERTS_ACK, b"no acknowledgement", said)
            await topic.until(lambda states: {("first", "acknowledged"), ("second", "acknowledged")} <= states.keys())
            assert keeper.unready is None
            await eventually(lambda: len(moved) >= len(topic.states) - 1)
    by = AcknowledgedBy(name="Dr. A", authenticated=True, at=said.acknowledged_at)
    assert topic.states["first", "acknowledged"][0].acknowledgement == by
    assert topic.states["left", "escalated"][0].acknowledgement is None
    assert topic.events["left", "escalated"] == "left/escalated"
    assert {len(messages) for messages in topic.states.values()} == {1}
    assert set(moved) == topic.states.keys() - {("before", "raised")}
    assert len(moved) == len(set(moved))
