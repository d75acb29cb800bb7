"""The Pythons that pyproject.toml promises are those that CI tries, from the oldest to the newest."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PROMISED = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))


def test_the_oldest_promised_python_is_the_one_that_an_installation_asks_for():
    assert PROJECT["requires-python"] == f">={PROMISED[0]}"


def test_ci_tries_the_oldest_and_the_newest_promised_python():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    assert jobs["check-and-test"]["strategy"]["matrix"]["python"] == [PROMISED[0], PROMISED[-1]]
