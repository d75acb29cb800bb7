"""TensorRT plans: built for GPUs that this machine lacks, kept with what they were built from, refused when stale."""

import ast
import os
import re
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
from needed import needs_library
from small_graphs import graph_of

import engines.cuda_device
import engines.tensorrt_build
import engines.tensorrt_engine
from engines.catalog import ENGINES, build_engine, find_entry
from engines.choice_cache import digests
from engines.nvidia import find_gpus
from engines.onnx_content import holds_float16
from engines.options import EngineOptions
from engines.plan_store import PlanKey, PlanStore
from engines.protocol import Graphs, MadeGraph
from engines.tensorrt_build import build_plan, tell_nobody
from engines.tensorrt_engine import PlannedNetwork, open_tensorrt
from engines.tensorrt_library import load_tensorrt
from inference.bundle import Bundle, default_bundle, load_bundle
from inference.manifest import HALF_GRAPH
from inference.open_engine_for_bundle import graphs_of
from inference.signals_engine import build_preprocessing
from inference.signals_graph import signals_graphs
from schemas.errors import EngineUnavailable

GPU = "SM89"
HALF = np.ones(2, np.float16)
KEY = PlanKey(graph="0" * 64, precision="float32", library="tensorrt_rtx 1.7", gpu=GPU, rows=96)
ABS = [("Abs", ["x"], ["y"])]
NAMES = [name for name in ENGINES if find_entry(name).library == "tensorrt_rtx"]

needs_rtx = needs_library("tensorrt_rtx", "tensorrt-rtx")
needs_cuda = needs_library("cuda", "tensorrt-rtx")
needs_no_gpu = pytest.mark.skipif(bool(find_gpus()), reason="needs a machine without a GPU")


@pytest.fixture(scope="module")
def rtx():
    return load_tensorrt("tensorrt_rtx")


def build(library, graph, precision="float32", rows=8, gpu=GPU):
    return build_plan(library, graph, precision=precision, rows=rows, gpu=gpu)[0]


@needs_rtx
@pytest.mark.parametrize("name", NAMES)
def test_a_plan_of_the_shipped_network_is_built_without_a_gpu_and_kept_with_a_note(name, tmp_path):
    graphs, phases = graphs_of(load_bundle(default_bundle())), {}
    options = EngineOptions(rows=96, cache_folder=tmp_path)
    note = build_engine(name, graphs, options, gpu=GPU, tell=lambda phase, share: phases.update({phase: share}))
    assert (note.key.gpu, note.key.rows, note.key.precision) == (GPU, 96, find_entry(name).precision)
    assert note.key.library.startswith("tensorrt_rtx ")
    assert note.size > 1e6
    assert phases["Building engine"] == 1.0
    assert set(phases.values()) == {1.0}
    found, plan = PlanStore(tmp_path).find(note.key, name)
    assert found == note
    assert len(plan) == note.size
    assert (PlanStore(tmp_path).folder.stat().st_mode & 0o777) == 0o700
    print(f"{name}: {note.built_s} s, {note.size} bytes")


@needs_rtx
@pytest.mark.parametrize("name", NAMES)
def test_a_plan_that_preprocesses_is_built_for_records_and_found_without_making_its_graph(name, tmp_path):
    bundle, options = load_bundle(default_bundle()), EngineOptions(rows=96, cache_folder=tmp_path)
    note = build_preprocessing(bundle, name, options, GPU, tell_nobody)
    if name.endswith("tf32"):
        assert note is None  # its product would be rounded
        return
    made = signals_graphs(bundle).float16 if name.endswith("fp16") else signals_graphs(bundle).float32
    assert (note.key.rows, note.key.graph) == (32, made.fingerprint)
    assert note.size > 50e6  # the matrix is in float32, whatever the network is in
    unmade = MadeGraph(made.fingerprint, lambda: pytest.fail("the graph was made"))
    assert digests(unmade)[0] == note.key.graph
    assert PlanStore(tmp_path).find(note.key, name)[0] == note


@needs_rtx
def test_signals_in_int16_cannot_enter_a_plan(rtx):
    """So a graph that preprocesses takes float32: TensorRT has no such type."""
    with pytest.raises(EngineUnavailable, match="cannot read the graph: .*Failed to convert ONNX da"):
        build(rtx, graph_of([("Cast", ["x"], ["y"])], of="INT16", to=1))


@needs_rtx
def test_a_float16_plan_that_preprocesses_needs_the_float16_graph_as_well(tmp_path):
    bundle = load_bundle(default_bundle())
    files = {name: digest for name, digest in bundle.manifest.files.items() if name != HALF_GRAPH}
    without = Bundle(bundle.folder, msgspec.structs.replace(bundle.manifest, files=files))
    with pytest.raises(EngineUnavailable, match="the bundle has none: cardiacnets compile --export writes it"):
        build_preprocessing(without, "tensorrt-rtx-fp16", EngineOptions(cache_folder=tmp_path), GPU, tell_nobody)


