"""The fuzzer finds what a reader does not promise, and every target takes its own seeds."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from fuzz_readers import Notes, examine
from fuzz_targets import Target, targets

from schemas.errors import UnreadableFile

needs_atheris = pytest.mark.skipif(not find_spec("atheris"), reason="needs atheris: pip install -e '.[fuzz]'")
SCRIPT = Path(__file__).with_name("fuzz_readers.py")


def planted(run):
    return Target("planted", run, (UnreadableFile,), (b"seed",))


def index(content):
    return content[9]


def refuse(content):
    raise UnreadableFile("fuzzed.ecg has no leads: send another file")


def chatter(content):
    raise UnreadableFile("fuzzed.ecg cannot be read: list index out of range")


def test_an_exception_that_is_not_promised_is_a_finding():
    finding = examine(planted(index), b"1")
    assert (finding["kind"], finding["error"]) == ("exception", "IndexError: index out of range")
    assert "test_project_fuzz.py:" in finding["where"]


def test_a_refusal_in_our_words_is_an_answer_and_one_in_pythons_words_is_a_finding():
    assert examine(planted(refuse), b"1") is None
    assert examine(planted(chatter), b"1")["kind"] == "python message"


def test_a_content_that_takes_too_long_is_a_finding():
    assert examine(planted(lambda content: sum(range(10**6))), b"1", slow_s=0.001)["kind"] == "slow"


def test_each_kind_of_finding_is_noted_once_with_its_content(tmp_path):
    notes = Notes(tmp_path)
    for content in (b"1", b"2"):
        notes.note(examine(planted(index), content), content)
    (noted,) = [json.loads(path.read_text()) for path in tmp_path.glob("finding-*.json")]
    assert Path(noted["input"]).read_bytes() == b"1"


@pytest.mark.parametrize("name", sorted(targets()))
def test_every_target_takes_its_seeds_as_it_promises(name):
    target = targets()[name]
    assert target.seeds
    assert [examine(target, seed, slow_s=60.0) for seed in target.seeds[:20]] == [None] * len(target.seeds[:20])


@needs_atheris
def test_the_fuzzer_says_in_one_line_of_json_what_it_did(tmp_path):
    command = [sys.executable, SCRIPT, "codec", "--runs", "300", "--minutes", "1", "--corpus", tmp_path]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["executions"] >= 300
    assert result["coverage"] > 0
    assert result["corpus"] > 0
    assert done.returncode == bool(result["findings"])


def test_a_reader_that_does_not_exist_ends_with_the_names_that_do():
    done = subprocess.run([sys.executable, SCRIPT, "list"], check=False, capture_output=True, text=True, timeout=600)
    assert "wfdb-header" in done.stderr
    assert done.returncode == 1
