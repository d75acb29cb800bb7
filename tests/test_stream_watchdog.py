"""The watchdog bites a worker that has work and finishes none, and only that one."""

import threading
import time

import pytest
from waiting import PATIENCE_S, wait_until

from engines.batcher import Lane
from schemas.topics import ECG_BACKFILL, ECG_RECORDS
from stream.runtime.group import Group
from stream.runtime.watchdog import EXIT_CODE, Watchdog
from stream.screening.service import ScreeningService
from stream.settings import Settings

CHECK_S = 0.01


class Kennel:
    """Runs a watchdog over two numbers, and records its bite."""

    def __init__(self, pending, patience_s=0.15):
        self.pending, self.finished, self.broken = pending, 0, False
        self.bitten = threading.Event()
        self.code = None
        self.dog = Watchdog(self._pending, lambda: self.finished, patience_s, check_s=CHECK_S, end=self._end)
        self.dog.start()

    def _pending(self):
        if self.broken:
            raise RuntimeError
        return self.pending

    def _end(self, code):
        self.code = code
        self.bitten.set()


def test_work_that_never_finishes_ends_the_process():
    kennel = Kennel(pending=3)
    assert kennel.bitten.wait(PATIENCE_S)
    assert kennel.code == EXIT_CODE


def test_an_idle_worker_lives():
    kennel = Kennel(pending=0)
    assert not kennel.bitten.wait(0.5)
    kennel.dog.stop()


def test_slow_progress_is_progress():
    """One more is finished at each of the watchdog's looks, for longer than its patience."""
    patience_s = 0.15
    looks = []

    def finished():
        looks.append(time.monotonic())
        return len(looks)

    bitten = threading.Event()
    dog = Watchdog(lambda: 3, finished, patience_s, check_s=CHECK_S, end=lambda _: bitten.set())
    dog.start()
    wait_until(lambda: len(looks) > 10 and looks[-1] - looks[0] > 3 * patience_s)
    assert not bitten.is_set()
    dog.stop()


def test_a_shutdown_past_its_deadline_is_ended():
    kennel = Kennel(pending=0)
    kennel.dog.allow(0.05)
    assert kennel.bitten.wait(PATIENCE_S)


def test_a_round_that_cannot_be_measured_ends_no_watch():
    kennel = Kennel(pending=0, patience_s=60)
    kennel.broken = True
    time.sleep(10 * CHECK_S)
    kennel.dog.allow(0.05)
    assert kennel.bitten.wait(PATIENCE_S)


def test_what_cannot_be_measured_for_long_counts_as_stalled():
    kennel = Kennel(pending=0)
    time.sleep(10 * CHECK_S)
    kennel.broken = True
    assert kennel.bitten.wait(PATIENCE_S)


@pytest.fixture
def service():
    settings = Settings()
    return ScreeningService(settings, None, group=Group(settings.kafka, settings.kafka.screening_group))


def test_a_lane_that_comes_while_the_watchdog_counts_disturbs_nobody(service):
    class Late:
        """A lane in whose count another one begins."""

        @property
        def held(self):
            service._lanes[Lane.BACKFILL] = self
            return 3

        finished = held

    for count in (service._pending, service._finished):
        service._lanes = {Lane.REALTIME: Late()}
        assert count() == 3


def test_a_topic_that_was_handed_on_has_nothing_left_here(service):
    def told(topic):
        service._measure()
        return service.metrics.registry.get_sample_value("cardiacnets_lag_records", {"topic": topic})

    service._group.reading.left = {ECG_RECORDS: 7}
    assert (told(ECG_RECORDS), told(ECG_BACKFILL)) == (7, 0)
    service._group.reading.left = {}
    assert told(ECG_RECORDS) == 0
