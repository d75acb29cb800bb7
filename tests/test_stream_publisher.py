"""What goes out for a screened ECG: its report and its request always, an alert where it says something new."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest
from contract import validate_message

from engines.batcher import Lane
from inference.readout import Finding
from inference.screener import Refused, Screening
from schemas.codec import decode_ecg, encode_ecg
from schemas.ecg_record import LEADS, EcgRecord
from schemas.errors import EngineFailed, IdOfAnotherEcg, MalformedRecord, UnusableSignal
from schemas.messages import Alert, ModelReference, Quality, Rejection, Risk, decode_message
from schemas.topics import CMR_REQUESTS, ECG_ALERTS, ECG_REJECTED, ECG_RISK
from stream.broker.event_producer import EventProducer
from stream.screening.alert_suppression import AlertSuppressor
from stream.screening.answer_publisher import SOURCE, AnswerPublisher
from stream.screening.metrics import Metrics
from stream.settings import Settings

MODEL = ModelReference(name="m", version="1", trained=True, weights="w")
SWAPPED = b"a value" * 2**17


def event(key=SWAPPED, value=b"avro", headers=None):
    """Return an event from a device that has swapped key and value, unless told otherwise."""
    message = SimpleNamespace(topic="t", partition=0, offset=7, timestamp=0.0)
    return SimpleNamespace(key=key, value=value, headers=headers or {}, message=message)


def ecg(record_id):
    """Return an ECG of one patient."""
    return EcgRecord(
        record_id=record_id,
        patient_id="p",
        device_id="cart-1",
        site="ward 3",
        leads=LEADS,
        sample_rate_hz=500.0,
        microvolts_per_step=5.0,
        samples=bytes(24),
        recorded_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def screening(record_id, *risks):
    """Return a screened ECG of one patient, with the probabilities of the diseases against 0.5."""
    return Screening(
        record=ecg(record_id),
        quality=Quality(warnings=(), sample_rate_hz=500.0, duration_s=10.0, derived_leads=()),
        finding=Finding(
            risks=tuple(Risk(disease=disease, probability=p, threshold=0.5, flagged=p >= 0.5) for disease, p in risks),
            phenotypes=(),
            subtype={},
            embedding=np.full(256, 1 / 16),
            logits=np.zeros(5),
        ),
        model=MODEL,
    )


class Producer:
    """Takes messages, and remembers them."""

    def __init__(self):
        self.sent = []
        self.keys = set()

    async def send(self, topic, value, *, key, headers):
        validate_message(topic, value)
        assert dict(headers)["ce_type"] == topic.encode()
        self.keys.add(key)
        self.sent.append((topic, value))


class Waveforms:
    """Takes waveforms, and remembers whose."""

    def __init__(self):
        self.stored, self.stored_briefly = [], []

    def store(self, record, *, came_as=None, of_archive=False):
        self.stored.append(record.record_id)

    def store_briefly(self, record):
        self.stored_briefly.append(record.record_id)


@pytest.fixture
def ward():
    producer, waveforms, metrics = Producer(), Waveforms(), Metrics()

    def publisher(*, alerts=True, keeps_others=False, **settings):
        suppressor = AlertSuppressor.from_settings(Settings.of(**settings).alerts) if alerts else None
        events = EventProducer(producer, SOURCE)
        one = AnswerPublisher(
            Lane.REALTIME, events, waveforms, metrics, suppressor=suppressor, keeps_others=keeps_others
        )

        def publish(*outcomes, of=None):
            producer.sent.clear()
            for outcome in outcomes:
                asyncio.run(one.publish(of or event(), outcome))
            return Counter(topic for topic, _ in producer.sent)

        return publish

    def acknowledge(came):
        events = EventProducer(producer, SOURCE)
        AnswerPublisher(Lane.REALTIME, events, waveforms, metrics, suppressor=None).acknowledged(came)

    return SimpleNamespace(
        publisher=publisher, acknowledge=acknowledge, producer=producer, waveforms=waveforms, metrics=metrics
    )


def counted(ward, outcome):
    return ward.metrics.registry.get_sample_value("cardiacnets_alerts_total", {"outcome": outcome})


def durations(ward):
    sample = ward.metrics.registry.get_sample_value
    lane = {"lane": "realtime"}
    return (
        sample("cardiacnets_record_seconds_count", lane) or 0,
        sample("cardiacnets_record_seconds_sum", lane) or 0,
        sample("cardiacnets_unusable_timestamps_total", lane) or 0,
    )


@pytest.mark.parametrize(
    "since", [None, -1, -0.001, 0, 1.0, lambda now: now + 5, lambda now: now + 3e9, lambda now: now - 8 * 86_400]
)
def test_a_kafka_timestamp_that_is_no_time_of_arrival_is_counted_and_measures_nothing(ward, since):
    came = event()
    came.message.timestamp = since(time.time()) if callable(since) else since
    ward.acknowledge(came)
    assert durations(ward) == (0, 0, 1)


def test_a_usable_kafka_timestamp_gives_the_time_that_the_record_took(ward):
    for since in (time.time() - 2, time.time() + 0.5):
        came = event()
        came.message.timestamp = since
        ward.acknowledge(came)
    count, seconds, unusable = durations(ward)
    assert (count, unusable) == (2, 0)
    assert 2 <= seconds < 60


def test_each_flagged_disease_has_an_alert_and_the_ecg_one_request(ward):
    publish = ward.publisher()
    counts = publish(screening("r1", ("heart_failure", 0.9), ("pericarditis", 0.6), ("cardiomyopathy", 0.1)))
    assert counts == {ECG_RISK: 1, ECG_ALERTS: 2, CMR_REQUESTS: 1}
    alerts = [decode_message(Alert, value) for topic, value in ward.producer.sent if topic == ECG_ALERTS]
    assert [(alert.code, alert.priority) for alert in alerts] == [("heart_failure", "high"), ("pericarditis", "low")]
    assert ward.producer.keys == {b"p"}


@pytest.mark.parametrize("refusal", [UnusableSignal("flat", code="flat_lead", record_id="r1"), EngineFailed("no")])
def test_a_refused_ecg_that_could_be_read_is_told_under_its_patient(ward, refusal):
    ward.publisher()(Refused(ecg("r1"), refusal))
    ((topic, value),) = ward.producer.sent
    rejection = decode_message(Rejection, value)
    assert (topic, rejection.record_id, ward.producer.keys) == (ECG_REJECTED, "r1", {b"p"})
    assert (rejection.device_id, rejection.site) == ("cart-1", "ward 3")


@pytest.mark.parametrize("keeps_others", [True, False])
def test_ecgs_that_were_not_flagged_or_were_rejected_for_their_signal_are_kept_where_the_site_wants_that(
    ward, keeps_others
):
    publish = ward.publisher(keeps_others=keeps_others)
    publish(screening("flagged", ("heart_failure", 0.9)), screening("quiet", ("heart_failure", 0.1)))
    another = IdOfAnotherEcg("used before", record_id="flagged")
    for name, error in (("flat", UnusableSignal("flat", code="flat_lead")), ("flagged", another)):
        publish(Refused(ecg(name), error))
    publish(Refused(None, UnusableSignal("never decoded")))
    assert ward.waveforms.stored == ["flagged"]
    assert ward.waveforms.stored_briefly == (["quiet", "flat"] if keeps_others else [])


def test_a_rejection_names_the_device_and_the_site_of_a_record_of_which_the_samples_alone_cannot_be_read(ward):
    value = encode_ecg(ecg("r1"), compress=False)
    broken = value[: value.index(bytes(24))] + b"\x01" * 24 + b"\x07"
    with pytest.raises(MalformedRecord) as refusal:
        decode_ecg(broken)
    ward.publisher()(Refused(None, refusal.value), of=event(value=broken))
    ((_, value),) = ward.producer.sent
    rejection = decode_message(Rejection, value)
    assert (rejection.record_id, rejection.device_id, rejection.site) == ("r1", "cart-1", None)


@pytest.mark.parametrize(
    ("key", "published"),
    [(b"bed 4", b"bed 4"), (SWAPPED, None), (b"", None), (b"\xff", None), (None, None)],
)
def test_what_could_not_be_read_keeps_its_key_where_that_is_one(ward, key, published):
    ward.publisher()(Refused(None, MalformedRecord("no ECG", record_id="r1")), of=event(key))
    ((_, value),) = ward.producer.sent
    assert (decode_message(Rejection, value).record_id, ward.producer.keys) == ("r1", {published})


def test_a_patients_second_ecg_has_its_report_its_request_and_its_waveform_but_no_alert(ward):
    publish = ward.publisher()
    publish(screening("r1", ("heart_failure", 0.9)))
    assert publish(screening("r2", ("heart_failure", 0.9))) == {ECG_RISK: 1, CMR_REQUESTS: 1}
    assert ward.waveforms.stored == ["r1", "r2"]
    assert (counted(ward, "raised"), counted(ward, "refractory")) == (1, 1)


def test_a_new_disease_and_a_worse_one_are_told_within_the_window(ward):
    publish = ward.publisher()
    publish(screening("r1", ("heart_failure", 0.6), ("pericarditis", 0.2)))
    counts = publish(screening("r2", ("heart_failure", 0.9), ("pericarditis", 0.6)))
    assert counts[ECG_ALERTS] == 2


def test_a_redelivered_ecg_has_all_its_messages_again_with_the_same_ids(ward):
    publish = ward.publisher()
    first = screening("r1", ("heart_failure", 0.9))
    once, _ = publish(first), publish(screening("r2", ("heart_failure", 0.9)))
    assert publish(first) == once


def test_over_the_budget_only_high_priority_alerts_go_out(ward):
    publish = ward.publisher(alerts_per_hour=1)
    counts = publish(screening("r1", ("heart_failure", 0.95), ("pericarditis", 0.95), ("cardiomyopathy", 0.6)))
    assert (counts[ECG_ALERTS], counts[ECG_RISK], counted(ward, "budget")) == (2, 1, 1)


def test_a_lane_without_alerts_has_report_request_and_waveform_all_the_same(ward):
    assert ward.publisher(alerts=False)(screening("r1", ("heart_failure", 0.9))) == {ECG_RISK: 1, CMR_REQUESTS: 1}
    assert ward.waveforms.stored == ["r1"]
    assert counted(ward, "backfill") == 1


def test_an_unflagged_ecg_has_its_report_alone(ward):
    assert ward.publisher()(screening("r1", ("heart_failure", 0.1))) == {ECG_RISK: 1}
    assert ward.waveforms.stored == []
