"""The watchdog bites a worker that has work and finishes none, and only that one."""

import threading
import time

from stream.watchdog import EXIT_CODE, Watchdog

CHECK_S = 0.01


class Kennel:
    """Runs a watchdog over two numbers, and records its bite."""

    def __init__(self, pending, patience_s=0.15):
        self.pending, self.finished = pending, 0
        self.bitten = threading.Event()
        self.code = None
        self.dog = Watchdog(lambda: self.pending, lambda: self.finished, patience_s, check_s=CHECK_S, end=self._end)
        self.dog.start()

    def _end(self, code):
        self.code = code
        self.bitten.set()


def test_work_that_never_finishes_ends_the_process():
    kennel = Kennel(pending=3)
    assert kennel.bitten.wait(5)
    assert kennel.code == EXIT_CODE


def test_an_idle_worker_lives():
    kennel = Kennel(pending=0)
    assert not kennel.bitten.wait(0.5)
    kennel.dog.stop()


def test_slow_progress_is_progress():
    kennel = Kennel(pending=3, patience_s=0.5)
    for _ in range(10):
        time.sleep(0.1)
        kennel.finished += 1
    assert not kennel.bitten.is_set()
    kennel.dog.stop()


def test_a_shutdown_past_its_deadline_is_ended():
    kennel = Kennel(pending=0)
    kennel.dog.allow(0.05)
    assert kennel.bitten.wait(5)
