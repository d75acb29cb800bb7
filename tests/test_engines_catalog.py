"""The catalog: engines by name, each opened or refused with a sentence that helps."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from needed import each_engine, needs_engine
from small_graphs import write_abs, write_sum
from waiting import PATIENCE_S

from engines.catalog import CATALOG, ENGINES, available_engines, open_engine, open_graph, rows_wanted
from engines.options import EngineOptions, usable_cores
from schemas.errors import EngineFailed, EngineUnavailable


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(EngineUnavailable, match=r"'tensorflow'.*openvino, openvino-bf16, onnxruntime"):
        open_engine("tensorflow", Path("any.onnx"))


@pytest.mark.parametrize("name", each_engine())
def test_a_graph_that_is_not_there_is_refused_by_its_path(name, tmp_path):
    with pytest.raises(EngineUnavailable, match=r"nowhere\.onnx: there is no such file"):
        open_engine(name, tmp_path / "nowhere.onnx")


@needs_engine("openvino")
@needs_engine("onnxruntime")
def test_the_serving_set_makes_every_engine_of_a_processor_available():
    of_processors = [name for name in ENGINES if CATALOG[name].device == "cpu"]
    assert [name for name in available_engines() if name in of_processors] == of_processors


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_whose_library_or_device_is_absent_is_not_available_and_says_what_it_needs(name, graph):
    if name in available_engines():
        open_engine(name, graph, EngineOptions(threads=1)).close()
        return
    with pytest.raises(
        EngineUnavailable, match=f"{name} needs (.*, which is not installed: pip install |an NVIDIA GPU)"
    ):
        open_engine(name, graph)


def test_a_graph_of_several_inputs_is_opened_by_the_engines_that_can(tmp_path):
    path = write_sum(tmp_path)
    one, two = np.ones((3, 2), np.float32), np.full((3, 2), 2, np.float32)
    opened = open_graph("onnxruntime", path, EngineOptions(threads=1))
    assert opened.input_shapes == ((None, 2), (None, 2))
    assert opened.output_shapes == ((None, 2),)
    (answer,) = opened.run(one, two)
    np.testing.assert_array_equal(answer, one + two)
    with pytest.raises(EngineFailed, match="onnxruntime failed"):
        opened.run(one, two[:, :1])


@needs_engine("openvino")
def test_an_engine_of_networks_refuses_graphs_of_several_inputs_and_names_those_that_take_them(tmp_path):
    with pytest.raises(EngineUnavailable, match=r"openvino runs only networks of one input.* run by onnxruntime"):
        open_graph("openvino", write_sum(tmp_path))


def test_the_options_of_an_engine_cannot_be_changed_and_give_it_what_the_process_may_use():
    options = EngineOptions(precision="float16")
    with pytest.raises(AttributeError):
        options.rows = 3
    assert options.threads == usable_cores()


def test_a_device_has_a_batch_that_it_wants():
    assert rows_wanted("onnxruntime") == rows_wanted("an engine of one's own") == 48
    assert {rows_wanted(name) for name in ENGINES if CATALOG[name].device == "gpu"} <= {96}


@pytest.fixture
def graph(tmp_path):
    return write_abs(tmp_path)


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 10_000), ("100000 100000", 1), ("50000 100000", 1), ("nonsense", 10_000)]
)
def test_a_containers_quota_bounds_the_threads(quota, cores, tmp_path):
    path = tmp_path / "cpu.max"
    path.write_text(quota)
    assert usable_cores(path) == min(cores, usable_cores(tmp_path / "no cgroup here"))


def run_python(code, **environment):
    """Run `code` in a fresh interpreter."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, **environment},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_the_storey_loads_no_heavy_library():
    code = """
import sys
import engines.batcher, engines.catalog, engines.choice, engines.torch_engine
libraries = {"torch", "onnx", "onnxruntime", "openvino", "openvino_telemetry", "tensorrt", "tensorrt_rtx", "cuda"}
heavy = libraries & set(sys.modules)
assert not heavy, heavy
"""
    run_python(code)


@needs_engine("openvino")
def test_opening_openvino_sends_nothing_and_leaves_no_identifier_behind(tmp_path):
    """`import openvino` alone reports itself to Google Analytics, from a thread, and writes ~/intel/openvino_ga_cid."""
    graph = tmp_path / "identity.onnx"
    code = f"""
import socket, sys
from pathlib import Path

def refuse(*arguments, **keywords):
    Path({str(tmp_path / "called")!r}).write_text(repr(arguments))
    raise OSError("no network in this test")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse

import numpy as np
from onnx import TensorProto, helper, save
rows = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2])
body = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", [rows("x")], [rows("y")])
save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), {str(graph)!r})

from engines.catalog import open_engine
from engines.options import EngineOptions
engine = open_engine("openvino", Path({str(graph)!r}), EngineOptions(threads=1))
assert engine.run(-np.ones((3, 2), np.float32))["y"].tolist() == [[1, 1]] * 3
engine.close()
import openvino.tools.ovc.telemetry_utils as reporting
assert reporting.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
assert sys.modules["openvino_telemetry"] is None
"""
    home = tmp_path / "home"
    home.mkdir()
    # The library keeps quiet by itself where it sees a continuous integration.
    quiet = dict.fromkeys(("CI", "TF_BUILD", "JENKINS_URL"), "")
    run_python(code, HOME=str(home), **quiet)
    assert not (tmp_path / "called").exists()
    assert list(home.iterdir()) == []


def test_onnx_runtime_leaves_no_device_id_and_reports_nothing(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    graph = tmp_path / "g.onnx"
    code = f"""
import numpy as np
from onnx import TensorProto, helper, save
rows = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2])
body = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", [rows("x")], [rows("y")])
save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), {str(graph)!r})

from pathlib import Path
from engines.catalog import open_engine
from engines.options import EngineOptions
open_engine("onnxruntime", Path({str(graph)!r}), EngineOptions(threads=1)).close()
"""
    run_python(code, HOME=str(home), XDG_CACHE_HOME="", CI="")
    assert list(home.iterdir()) == []
