"""The choice of an engine: checked against the reference, timed here, remembered until something changes."""

import json
import math
import time
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from needed import needs_engine

import engines.choice_cache as cache
from engines import choice as engines_choice
from engines.catalog import CATALOG, ENGINES, available_engines
from engines.choice import (
    Choice,
    Probe,
    Tolerances,
    check_engine,
    find_mismatch,
    require_agreement,
    time_engines,
)
from engines.nvidia import Gpu
from engines.options import EngineOptions
from engines.protocol import Graphs
from schemas.errors import EngineFailed, EngineMismatch, EngineUnavailable

choose_engine = partial(engines_choice.choose_engine, budget_s=0)
FLOAT32_ENGINES = tuple(name for name in available_engines() if CATALOG[name].precision == "float32")
SHAPE = (3, 5)


@pytest.fixture
def graph(tmp_path):
    return write_graph(tmp_path / "network.onnx", scale=2.0)


def write_graph(path, scale):
    """Write the graph y = scale · |x|, z = -y."""
    from onnx import TensorProto, helper, numpy_helper, save

    def value(name):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *SHAPE])

    nodes = [
        helper.make_node("Abs", ["x"], ["size"]),
        helper.make_node("Mul", ["size", "scale"], ["y"]),
        helper.make_node("Neg", ["y"], ["z"]),
    ]
    weights = [numpy_helper.from_array(np.array(scale, np.float32), "scale")]
    body = helper.make_graph(nodes, "network", [value("x")], [value("y"), value("z")], weights)
    save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture
def probe():
    inputs = np.random.default_rng(3).standard_normal((4, *SHAPE)).astype(np.float32)
    return Probe(inputs, {"y": 2 * np.abs(inputs), "z": -2 * np.abs(inputs)})


def options_in(folder, threads=1, **others):
    return EngineOptions(threads=threads, cache_folder=folder, **others)


class Answering:
    """An engine that answers as it is told, and may be slow."""

    def __init__(self, answer, delay_s=0.0, name="onnxruntime"):
        self.name = name
        self._answer, self._delay_s = answer, delay_s
        self.log = []

    def run(self, inputs):
        self.log.append(time.perf_counter())
        time.sleep(self._delay_s)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def warm_up(self, rows):
        pass

    def close(self):
        pass


def test_the_fastest_engine_that_agrees_is_chosen_and_the_figures_of_all_are_told(graph, probe, tmp_path):
    choice = choose_engine(graph, probe, rows=8, options=options_in(tmp_path))
    assert choice.name == max(choice.rows_per_s, key=choice.rows_per_s.get)
    assert set(choice.rows_per_s) | set(choice.refused) == set(ENGINES)
    assert set(FLOAT32_ENGINES) <= set(choice.rows_per_s)
    assert all(worst < 1e-6 for name in FLOAT32_ENGINES for worst in choice.differences[name].values())
    assert choice.threads == 1


def test_no_engine_passes_against_another_reference_and_the_error_tells_the_figures(graph, probe, tmp_path):
    wrong = Probe(probe.inputs, {"y": probe.expected["y"] + 0.25, "z": probe.expected["z"]})
    with pytest.raises(EngineMismatch) as mismatch:
        choose_engine(graph, wrong, names=FLOAT32_ENGINES, options=options_in(tmp_path))
    for name in FLOAT32_ENGINES:
        assert f"{name}: differs from the reference in y by 0.25 (at most 0.001 is allowed)" in str(mismatch.value)
    assert list(tmp_path.glob("*.json")) == []


@needs_engine("openvino")
@needs_engine("onnxruntime")
def test_an_engine_whose_answer_is_no_number_is_refused_and_the_choice_is_remembered(
    graph, probe, tmp_path, monkeypatch
):
    def check(engine, probe):
        found = check_engine(engine, probe)
        return dict.fromkeys(found, math.inf) if engine.name == FLOAT32_ENGINES[1] else found

    monkeypatch.setattr(engines_choice, "check_engine", check)
    chosen = choose_engine(graph, probe, names=FLOAT32_ENGINES, options=options_in(tmp_path))
    assert FLOAT32_ENGINES[1] in chosen.refused
    impossible = Probe(probe.inputs, {"y": probe.expected["z"]})  # would be refused, were it measured again
    assert choose_engine(graph, impossible, names=FLOAT32_ENGINES, options=options_in(tmp_path)) == chosen


