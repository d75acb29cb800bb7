"""What was skipped is told last, so that nobody takes a run for more than it proved."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from skips import TITLE, lines_of
from waiting import PATIENCE_S

pytest_plugins = ["pytester"]

SKIPPING = """
import pytest

@pytest.mark.skipif(True, reason="needs a browser: apt-get install chromium")
@pytest.mark.parametrize("page", range(3))
def test_a_page(page): ...

def test_a_scan():
    pytest.skip("the moon is not full")

def test_what_needs_nothing(): ...
"""
TOLD = [
    f"{TITLE}: 4 tests were skipped.",
    "     3 needs a browser",
    "       to run them: apt-get install chromium",
    "     1 the moon is not full",
]


@pytest.mark.parametrize("options", [[], ["-n", "2"]])
def test_the_last_lines_say_how_many_tests_were_skipped_and_why_and_what_to_do(options, pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    pytester.makepyfile(test_one=SKIPPING)
    run = pytester.runpytest_subprocess("-p", "skips", *options)
    assert "1 passed, 4 skipped" in run.stdout.str()
    assert run.outlines[-4:] == TOLD


def test_a_run_that_skips_nothing_ends_as_ever():
    assert lines_of({}) == []


@pytest.mark.commands
@pytest.mark.parametrize(
    ("library", "remedy"),
    [
        ("openvino", "openvino"),
        ("tensorrt_rtx", "'cardiacnets[tensorrt-rtx]'"),
        ("cuda", "'cardiacnets[tensorrt-rtx]'"),
    ],
)
def test_where_an_engines_library_is_absent_its_tests_are_skipped_and_none_fails(library, remedy):
    here = Path(__file__).parent
    suites = [str(here / f"test_engines_{name}.py") for name in ("catalog", "choice", "tensorrt")]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "hidden_library", *suites],
        cwd=here.parent,
        env={**os.environ, "HIDDEN": library, "PYTHONPATH": f"{here}:{here.parent}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    told = run.stdout[run.stdout.index(TITLE) :]
    assert f"to run them: pip install {remedy}\n" in told
