"""`make gpu-check`, as far as a machine without a GPU shows: it says that there is none, and its parts work."""

import subprocess
import sys

import gpu_check
import learning_speed
import pytest
import torch
from needed import needs_engine
from waiting import PATIENCE_S

from engines.nvidia import find_gpus
from inference.bundle import default_bundle, load_bundle

pytestmark = pytest.mark.commands


@pytest.mark.skipif(bool(find_gpus()), reason="needs a machine without a GPU")
def test_without_a_gpu_it_says_so_in_a_sentence_and_fails():
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu_check"], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (1, gpu_check.NO_GPU)


@needs_engine("onnxruntime")
def test_an_engine_is_opened_compared_and_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "BUDGET_S", 0)
    row = gpu_check.examine("onnxruntime", load_bundle(default_bundle()), tmp_path, rows=(3, 6))
    assert row.trouble == ""
    assert row.difference < 1e-4
    assert row.records_per_s.keys() == {3, 6}
    assert row.lone_ms > 0


@needs_engine("onnxruntime")
def test_an_engine_that_is_given_signals_is_held_against_the_processors_preprocessing_and_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "BUDGET_S", 0)
    row = gpu_check.examine_preprocessing("onnxruntime", load_bundle(default_bundle()), tmp_path, rows=(3, 6))
    assert (row.engine, row.trouble) == ("onnxruntime, from signals", "")
    assert 0 < row.difference < 1e-4
    assert row.records_per_s.keys() == {3, 6}
    assert row.lone_ms > 0


def test_an_engine_that_cannot_be_had_is_told_of_in_its_row(tmp_path):
    row = gpu_check.examine("tensorflow", load_bundle(default_bundle()), tmp_path)
    assert "no engine is called 'tensorflow'" in row.trouble
    lines = list(gpu_check.table([row, gpu_check.Row(engine="one", built_s=1.5, difference=2e-4, lone_ms=0.35)]))
    assert lines[3].startswith("| one | 1.5 |  | 2.0e-04 |")
    assert {line.count("|") for line in lines} == {lines[0].count("|")}


def test_learning_is_timed_step_by_step_and_as_a_stage(tmp_path):
    processor = torch.device("cpu")
    speed = learning_speed.measure_learning(processor, tmp_path, ecgs=8, batch_size=4, seconds=0)
    assert min(speed.loaded_per_s, speed.held_per_s, speed.steps_per_s, speed.whole_steps_per_s) > 0
    assert speed.memory_mib is None
    assert [line for line in learning_speed.lines(speed, processor, 4) if "ECGs/s" in line or "a second" in line][3:]


@pytest.mark.skipif(bool(find_gpus()), reason="needs a machine without a GPU")
def test_learning_that_cannot_be_measured_is_told_of():
    assert gpu_check.run_learning("--device", "cuda").startswith(gpu_check.LEARNING_FAILED)
