"""When a message arrived, where a log holds only what writers say, and where clocks are wrong."""

from datetime import UTC, datetime, timedelta

import pytest

from stream.alerting.arrival import CLOCKS_AGREE, Arrivals, as_of_arrival

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("hours", [-13, -0.1, 0.1, 13, 80_000])
def test_a_time_far_from_its_arrival_is_the_arrivals(hours):
    assert as_of_arrival(NOW + timedelta(hours=hours), NOW) == NOW


def test_a_time_near_its_arrival_and_one_of_which_the_arrival_is_not_known_are_believed():
    for said in (NOW - CLOCKS_AGREE, NOW, NOW + CLOCKS_AGREE):
        assert as_of_arrival(said, NOW) == said
    assert as_of_arrival(NOW - timedelta(days=9), None) == NOW - timedelta(days=9)
    assert as_of_arrival(NOW - timedelta(days=9), NOW, only_future=True) == NOW - timedelta(days=9)


def test_what_is_read_as_it_comes_arrives_now():
    assert Arrivals().of("p", 3.0, 1000.0, is_live=True) == 1000.0


def test_what_is_read_later_arrived_when_its_partition_had_come_so_far():
    arrivals = Arrivals()
    read = [arrivals.of("p", timestamp, 100_000.0, is_live=False) for timestamp in (500.0, 800.0, 100.0, -1.0, 900.0)]
    assert read == [500.0, 800.0, 800.0, 800.0, 900.0]  # the third was written by a clock that is behind
    assert arrivals.of("another", 600.0, 100_000.0, is_live=False) == 600.0


def test_a_timestamp_of_the_future_tells_nothing_of_what_comes_after_it():
    arrivals = Arrivals()
    read = [arrivals.of("p", timestamp, 1000.0, is_live=False) for timestamp in (500.0, 1e12, 600.0)]
    assert read == [500.0, 500.0, 600.0]
    assert Arrivals().of("p", 1e12, 1000.0, is_live=False) == 1000.0
