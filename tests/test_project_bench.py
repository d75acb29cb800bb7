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

pytestmark = pytest.mark.servers


@pytest.mark.timeout(900)
def test_every_part_of_the_benchmark_runs_and_prints_its_figures():
    command = [sys.executable, "-m", "tests.bench", "--smoke"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=840, check=False)
    assert done.returncode == 0, done.stderr
    for figure, line in zip(FIGURES, done.stdout.splitlines(), strict=True):
        assert line.startswith(figure)
        assert re.search(r"\d", line.removeprefix(figure))