def test_where_no_engine_opens_the_error_says_unavailable(tmp_path, probe):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a graph")
    with pytest.raises(EngineUnavailable, match=r"no engine can be used.*onnxruntime: onnxruntime cannot open"):
        choose_engine(broken, probe, names=["onnxruntime"], options=options_in(tmp_path))


def test_an_answer_that_is_not_a_number_never_passes(probe):
    answer = {name: output.copy() for name, output in probe.expected.items()}
    answer["z"][1, 2, 3] = np.nan
    differences = check_engine(Answering(answer), probe)
    assert differences == {"y": 0.0, "z": np.inf}
    assert "z by inf" in find_mismatch(differences, tolerance=1e9)


def test_a_missing_output_and_a_wrong_number_of_rows_never_pass(probe):
    differences = check_engine(Answering({"z": probe.expected["z"][:-1]}), probe)
    assert differences == {"y": np.inf, "z": np.inf}


def test_a_difference_passes_up_to_the_tolerance_and_not_beyond():
    assert find_mismatch({"y": 1e-3, "z": 0.0}, 1e-3) is None
    assert find_mismatch({"y": 1.1e-3}, 1e-3) == "differs from the reference in y by 0.0011 (at most 0.001 is allowed)"
    assert find_mismatch({"y": np.nan}, 1e-3)


def test_each_precision_has_its_tolerance():
    assert Tolerances().of("onnxruntime") == Tolerances().of("openvino") == 1e-3
    assert Tolerances().of("torch") == Tolerances().of("torch-cuda") == 1e-3
    assert Tolerances().of("openvino-bf16") == 5e-2


def test_one_engine_can_be_required_to_agree(probe):
    assert require_agreement(Answering(probe.expected), probe) == {"y": 0.0, "z": 0.0}
    near = {name: output + 0.01 for name, output in probe.expected.items()}
    with pytest.raises(EngineMismatch, match=r"onnxruntime differs from the reference in y by 0\.01, z by 0\.01"):
        require_agreement(Answering(near), probe)
    assert require_agreement(Answering(near, name="openvino-bf16"), probe).keys() == {"y", "z"}
    with pytest.raises(EngineFailed):
        require_agreement(Answering(EngineFailed("no")), probe)


def test_engines_are_timed_in_turns_and_ranked_by_speed(probe):
    engines = {"slow": Answering({}, 0.3), "quick": Answering({}, 0.01)}
    rates = time_engines(engines, probe.inputs, budget_s=0)
    assert rates["quick"] > 1.5 * rates["slow"]
    turns = sorted((moment, name) for name, engine in engines.items() for moment in engine.log)
    changes = sum(before != after for (_, before), (_, after) in pairwise(turns))
    assert changes == 3  # two rounds even without a budget: slow, quick, slow, quick


def test_a_choice_is_remembered_for_the_same_graph_and_circumstances_only(graph, probe, tmp_path):
    chosen = choose_engine(graph, probe, names=["onnxruntime"], options=options_in(tmp_path))
    impossible = Probe(probe.inputs, {"y": probe.expected["z"]})  # would be refused, were it measured
    again = choose_engine(graph, impossible, names=["onnxruntime"], options=options_in(tmp_path))
    assert again == chosen
    changes = (
        {"options": options_in(tmp_path, threads=2)},
        {"options": options_in(tmp_path, device=1)},
        {"rows": 9},
        {"tolerances": Tolerances(float32=1e-4)},
        {"remeasure": True},
    )
    for change in changes:
        circumstances = {"options": options_in(tmp_path), **change}
        with pytest.raises(EngineMismatch):
            choose_engine(graph, impossible, names=["onnxruntime"], **circumstances)
    write_graph(graph, scale=3.0)
    with pytest.raises(EngineMismatch):
        choose_engine(graph, impossible, names=["onnxruntime"], options=options_in(tmp_path))


