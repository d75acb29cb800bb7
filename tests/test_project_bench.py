"""`make bench` runs: every part of it, on a few records. What it measures then means nothing, and is not looked at."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FIGURES = (
    "engine alone ",
    "whole way ",
    "engine alone ",
    "newcomer's loop ",
    "whole way / engine ",
    "whole way / newcomer ",
    "latency at ",
    "memory, backlog     12 ",
    "memory, backlog     24 ",
    "memory, large / small ",
    "screening alone ",
    "beside drawn cines ",
    "processor for cines ",
    "beside / alone ",
    "reading a record ",
    "wfdb / reading ",
    "encoding a record ",
    "publishing a file ",
    "decode a record ",
    "gate a record ",
    "measure a record ",
    "preprocess a record ",
    "read out a record ",
    "compose a record ",
    "beside the network ",
    "ceiling of one worker ",
    "its processor time ",
)
TABLES = (
    "engine's threads ",
    "preparer ",
    "main thread ",
    "Faust's consumer thread ",
    "device thread, outside the engine ",
    "broker ",
    "Redis ",
    "outside the engine's threads ",
    "the bench's own thread",
    "outside / within the engine ",
    "whole way / bare engine ",
    "the same in processor time ",
    "whole way / newcomer ",
    "capacity ",
    " 10% ",
    " 25% ",
    " 50% ",
    " 80% ",
    " 95% ",
    "      1 ",
    "      4 ",
)
"""Rows of the tables of the last parts, in whatever order; a machine may show more of them."""
PEERS = ("cardiacnets ", "mosec ", "LitServe ", "Ray Serve ", "BentoML ")

pytestmark = pytest.mark.servers


@pytest.mark.timeout(900)
def test_every_part_of_the_benchmark_runs_and_prints_its_figures():
    lines = shown_by("--smoke")
    for figure, line in zip(FIGURES, lines, strict=False):
        assert line.startswith(figure)
        assert re.search(r"\d", line.removeprefix(figure))
    assert_has_rows(lines[len(FIGURES) :], TABLES)


@pytest.mark.timeout(900)
def test_every_peer_answers_as_the_network_does_and_has_its_figures():
    if len(list(ROOT.glob(".venv-peers/*/installed"))) < len(PEERS) - 1:
        pytest.skip("needs the four peers of the benchmark: make bench ARGS=--peers")
    assert_has_rows(shown_by("--smoke", "--peers"), PEERS)


def shown_by(*options):
    """Return the lines that the benchmark prints."""
    command = [sys.executable, "-m", "tests.bench", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=840, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def assert_has_rows(lines, names):
    """Assert that each name begins one line, which has a figure."""
    for name in names:
        (line,) = (line for line in lines if line.startswith(name))
        assert re.search(r"\d", line.removeprefix(name))
