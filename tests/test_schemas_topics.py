"""One key a patient, one topic a kind of message."""

from collections import Counter

import pytest

from schemas.ecg_record import EcgRecord
from schemas.messages import MESSAGES
from schemas.topics import ALL_TOPICS, ECG_BACKFILL, ECG_RECORDS, TOPICS, record_key


def record(**ids):
    return EcgRecord(record_id="r", leads=("I",), sample_rate_hz=500.0, microvolts_per_step=5.0, samples=b"", **ids)


@pytest.mark.parametrize(
    ("ids", "key"),
    [
        ({"patient_id": "Ümit", "device_id": "d"}, "Ümit".encode()),
        ({"device_id": "d"}, b"d"),
        ({}, b"r"),
    ],
)
def test_the_key_is_the_patient_else_the_device_else_the_record(ids, key):
    assert record_key(record(**ids)) == key


def test_both_lanes_carry_ecgs_and_every_message_has_one_topic():
    carried = Counter(topic.content for topic in TOPICS)
    assert carried == {EcgRecord: 2} | dict.fromkeys(MESSAGES, 1)
    assert {topic.name for topic in TOPICS if topic.content is EcgRecord} == {ECG_RECORDS, ECG_BACKFILL}


def test_every_topic_is_named_once_and_carries_its_version():
    assert len(set(ALL_TOPICS)) == len(ALL_TOPICS) == len(TOPICS)
    assert all(name.endswith(".v1") for name in ALL_TOPICS)
