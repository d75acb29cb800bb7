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
from inference.screener import Refused, Screening
from schemas.codec import encode_ecg
from schemas.errors import MalformedRecord
from schemas.topics import CMR_REQUESTS, ECG_ALERTS, ECG_RECORDS, ECG_REJECTED, ECG_RISK
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


def screening_of(case):
    finding = Finding(
        risks=tuple(risk for alert in case.alerts for risk in alert.risks),
        phenotypes=case.report.phenotypes,
        subtype={},
        embedding=np.eye(256)[0],
        logits=np.zeros(5),
    )
    return Screening(case.record, case.report.quality, finding, MODEL)


def publisher_to(producer, lane=Lane.REALTIME):
    waveforms = SimpleNamespace(store=lambda record, **_: None)
    suppressor = SimpleNamespace(decide=lambda alert, at: "raised")
    events = EventProducer(producer, "urn:cardiacnets:worker")
    return AnswerPublisher(lane, events, waveforms, Metrics(), suppressor=suppressor)


async def test_every_message_is_an_event_with_an_id_of_its_own_and_an_alerts_tells_its_state(case):
    producer = Producer()
    await publisher_to(producer).publish(SimpleNamespace(value=b"", headers={}, key=None), screening_of(case))
    assert len(set(producer.ids)) == len(producer.sent)
    told = [message.headers["ce_id"].decode() for message in producer.sent if message.topic == ECG_ALERTS]
    assert sorted(told) == sorted(f"{alert.identifier}/raised" for alert in case.alerts)
    assert told


@pytest.mark.parametrize("lane", list(Lane))
async def test_whatever_a_worker_sends_says_from_which_lane_its_ecg_came(case, lane):
    producer = Producer()
    place = SimpleNamespace(topic="t", partition=0, offset=1)
    event = SimpleNamespace(value=b"", headers={}, key=None, message=place)
    publisher = publisher_to(producer, lane)
    await publisher.publish(event, screening_of(case))
    await publisher.publish(event, Refused(case.record, MalformedRecord("no lead V6")))
    assert {message.topic for message in producer.sent} == {ECG_RISK, ECG_ALERTS, ECG_REJECTED, CMR_REQUESTS}
    assert {message.headers["ce_lane"] for message in producer.sent} == {lane.value.encode()}


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
