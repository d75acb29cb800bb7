"""`cardiacnets compile --engine`: builds ahead what a worker would have to build, for this GPU or for another one."""

import json
import os
import subprocess
import sys

import pytest
from needed import needs_library
from waiting import PATIENCE_S

from engines.choice import Tolerances
from stream.commands.compile import Compiled, _by_reason

pytestmark = pytest.mark.commands


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "stream", "compile", *arguments],
        env={**os.environ, "CARDIACNETS_ENGINE_CACHE": str(folder)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@needs_library("tensorrt_rtx", "tensorrt-rtx")
def test_a_plan_for_another_gpu_is_built_and_told_of(tmp_path):
    done = run(tmp_path, "--engine", "tensorrt-rtx-fp16", "--for-gpu", "SM120", "--json")
    assert done.returncode == 0, done.stderr
    note = json.loads(done.stdout)
    assert (note["key"]["gpu"], note["key"]["precision"], note["key"]["rows"]) == ("SM120", "float16", 96)
    beside = note["preprocessing"]
    assert (beside["key"]["gpu"], beside["key"]["precision"], beside["key"]["rows"]) == ("SM120", "float16", 32)
    sizes = [path.stat().st_size for path in (tmp_path / "plans").glob("*.plan")]
    assert sorted(sizes) == sorted([note["size"], beside["size"]])
    again = run(tmp_path, "--engine", "tensorrt-rtx", "--for-gpu", "SM120")
    assert again.stderr.strip().startswith("built for SM120 by tensorrt_rtx"), again.stderr
    assert "float32, batches of up to 96 rows" in again.stderr
    assert "and with preprocessing in " in again.stderr
    assert "batches of up to 32 records" in again.stderr
    assert len(list((tmp_path / "plans").glob("*.plan"))) == 4


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--engine", "openvino"), 1, "openvino needs no building; what is built is tensorrt"),
        (("--engine", "tensorflow"), 1, "no engine is called 'tensorflow'"),
        (("--for-gpu", "SM89"), 2, "--for-gpu needs --engine"),
    ],
)
def test_what_cannot_be_built_is_refused_in_a_sentence(arguments, code, sentence, tmp_path):
    done = run(tmp_path, *arguments)
    assert done.returncode == code
    assert sentence in done.stderr
    assert not list(tmp_path.iterdir())


def test_engines_that_could_not_be_tried_for_one_reason_are_told_together():
    compiled = Compiled(
        model="m",
        version="1",
        chosen="onnxruntime",
        records_per_s={"onnxruntime": 1.0},
        differences={"onnxruntime": {"y": 0.0}, "openvino": {"y": 1.0}},
        refused={
            "openvino": "differs",
            "tensorrt": "tensorrt needs it",
            "tensorrt-fp16": "tensorrt-fp16 needs it",
        },
        tolerances=Tolerances(),
        threads=1,
    )
    assert _by_reason(compiled) == [(["tensorrt", "tensorrt-fp16"], "needs it")]
