"""What the tests of the keeper of alerts share: alerts of a time of their own, a keeper in this process, the topics."""

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from waiting import PATIENCE_S

from schemas.messages import Acknowledgement, Alert, ModelReference, Risk, decode_message, encode_message
from schemas.topics import ECG_ALERTS
from stream.alerting.keeper import Keeper
from stream.alerting.keeper_metrics import KeeperMetrics
from stream.alerting.moves import to_nobody
from stream.broker.clients import new_consumer
from stream.runtime.group import Group

MODEL = ModelReference(name="m", version="1", trained=True, weights="w")
QUICK = {
    "rebalance_timeout_s": 1.0,
    "session_timeout_s": 2.0,
    "heartbeat_interval_s": 0.2,
    "alert_escalates_s": 0.5,
    "drain_s": 2.0,
}
"""Settings of keepers that take over quickly, and of alerts that do not wait long."""


def alert(identifier, *, record_id=None, code="heart_failure", onset=None, priority="high", subject="p-1"):
    """Return an alert that is raised now."""
    return Alert(
        identifier=identifier,
        status="raised",
        priority=priority,
        derived_from=f"report-{identifier}",
        record_id=record_id or f"record-{identifier}",
        subject=subject,
        code=code,
        risks=(Risk(disease=code, probability=0.9, threshold=0.1, flagged=True),),
        model=MODEL,
        onset=onset or datetime.now(UTC),
    )


def acknowledgement(of, *, whole_record=False):
    """Return what somebody says of an alert now."""
    return Acknowledgement(
        identifier=of.identifier,
        record_id=of.record_id,
        whole_record=whole_record,
        acknowledged_by="Dr. A",
        authenticated=True,
        comment="",
        acknowledged_at=datetime.now(UTC),
    )


@asynccontextmanager
async def keeping(settings, on_moved=to_nobody, metrics=None):
    """Run a keeper in this process, and give it; it leaves its group at the end."""
    group = Group(settings.kafka, settings.keeper_group)
    async with Keeper(settings, metrics or KeeperMetrics(), group, on_moved=on_moved) as keeper:
        task = asyncio.create_task(keeper.keep())
        try:
            yield keeper
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def publish_to(producer, topic, *messages, key=b"p-1"):
    """Publish messages, or bytes that are none, and wait for the confirmation."""
    values = [one if isinstance(one, bytes) else encode_message(one) for one in messages]
    for delivery in [await producer.send(topic, value, key=key) for value in values]:
        await delivery


class AlertsTopic:
    """All states of all alerts on the topic, in the order in which they are read."""

    def __init__(self, consumer):
        self._consumer = consumer
        self.states = {}
        self.events = {}

    async def until(self, enough):
        """Read on until `enough(states)`: lists of the messages by identifier and status."""
        async with asyncio.timeout(PATIENCE_S):
            while not enough(self.states):
                for messages in (await self._consumer.getmany(timeout_ms=200)).values():
                    for message in messages:
                        self._take(message)

    def _take(self, message):
        with suppress(Exception):
            read = decode_message(Alert, message.value)
            self.states.setdefault((read.identifier, read.status), []).append(read)
            if message.headers:
                self.events.setdefault((read.identifier, read.status), dict(message.headers)["ce_id"].decode())


@asynccontextmanager
async def alerts_topic(settings):
    """Read the topic of alerts from its beginning."""
    async with new_consumer(settings.kafka, [ECG_ALERTS], auto_offset_reset="earliest") as consumer:
        yield AlertsTopic(consumer)
