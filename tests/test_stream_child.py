"""Children never outlive us, however we end."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from waiting import PATIENCE_S, wait_until

from stream.demo.child_process import Child

PARENT = """
import sys, time
from stream.demo.child_process import Child
with Child(["sleep", "600"]) as child:
    print(child.process.pid, flush=True)
    time.sleep(600)
"""


def gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_child_ends_with_its_parent(number):
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        parent.send_signal(number)
        parent.wait(PATIENCE_S)
        wait_until(lambda: gone(child))
        assert gone(child)


def test_leaving_the_block_stops_the_child():
    with Child(["sleep", "600"]) as child:
        assert child.running
    assert not child.running


def test_a_child_that_ignores_sigterm_is_killed_after_the_deadline(tmp_path):
    deaf = ["sh", "-c", "trap '' TERM; echo ready; while true; do sleep 0.1; done"]
    log = tmp_path / "log"
    with Child(deaf, log=log, stop_s=0.3) as child:
        while "ready" not in child.last_words():
            time.sleep(0.01)
    assert child.process.returncode == -signal.SIGKILL


def test_the_last_words_are_the_end_of_the_log(tmp_path):
    with Child([sys.executable, "-c", "print('first'); print('last')"], log=tmp_path / "log") as child:
        child.process.wait(PATIENCE_S)
        assert child.last_words(1) == "last"


def test_the_environment_reaches_the_child(tmp_path):
    with Child(["env"], log=tmp_path / "log", environment={"CARDIACNETS_X": "7"}) as child:
        child.process.wait(PATIENCE_S)
        assert "CARDIACNETS_X=7" in child.last_words(500)
    assert "CARDIACNETS_X" not in os.environ