def test_another_library_version_or_processor_makes_the_remembered_choice_stale(graph, tmp_path, monkeypatch):
    choice = Choice(name="onnxruntime", rows_per_s={}, differences={}, refused={}, threads=1)
    cache.remember_choice(choice, graph, {}, tmp_path)
    assert cache.recall_choice(Choice, graph, {}, tmp_path) == choice
    with monkeypatch.context() as patch:
        patch.setattr(cache, "version", lambda _: "0.0.1")
        assert cache.recall_choice(Choice, graph, {}, tmp_path) is None
    other = tmp_path / "cpuinfo"
    other.write_text("model name\t: another processor\nflags\t: avx512_bf16\n\n")
    monkeypatch.setattr(cache, "CPUINFO", other)
    assert cache.recall_choice(Choice, graph, {}, tmp_path) is None


def test_another_gpu_or_driver_makes_the_remembered_choice_stale(graph, tmp_path, monkeypatch):
    choice = Choice(name="onnxruntime", rows_per_s={}, differences={}, refused={}, threads=1)
    monkeypatch.setattr(cache, "find_gpus", lambda: (Gpu("NVIDIA L4", "570.1"),))
    cache.remember_choice(choice, graph, {}, tmp_path)
    assert cache.recall_choice(Choice, graph, {}, tmp_path) == choice
    for gpus in ((), (Gpu("NVIDIA L4", "570.2"),), (Gpu("NVIDIA H200", "570.1"),)):
        monkeypatch.setattr(cache, "find_gpus", lambda gpus=gpus: gpus)
        assert cache.recall_choice(Choice, graph, {}, tmp_path) is None
    monkeypatch.setattr(cache, "find_gpus", lambda: (Gpu("NVIDIA L4", "570.1"),))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert cache.recall_choice(Choice, graph, {}, tmp_path) is None


def test_another_float16_graph_makes_the_remembered_choice_stale(tmp_path):
    choice = Choice(name="onnxruntime", rows_per_s={}, differences={}, refused={}, threads=1)
    cache.remember_choice(choice, Graphs(b"one", b"half"), {}, tmp_path)
    assert cache.recall_choice(Choice, Graphs(b"one", b"half"), {}, tmp_path) == choice
    for graphs in (Graphs(b"one"), Graphs(b"one", b"other"), Graphs(b"two", b"half"), b"one"):
        assert cache.recall_choice(Choice, graphs, {}, tmp_path) is None


def test_each_engine_is_timed_on_the_batch_that_it_will_get(probe):
    seen = {name: set() for name in ("small", "big")}
    engines = {name: Counting(seen[name]) for name in seen}
    time_engines(engines, probe.inputs, rows={"small": 3, "big": 11}, budget_s=0)
    assert seen == {"small": {3}, "big": {11}}


class Counting:
    """An engine that notes how many rows it was given."""

    name = "counting"

    def __init__(self, seen):
        self.run = self.warm_up = lambda rows: seen.add(rows if isinstance(rows, int) else len(rows))


@pytest.mark.parametrize(
    "content", [b"", b"{", b'"text"', b'{"name": "onnxruntime"}', b"\xff\xfe", b'{"name": "\xff"}', None]
)
def test_a_corrupt_memory_is_ignored_and_measured_anew(content, graph, probe, tmp_path):
    choose_engine(graph, probe, names=["onnxruntime"], options=options_in(tmp_path))
    (path,) = tmp_path.glob("*.json")
    if content is None:  # well-formed, but names an engine that nobody asked for
        content = json.dumps(json.loads(path.read_bytes()) | {"name": "gone"}).encode()
    path.write_bytes(content)
    assert choose_engine(graph, probe, names=["onnxruntime"], options=options_in(tmp_path)).name == "onnxruntime"
    assert json.loads(path.read_bytes())["name"] == "onnxruntime"
    assert [file.name for file in tmp_path.iterdir() if file.suffix != ".onnx"] == [path.name]  # no leftovers


def test_a_place_that_cannot_be_written_costs_only_the_memory(graph, probe, tmp_path):
    occupied = tmp_path / "occupied"
    occupied.write_text("a file where the folder should be")
    assert choose_engine(graph, probe, names=["onnxruntime"], options=options_in(occupied)).name == "onnxruntime"