@needs_rtx
def test_an_operator_that_the_library_does_not_know_is_refused_by_its_name(rtx):
    graph = graph_of([("Strange", ["x"], ["y"])], domain="com.example")
    with pytest.raises(
        EngineUnavailable, match=r"tensorrt_rtx .* cannot read the graph: operator Strange of node Strange_1"
    ):
        build(rtx, graph)


@needs_rtx
def test_operands_of_two_precisions_are_refused_and_never_rounded(rtx):
    graph = graph_of([("Add", ["x", "w"], ["y"])], weights={"w": HALF})
    with pytest.raises(EngineUnavailable, match="must have same input types. But they are of types Float and Half"):
        build(rtx, graph, "float16")


@needs_rtx
@pytest.mark.parametrize("row", [("m",), (2, "m")])
def test_an_axis_that_no_profile_bounds_is_refused(rtx, row):
    with pytest.raises(EngineUnavailable, match="the number of rows is free and nothing else: x has the shape"):
        build(rtx, graph_of(ABS, row=row))


@needs_rtx
def test_batches_of_no_rows_are_refused(rtx):
    with pytest.raises(EngineUnavailable, match="refuses batches of up to 0 rows|cannot build"):
        build(rtx, graph_of(ABS), rows=0)


@needs_rtx
def test_a_network_of_several_inputs_is_refused(rtx):
    with pytest.raises(EngineUnavailable, match="takes networks of one input, and this one has 2"):
        build(rtx, graph_of([("Add", ["a", "b"], ["y"])], inputs="ab"))


@needs_rtx
def test_what_is_no_graph_is_refused(rtx):
    with pytest.raises(EngineUnavailable, match="is no ONNX graph|cannot read the graph"):
        build(rtx, b"not a graph")
    with pytest.raises(EngineUnavailable, match="this one has 0"):
        build(rtx, b"")


@needs_rtx
@pytest.mark.parametrize(("precision", "is_half"), [("float32", True), ("tf32", True), ("float16", False)])
def test_a_precision_that_the_graph_does_not_have_is_refused(rtx, precision, is_half):
    graph = graph_of(ABS, weights={"w": HALF} if is_half else None)
    assert holds_float16(graph) == is_half
    found = "float16" if is_half else "float32"
    with pytest.raises(EngineUnavailable, match=f"a plan in {precision} cannot be built from a graph in {found}"):
        build(rtx, graph, precision)


@needs_rtx
def test_an_architecture_that_the_library_does_not_know_is_refused_with_those_that_it_does(rtx):
    with pytest.raises(EngineUnavailable, match=r"builds for the architectures SM75, .*, and not for SM90"):
        build(rtx, graph_of(ABS), gpu="SM90")


@needs_rtx
@needs_cuda
@needs_no_gpu
def test_a_plan_without_a_gpu_is_refused_in_a_sentence(rtx, tmp_path):
    plan = build(rtx, graph_of(ABS))
    with pytest.raises(EngineUnavailable, match=r"GPU 0 cannot be used: CUDA driver version is insufficient"):
        PlannedNetwork("tensorrt-rtx", rtx, plan, 0)
    with pytest.raises(EngineUnavailable, match=r"GPU 0 cannot be used"):
        open_tensorrt("tensorrt_rtx", graph_of(ABS), EngineOptions(cache_folder=tmp_path))
    with pytest.raises(EngineUnavailable, match="needs an NVIDIA GPU, and this machine shows none"):
        build_engine("tensorrt-rtx", graph_of(ABS), EngineOptions(cache_folder=tmp_path))


def test_an_engine_that_needs_no_building_says_which_do():
    with pytest.raises(EngineUnavailable, match=r"onnxruntime needs no building; what is built is tensorrt, "):
        build_engine("onnxruntime", graph_of(ABS), EngineOptions())


@needs_rtx
def test_a_float16_plan_of_a_network_without_a_float16_graph_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(EngineUnavailable, match="the bundle has none: cardiacnets compile --export writes it"):
        build_engine("tensorrt-rtx-fp16", Graphs(graph_of(ABS)), EngineOptions(cache_folder=tmp_path), gpu=GPU)


def test_a_plan_is_found_by_what_it_was_built_from_and_for(tmp_path):
    store = PlanStore(tmp_path)
    store.keep(KEY, b"plan", 1.5)
    assert store.find(KEY, "tensorrt-rtx")[1] == b"plan"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"library": "tensorrt_rtx 1.8"}, "was built for tensorrt_rtx 1.7, and this is tensorrt_rtx 1.8"),
        ({"gpu": "SM120"}, "was built for SM89, and this is SM120"),
        ({"graph": "1" * 64}, "has no plan of this network yet"),
        ({"precision": "tf32"}, "has no plan of this network yet"),
    ],
)
def test_a_stale_plan_is_refused_with_what_has_changed_and_what_to_do(change, why, tmp_path):
    store = PlanStore(tmp_path)
    store.keep(KEY, b"plan", 1.5)
    with pytest.raises(EngineUnavailable, match=rf"tensorrt-rtx .*{why}: cardiacnets compile --engine tensorrt-rtx"):
        store.find(msgspec.structs.replace(KEY, **change), "tensorrt-rtx")


