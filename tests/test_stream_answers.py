"""What goes out for one ECG: each message an event of its own, in an envelope that is made in one place."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from contract import validate_message
from dashboard_ward import MODEL, simulate_case

from engines.batcher import Lane
from inference.readout import Finding
from inference.screener import Screening
from schemas.codec import encode_ecg
from schemas.topics import ECG_ALERTS, ECG_RECORDS, ECG_RISK
from stream.broker.event_producer import EventProducer
from stream.cines.worker import publish_result
from stream.screening.answer_publisher import AnswerPublisher
from stream.screening.metrics import Metrics

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Producer:
    """Takes messages, confirms each at once, and remembers them with their headers."""

    def __init__(self):
        self.sent = []

    async def send(self, topic, value, *, key, headers):
        self.sent.append(SimpleNamespace(topic=topic, value=value, key=key, headers=dict(headers)))
        delivery = asyncio.get_running_loop().create_future()
        delivery.set_result(None)
        return delivery

    @property
    def ids(self):
        return [message.headers["ce_id"].decode() for message in self.sent]


@pytest.fixture(scope="module")
def case():
    return simulate_case(3, 1, at=NOW)


async def test_every_message_is_an_event_with_an_id_of_its_own_and_an_alerts_tells_its_state(case):
    finding = Finding(
        risks=tuple(risk for alert in case.alerts for risk in alert.risks),
        phenotypes=case.report.phenotypes,
        subtype={},
        embedding=np.eye(256)[0],
        logits=np.zeros(5),
    )
    screening = Screening(case.record, case.report.quality, finding, MODEL)
    producer = Producer()
    waveforms = SimpleNamespace(store=lambda record: None)
    suppressor = SimpleNamespace(decide=lambda alert, at: "raised")
    events = EventProducer(producer, "urn:cardiacnets:worker")
    publisher = AnswerPublisher(Lane.REALTIME, events, waveforms, Metrics(), suppressor=suppressor)
    event = SimpleNamespace(value=b"", headers={}, key=None)
    await publisher.publish(event, screening)
    assert len(set(producer.ids)) == len(producer.sent)
    told = [message.headers["ce_id"].decode() for message in producer.sent if message.topic == ECG_ALERTS]
    assert sorted(told) == sorted(f"{alert.identifier}/raised" for alert in case.alerts)
    assert told


async def test_a_request_that_failed_and_was_drawn_later_has_come_to_two_events(case):
    producer = Producer()
    for status in ("failed", "generated"):
        result = msgspec.structs.replace(case.result(), status=status)
        await publish_result(EventProducer(producer, "urn:cardiacnets:cmr-worker"), case.key, result)
    assert producer.ids == [f"{case.request.request_id}/{status}" for status in ("failed", "generated")]


async def test_the_envelope_says_what_was_sent_by_whom_and_when(case):
    producer = Producer()
    events = EventProducer(producer, "urn:cardiacnets:test")
    await events.publish(ECG_RISK, "e-1", case.report, b"p", time=NOW)
    await events.publish(ECG_RECORDS, "e-2", encode_ecg(case.record), None)
    report, ecg = producer.sent
    validate_message(ECG_RISK, report.value)
    assert report.headers == {
        "ce_specversion": b"1.0",
        "ce_id": b"e-1",
        "ce_source": b"urn:cardiacnets:test",
        "ce_type": ECG_RISK.encode(),
        "ce_time": b"2026-01-01T00:00:00Z",
        "content-type": b"application/json",
    }
    assert (report.key, ecg.key, ecg.value) == (b"p", None, encode_ecg(case.record))
    assert (ecg.headers["ce_id"], ecg.headers["content-type"]) == (b"e-2", b"application/vnd.apache.avro")
    sent_at = datetime.fromisoformat(ecg.headers["ce_time"].decode())
    assert abs(datetime.now(UTC) - sent_at) < timedelta(minutes=5)


async def test_a_message_that_breaks_the_contract_is_not_sent(case):
    producer = Producer()
    broken = msgspec.structs.replace(case.report, risks=(msgspec.structs.replace(case.report.risks[0], probability=2),))
    with pytest.raises(ValueError, match="breaks the contract"):
        await EventProducer(producer, "urn:cardiacnets:test").publish(ECG_RISK, "e", broken, None)
    assert producer.sent == []
