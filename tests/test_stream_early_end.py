"""A process that is told to end while it only starts, or while an engine computes, ends so and in no other way."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from needed import needs_engine
from waiting import PATIENCE_S, wait_until

from stream.settings import Settings, as_environment

ROOT = Path(__file__).parent.parent
BY_SIGTERM = 128 + signal.SIGTERM
IN_A_FINALISER = """
import os, signal
from stream.runtime.early_end import end_at_once_by_sigterm

class Last:
    def __del__(self):  # what is raised in here is lost
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(10): pass

end_at_once_by_sigterm()
Last()
print("served on")
"""
WHILE_COMPUTING = """
import os, signal
import numpy as np
import stream.cli
from openvino import Tensor
from engines.openvino_engine import OpenVinoEngine
from engines.options import EngineOptions
from inference.bundle import default_bundle, load_bundle

def command():
    engine = OpenVinoEngine(load_bundle(default_bundle()).graph, EngineOptions(threads=2))
    rows = np.zeros((64, *engine._row_shape), np.float32)
    engine.run(rows)
    print("answered")
    for request in engine._requests(64):
        request.start_async({0: Tensor(rows, shared_memory=True)})
    os.kill(os.getpid(), signal.SIGTERM)
    while True: pass

stream.cli.app = command
stream.cli.main()
"""


def started(*arguments, log, **environment):
    """Start a Python that writes into the log."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    with log.open("wb") as output:
        return subprocess.Popen([sys.executable, *arguments], env=variables, stdout=output, stderr=output)


def test_a_signal_that_comes_in_a_finaliser_is_not_lost(tmp_path):
    process = started("-c", IN_A_FINALISER, log=tmp_path / "log")
    assert process.wait(PATIENCE_S) == BY_SIGTERM
    assert (tmp_path / "log").read_bytes() == b""


@needs_engine("openvino")
def test_a_signal_that_comes_while_an_engine_computes_ends_the_process_and_what_was_printed_is_kept(tmp_path):
    process = started("-c", WHILE_COMPUTING, log=tmp_path / "log")
    assert process.wait(PATIENCE_S) == BY_SIGTERM
    assert (tmp_path / "log").read_text() == "answered\n"


@pytest.mark.servers
@pytest.mark.parametrize("command", ["worker", "cmr-worker"])
def test_a_worker_that_is_told_to_end_when_its_model_is_ready_ends_by_that(command, servers, tmp_path):
    """Its engine is warmed up just then, in the thread that handles signals."""
    log = tmp_path / "log"
    with servers.place() as place:
        settings = Settings.of(**place, http_port=0, partitions=1)
        process = started("-m", "stream", command, log=log, **as_environment(settings))
        try:
            wait_until(lambda: b"_ready" in log.read_bytes() or process.poll() is not None)
            process.terminate()
            assert process.wait(PATIENCE_S) in {0, BY_SIGTERM}
        finally:
            process.kill()
        assert b"Traceback" not in log.read_bytes()
