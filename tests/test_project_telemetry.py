"""No command reports anything to anybody: strace sees every socket, also those of native libraries."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from learned import FOLDS
from needed import each_engine, needs_ray
from tiny_cohort import write_tiny_cohort
from waiting import PATIENCE_S, wait_until
from watched import DNS, RESOLVER, left_at, needs_strace, private, run_watched, strace, strangers

from schemas.topics import CMR_RESULTS
from stream.broker.clients import new_consumer
from stream.settings import KafkaSettings

ROOT = Path(__file__).parent.parent
STOREYS = ("schemas", "engines", "inference", "training", "stream")
OURS = {"cardiacnets"}
"""What commands may leave at home: the remembered choice of an engine, below this name."""
PLOTS = {"matplotlib", "fontconfig"}
"""What drawing leaves at home: a list of the machine's fonts."""
CARDIACNETS = (sys.executable, "-m", "stream")
BROKER_FOLDER = ".calfkit"
"""Where the demonstration's broker unpacks its program."""
BROKER = re.compile(r"^broker: +(\S+)$", re.MULTILINE)
CHEAP = ("--epochs", "1", "--batch-size", "12")

pytestmark = pytest.mark.commands


@pytest.fixture(autouse=True)
def watching(monkeypatch):
    """Watch, with this checkout's packages."""
    needs_strace()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture(scope="module")
def ecgs(tmp_path_factory):
    """Files of three simulated ECGs."""
    needs_strace()
    folder = tmp_path_factory.mktemp("simulated")
    found = run_watched([*CARDIACNETS, "simulate", "--patients", "3", "--format", "wfdb", "--out", "ecgs"], folder)
    assert found == ([], set())
    return folder / "ecgs"


def test_the_watch_sees_what_native_code_asks_of_the_network(tmp_path):
    look_up = "import ctypes; ctypes.CDLL(None).getaddrinfo(b'telemetry.example', b'443', None, ctypes.byref(P()))"
    code = f"import ctypes\nP = ctypes.c_void_p\n{look_up}"
    lines, _ = run_watched([sys.executable, "-c", code], tmp_path)
    assert lines
    knock = "import socket; s = socket.socket(); s.settimeout(0.1); s.connect_ex(('192.0.2.1', 443))"
    lines, _ = run_watched([sys.executable, "-c", knock], tmp_path)
    assert len(lines) == 1


def test_the_watch_passes_over_this_machine_itself(tmp_path):
    knock = "import socket; [socket.socket().connect_ex((host, 9)) for host in ('127.0.0.1', '127.8.8.8')]"
    assert run_watched([sys.executable, "-c", knock], tmp_path) == ([], set())


def test_onnx_runtime_would_report_if_nobody_forbade_it(tmp_path):
    """Else the tests below prove nothing; a release that no longer reports makes this one fail, and it may go then."""
    lines, left = run_watched([sys.executable, "-c", "import onnxruntime, time; time.sleep(2)"], tmp_path)
    assert lines or left


def test_whoever_imports_a_library_that_reports_forbids_it_first():
    """Commands do so at their start; a program that uses our packages has no such start."""
    for path in (path for storey in STOREYS for path in (ROOT / storey).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if re.search(r"^    (import|from) (onnxruntime|openvino)\b", text, re.MULTILINE):
            assert "forbid_telemetry()" in text, path


@pytest.mark.parametrize("engine", each_engine())
def test_screening_asks_nobody(engine, ecgs, tmp_path):
    if engine == "openvino-bf16" and "bf16" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("needs a processor with bfloat16: run the tests on one")
    lines, left = run_watched([*CARDIACNETS, "screen", ecgs, "--engine", engine, "--json"], tmp_path)
    assert (lines, left - OURS) == ([], set())


def test_checking_every_engine_drawing_a_film_and_screening_an_archive_ask_nobody(ecgs, tmp_path):
    (one, *_) = sorted(ecgs.rglob("*.hea"))
    commands = [("compile",), ("screen", one, "--cine", "heart.mp4"), ("backfill", ecgs, "--out", "tables")]
    for command in commands:
        lines, left = run_watched([*CARDIACNETS, *command], tmp_path)
        assert (lines, left - OURS) == ([], set()), command


OF_THE_CLOUD = ("8.8.8.8", "169.254.169.254")
"""Ray learns its own address by a socket to the one, to which it sends nothing, and asks the other for the cloud."""


@needs_ray
def test_a_ray_of_our_own_reports_nothing(ecgs, tmp_path):
    command = ("backfill", ecgs, "--out", "tables", "--engine", "onnxruntime", "--ray", "local")
    lines, left = run_watched([*CARDIACNETS, *command], tmp_path)
    here = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    others = [
        line
        for line in lines
        if not any(f'"{known}"' in line.replace("::ffff:", "") for known in (*here, *OF_THE_CLOUD))
    ]
    assert [line for line in others if f"htons({DNS})" not in line and not RESOLVER.search(line)] == []
    assert "usage-stats" not in (tmp_path / "calls.log").read_text(errors="replace")
    assert left == set()


@pytest.mark.servers
def test_a_whole_demonstration_asks_nobody(tmp_path):
    home, calls, said = tmp_path / "home", tmp_path / "calls.log", tmp_path / "said.log"
    home.mkdir()
    watched = [*strace(calls), *CARDIACNETS, "demo", "--records", "6", "--rate", "50", "--logs", "logs"]
    with said.open("wb") as output:
        demo = subprocess.Popen(
            watched, cwd=tmp_path, env=private(home), stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_until(lambda: BROKER.search(said.read_text()) or demo.poll() is not None)
        asyncio.run(first_cine(BROKER.search(said.read_text())[1]))
    finally:
        os.killpg(demo.pid, signal.SIGINT)
        demo.wait(PATIENCE_S)
    assert "dashboard: http" in said.read_text()
    assert (strangers(calls), left_at(home) - OURS - {BROKER_FOLDER}) == ([], set())


async def first_cine(broker):
    """Return when the demonstration on that broker has drawn a cine."""
    results = new_consumer(KafkaSettings(broker=broker), [CMR_RESULTS], auto_offset_reset="earliest")
    async with results, asyncio.timeout(PATIENCE_S):
        await results.getone()


@pytest.mark.learns
def test_learning_and_evaluating_ask_nobody(tmp_path):
    write_tiny_cohort(tmp_path / "cohort", folds=FOLDS)
    for command in (
        ("train", "pretrain-ecg", "--cohort", "cohort", "--out", "ecg", *CHEAP),
        ("bundle", "create", "--out", "bundle"),
        ("evaluate", "--patients", "40", "--json"),
    ):
        lines, left = run_watched([*CARDIACNETS, *command], tmp_path)
        assert (lines, left - OURS - PLOTS) == ([], set()), command
