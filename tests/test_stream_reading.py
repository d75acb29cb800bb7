"""What a process says of its group and its partitions follows from what its consumer shows."""

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, InvalidSessionTimeoutError, KafkaError
from structlog.testing import capture_logs

from stream.broker.kept_offsets import Kept
from stream.runtime.group import AWAY_S, Group
from stream.runtime.reading import HANGS_S, Partition, Reading
from stream.settings import Settings

TOPIC = TopicPartition("topic", 3)


class Clock:
    """A clock that stands still until it is told to go."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def group(clock):
    settings = Settings.of(sasl_username="worker", sasl_password="x", security_protocol="SASL_PLAINTEXT")
    group = Group(settings.kafka, "our-group", clock=clock)
    group.is_joined = lambda: True
    return group


@pytest.mark.parametrize(
    ("partition", "left", "readable"),
    [
        (Partition(done=5, taken=5, position=5, stable=5, end=5), 0, 0),
        (Partition(done=5, taken=9, position=9, stable=20, end=20), 15, 15),
        (Partition(done=9, taken=9, position=12, stable=12, end=12), 0, 0),  # marks are no work
        (Partition(done=8, taken=8, position=9, stable=9, end=12), 3, 0),  # an open transaction
        (Partition(done=5, taken=8, position=9, stable=9, end=12), 6, 3),
    ],
)
def test_what_is_left_is_what_is_at_work_and_what_is_not_taken(partition, left, readable):
    assert (partition.left, partition.readable) == (left, readable)


def test_a_transaction_that_stays_open_is_said_once_with_its_age(clock):
    reading = Reading(clock)
    held = {TOPIC: Partition(done=8, taken=8, position=9, stable=9, end=12)}
    reading.seen(held, ["topic"])
    clock.now += HANGS_S
    with capture_logs() as logs:
        for _ in range(3):
            reading.seen(held, ["topic"])
    assert reading.held_back_s == {"topic": HANGS_S}
    assert [line["event"] for line in logs] == ["transaction_hangs"]
    reading.seen({TOPIC: Partition(done=8, taken=8, position=9, stable=11, end=12)}, ["topic"])
    assert reading.held_back_s == {"topic": 0.0}


def test_an_empty_new_topic_is_no_loss_and_a_partition_is_said_once(clock):
    reading = Reading(clock)
    reading.begins(TOPIC, Kept(0, 0))
    assert not reading.without_offset
    reading.begins(TOPIC, Kept(3, 7))
    reading.begins(TOPIC, Kept(3, 7))
    assert reading.without_offset == {"topic": 1}


def test_whoever_is_not_seen_in_the_group_is_outside_it_for_an_age(group, clock):
    group.seen(is_member=True, missing=())
    assert group.unready is group.outside is None
    clock.now += AWAY_S + 7
    group.seen(is_member=False, missing=())
    group.heard(KafkaError("GroupMaxSizeReached"))
    assert group.unready == "joining the consumer group our-group for 12 s: KafkaError: GroupMaxSizeReached"
    assert (group.refusal, group.away_s) == (None, 12)
    group.seen(is_member=True, missing=())
    assert group.unready is group.outside is None


def test_a_topic_that_is_missing_is_named(group):
    group.seen(is_member=True, missing=("ecg.records.v1",))
    assert group.unready == "the broker does not have the topic ecg.records.v1, or does not let us see it"
    assert group.outside is None  # a restart would not help


@pytest.mark.parametrize(
    ("error", "is_final", "sentence"),
    [
        (
            GroupAuthorizationFailedError("our-group"),
            False,
            "Kafka refuses the consumer group our-group to worker: give it the right Read on the group",
        ),
        (
            InvalidSessionTimeoutError(),
            False,
            (
                "Kafka does not take CARDIACNETS_SESSION_TIMEOUT_S=6: its settings group.min.session.timeout.ms and "
                "group.max.session.timeout.ms say what it takes"
            ),
        ),
        (KafkaError("it died"), True, "the consumer of the group our-group has ended: KafkaError: it died"),
    ],
)
def test_what_waiting_does_not_help_ends_the_process_once_with_a_sentence(group, error, is_final, sentence):
    ends = []
    group.when_refused(lambda: ends.append(1))
    group.heard(error, is_final=is_final)
    group.heard(error, is_final=is_final)
    assert group.refusal == sentence
    assert ends == [1]
