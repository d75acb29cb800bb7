"""A worker's rules go by what is on the topics: what was raised before it started, and what others raise meanwhile."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from keepers import alert, publish_to
from waiting import eventually

from engines.batcher import Lane
from schemas.messages import Shelving
from schemas.topics import ECG_ALERTS, ECG_ALERTS_SHELVED
from stream.alerting.shelvings import Shelvings
from stream.broker.clients import ensure_topics, new_producer
from stream.broker.event_producer import EventProducer
from stream.screening.alert_suppression import AlertSuppressor
from stream.screening.alert_topics import AlertTopics
from stream.settings import Settings

pytestmark = [pytest.mark.servers, pytest.mark.any_broker]


@pytest.fixture
def settings(broker):
    with broker.place() as place:
        made = Settings.of(partitions=2, **place)
        asyncio.run(ensure_topics(made.kafka))
        yield made


class Worker:
    """What a worker knows of alerts."""

    def __init__(self, settings):
        self.shelvings = Shelvings()
        self.judges = {lane: AlertSuppressor.from_settings(settings.alerts, self.shelvings) for lane in Lane}
        self.topics = AlertTopics(settings.kafka, settings.alerts, self.judges, self.shelvings)

    def decides(self, name, *, lane=Lane.REALTIME, subject="p-1"):
        return self.judges[lane].decide(alert(name, subject=subject), datetime.now(UTC))


async def test_a_worker_that_takes_over_or_has_the_same_patient_on_another_partition_raises_nothing_twice(settings):
    async with new_producer(settings.kafka) as producer:
        events = EventProducer(producer, "urn:cardiacnets:worker")
        await events.publish(ECG_ALERTS, "1", alert("live"), b"p-1", lane="realtime")
        await events.publish(ECG_ALERTS, "2", alert("old", subject="p-2"), b"p-2", lane="backfill")
        await publish_to(producer, ECG_ALERTS, b"no alert", b"")
        one, other = Worker(settings), Worker(settings)
        async with one.topics, other.topics:
            assert [one.decides("next"), one.decides("live")] == ["refractory", "raised"]
            assert one.decides("second", subject="p-2") == "raised"
            assert one.decides("next", subject="p-2", lane=Lane.BACKFILL) == "refractory"
            await events.publish(ECG_ALERTS, "3", alert("by one", subject="p-3"), b"another key", lane="realtime")
            await eventually(lambda: other.judges[Lane.REALTIME].knows("by one"), poll_s=0.01)
            assert other.decides("by other", subject="p-3") == "refractory"


async def test_what_somebody_shelves_holds_in_every_worker(settings):
    now = datetime.now(UTC)
    shelving = Shelving(
        shelving_id="s-1",
        subject="p-1",
        code="heart_failure",
        until=now + timedelta(hours=1),
        reason="known",
        shelved_by="Dr. A",
        shelved_at=now,
    )
    worker = Worker(settings)
    async with worker.topics, new_producer(settings.kafka) as producer:
        await publish_to(producer, ECG_ALERTS_SHELVED, b"none", shelving)
        await eventually(lambda: worker.shelvings.at_present(now), poll_s=0.01)
        assert worker.decides("next") == "shelved"