def test_a_plan_for_other_batches_serves_and_the_one_for_these_is_taken_first(tmp_path):
    store = PlanStore(tmp_path)
    for rows in (12, 48):
        store.keep(msgspec.structs.replace(KEY, rows=rows), str(rows).encode(), 1.5)
    assert store.find(KEY, "tensorrt-rtx")[1] == b"48"
    assert store.find(msgspec.structs.replace(KEY, rows=12), "tensorrt-rtx")[1] == b"12"


def test_a_plan_that_was_changed_or_that_others_may_write_to_is_never_opened(tmp_path):
    store = PlanStore(tmp_path)
    store.keep(KEY, b"plan", 1.5)
    (path,) = store.folder.glob("*.plan")
    path.chmod(0o666)
    with pytest.raises(EngineUnavailable, match="can be written to by other users, and a plan is code: chmod go-w"):
        store.find(KEY, "tensorrt")
    path.chmod(0o600)
    path.write_bytes(b"another")
    with pytest.raises(
        EngineUnavailable, match="was changed since it was built: cardiacnets compile --engine tensorrt"
    ):
        store.find(KEY, "tensorrt")
    path.unlink()
    with pytest.raises(EngineUnavailable, match="cannot be read"):
        store.find(KEY, "tensorrt")


def test_a_note_that_is_broken_or_belongs_to_another_plan_is_passed_over(tmp_path):
    store = PlanStore(tmp_path)
    store.keep(KEY, b"plan", 1.5)
    (path,) = store.folder.glob("*.json")
    path.rename(store.folder / "another.json")
    (store.folder / "broken.json").write_bytes(b"{")
    with pytest.raises(EngineUnavailable, match="has no plan of this network yet"):
        store.find(KEY, "tensorrt")


@pytest.mark.skipif(os.geteuid() == 0, reason="needs a user that is not root: root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_told_of(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(EngineUnavailable, match="the plan cannot be kept in"):
        PlanStore(tmp_path).keep(KEY, b"plan", 1.5)


def test_what_a_building_measured_is_kept_for_the_library_and_the_gpu(tmp_path):
    store = PlanStore(tmp_path)
    assert store.read_timing("tensorrt 11.4", "NVIDIA L4") == b""
    store.keep_timing("tensorrt 11.4", "NVIDIA L4", b"measured")
    assert store.read_timing("tensorrt 11.4", "NVIDIA L4") == b"measured"
    assert store.read_timing("tensorrt 11.5", "NVIDIA L4") == b""


@needs_rtx
def test_two_threads_that_build_have_their_own_errors(rtx):
    refusals = []

    def refuse():
        try:
            build(load_tensorrt("tensorrt_rtx"), graph_of([("Strange", ["x"], ["y"])], domain="com.example"))
        except EngineUnavailable as error:
            refusals.append(str(error))

    thread = threading.Thread(target=refuse)
    thread.start()
    assert build(rtx, graph_of(ABS))
    thread.join()
    assert "Strange" in refusals[0]
    assert not rtx.errors


@needs_rtx
@needs_cuda
@pytest.mark.parametrize("module", [engines.cuda_device, engines.tensorrt_build, engines.tensorrt_engine])
def test_every_name_of_nvidias_that_the_code_uses_is_one_that_the_libraries_have(module, rtx):
    """No GPU is needed to see that a function is called by its name."""
    from cuda.bindings import runtime

    source = ast.parse(Path(module.__file__).read_text())
    attributes = {node.attr for node in ast.walk(source) if isinstance(node, ast.Attribute)}
    of_cuda = {name for name in attributes if re.match("cuda[A-Z]", name)}
    enums = (runtime.cudaMemcpyKind, runtime.cudaStreamCaptureMode, runtime.cudaError_t)
    assert [name for name in of_cuda if not any(hasattr(place, name) for place in (runtime, *enums))] == []
    chains = {ast.unparse(node) for node in ast.walk(source) if isinstance(node, ast.Attribute)}
    of_trt = {chain.removeprefix("library.api.") for chain in chains if chain.startswith("library.api.")}
    for chain in of_trt:
        place = rtx.api
        for name in chain.split("."):
            place = getattr(place, name)
    methods = {"engine": rtx.api.ICudaEngine, "context": rtx.api.IExecutionContext, "config": rtx.api.IBuilderConfig}
    for owner, _, name in (chain.rpartition(".") for chain in chains):
        kind = methods.get(owner.removeprefix("self.").removeprefix("_"))
        if kind and name != "dynamic_shapes_kernel_specialization_strategy":  # another kind of config has it
            assert hasattr(kind, name), (owner, name)
    assert hasattr(rtx.api.IRuntimeConfig, "dynamic_shapes_kernel_specialization_strategy")
