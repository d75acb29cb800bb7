"""One contract for all engines, on a small network that torch exports: whoever passes may be put behind the batcher."""

import copy
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from needed import ON_GPUS, each_engine, needs_engine
from small_graphs import write_sevens
from waiting import PATIENCE_S

from engines.catalog import CATALOG, ENGINES, build_engine, open_engine
from engines.onnx_runtime import quiet_options
from engines.onnx_runtime_cuda import BoundSession
from engines.options import EngineOptions
from engines.padded import PaddedEngine
from engines.protocol import Graphs
from engines.torch_engine import TorchEngine
from schemas.errors import EngineFailed, EngineUnavailable

pytestmark = pytest.mark.exports

ROW_SHAPE = (6, 40)
OUTPUTS = ("scores", "codes")
TOLERANCE = {"torch": 1e-6, "float32": 1e-4, "tf32": 1e-2, "float16": 2e-2, "bfloat16": 5e-2}


def build_network():
    import torch
    from torch import nn

    class Network(nn.Module):
        """Convolution, attention, normalisation, two heads: the operators that matter."""

        def __init__(self):
            super().__init__()
            self.patches = nn.Conv1d(6, 16, kernel_size=5, stride=5)
            self.qkv = nn.Linear(16, 48)
            self.norm = nn.LayerNorm(16)
            self.scores = nn.Linear(16, 3)
            self.codes = nn.Linear(16, 8)

        def forward(self, rows):
            tokens = self.patches(rows).transpose(1, 2)
            query, key, value = (part.unsqueeze(1) for part in self.qkv(tokens).chunk(3, dim=-1))
            tokens = tokens + nn.functional.scaled_dot_product_attention(query, key, value).squeeze(1)
            pooled = nn.functional.gelu(self.norm(tokens.mean(dim=1)))
            return {"scores": self.scores(pooled), "codes": nn.functional.normalize(self.codes(pooled), dim=-1)}

    torch.manual_seed(7)
    return Network().eval()


@pytest.fixture(scope="module")
def network():
    return build_network()


@pytest.fixture(scope="module")
def graph(network, tmp_path_factory):
    return export(network, tmp_path_factory.mktemp("graph") / "network.onnx")


@pytest.fixture(scope="module")
def graphs(network, graph):
    return Graphs(graph, export(in_float16(network), graph.with_name("network.float16.onnx")))


def in_float16(network):
    from torch import nn

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = copy.deepcopy(network).half()

        def forward(self, rows):
            return {name: answer.float() for name, answer in self.network(rows.half()).items()}

    return Half().eval()


def export(network, path):
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter deprecates parts of itself
        torch.onnx.export(
            network,
            (torch.zeros(3, *ROW_SHAPE),),
            path,
            dynamo=True,
            verbose=False,
            input_names=["rows"],
            output_names=list(OUTPUTS),
            dynamic_shapes={"rows": {0: torch.export.Dim("n", min=1, max=512)}},
            external_data=False,
        )
    return path


@pytest.fixture(params=["torch", "bound", *each_engine()])
def engine(request, network, graphs, tmp_path):
    opened = open_or_skip(request.param, network, graphs, tmp_path)
    yield opened
    opened.close()


def open_or_skip(name, network, graphs, folder):
    options = EngineOptions(threads=2, rows=8, cache_folder=folder)
    if name == "torch":
        return TorchEngine(network, OUTPUTS, row_shape=ROW_SHAPE)
    if name == "bound":  # what the engine of the GPU is made of, on the CPU
        return PaddedEngine("onnxruntime", lambda: BoundSession("onnxruntime", on_cpu(graphs.float32), "cpu", 0), 8, 3)
    if CATALOG[name].build:
        build_engine(name, graphs, options)
    try:
        return open_engine(name, graphs, options)
    except EngineUnavailable as error:
        if name == "openvino-bf16":
            pytest.skip(f"needs a processor with bfloat16 ({error})")
        raise


def on_cpu(path):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), quiet_options(2), providers=["CPUExecutionProvider"])


@pytest.fixture
def tolerance(engine):
    return TOLERANCE["torch" if engine.name == "torch" else CATALOG[engine.name].precision]


@pytest.fixture(scope="module")
def reference(network):
    import torch

    def answer(inputs):
        with torch.inference_mode():
            return {name: output.numpy().copy() for name, output in network(torch.tensor(inputs)).items()}

    return answer


def some_rows(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, *ROW_SHAPE)).astype(np.float32)


def assert_close(outputs, expected, tolerance):
    assert list(outputs) == list(OUTPUTS)
    for name, output in outputs.items():
        assert output.dtype == np.float32
        np.testing.assert_allclose(output, expected[name], rtol=0, atol=tolerance, err_msg=name)


def test_it_carries_the_name_under_which_it_was_opened_and_the_graphs_outputs(engine):
    assert engine.name in {"torch", *ENGINES}
    assert engine.output_names == OUTPUTS


def test_it_agrees_with_torch_for_any_number_of_rows(engine, reference, tolerance):
    for count in [*range(1, 18), 24]:
        inputs = some_rows(count, seed=count)
        assert_close(engine.run(inputs), reference(inputs), tolerance)


def test_the_caller_owns_the_outputs(engine):
    inputs = some_rows(9)
    outputs = engine.run(inputs)
    kept = {name: output.copy() for name, output in outputs.items()}
    engine.run(some_rows(9, seed=1))
    for name, output in outputs.items():
        np.testing.assert_array_equal(output, kept[name])
        assert not np.shares_memory(output, inputs)
        output[:] = 0  # writable


def test_the_inputs_are_only_read(engine):
    inputs = some_rows(9)
    before = inputs.copy()
    inputs.flags.writeable = False
    engine.run(inputs)
    np.testing.assert_array_equal(inputs, before)


def test_the_inputs_need_not_be_contiguous(engine, reference, tolerance):
    inputs = some_rows(18)[::2, ::-1]
    assert_close(engine.run(inputs), reference(inputs.copy()), tolerance)


def test_a_row_that_is_not_a_number_leaves_its_neighbours_alone(engine, reference, tolerance):
    inputs = some_rows(9)
    expected = reference(inputs)
    inputs[4] = np.nan
    outputs = engine.run(inputs)
    assert np.isnan(outputs["scores"][4]).all()
    others = np.arange(9) != 4
    assert_close({n: o[others] for n, o in outputs.items()}, {n: o[others] for n, o in expected.items()}, tolerance)


@pytest.mark.parametrize("shape", [(6, 40), (0, 6, 40), (2, 6, 41), (2, 40, 6), (2, 6, 40, 1), ()])
def test_inputs_of_the_wrong_shape_are_refused_with_both_shapes(engine, shape):
    with pytest.raises(EngineFailed, match=r"takes inputs of shape \(rows ≥ 1, 6, 40\), not ") as refusal:
        engine.run(np.zeros(shape, np.float32))
    assert str(shape) in str(refusal.value)


@pytest.mark.parametrize("inputs", [np.zeros((2, *ROW_SHAPE)), np.zeros((2, *ROW_SHAPE)).tolist()])
def test_inputs_of_the_wrong_type_are_refused(engine, inputs):
    with pytest.raises(EngineFailed, match=r"takes float32, not (float64|list)"):
        engine.run(inputs)


def test_calls_from_several_threads_get_their_own_answers(engine, reference, tolerance):
    batches = [some_rows(1 + seed % 12, seed) for seed in range(24)]
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(engine.run, batches))
    for batch, answer in zip(batches, answers, strict=True):
        assert_close(answer, reference(batch), tolerance)


def test_warming_up_changes_no_answer(engine, reference, tolerance):
    for count in (1, 24):
        engine.warm_up(count)
    assert_close(engine.run(some_rows(5)), reference(some_rows(5)), tolerance)


def test_a_closed_engine_says_so_and_may_be_closed_again(engine):
    engine.close()
    engine.close()
    with pytest.raises(EngineFailed, match="closed"):
        engine.run(some_rows(1))


def test_closing_under_a_running_call_neither_crashes_nor_hangs(engine):
    started, ends = threading.Event(), []

    def run_until_closed():
        while True:
            try:
                engine.run(some_rows(24))
            except EngineFailed as error:
                ends.append(error)
                return
            started.set()

    thread = threading.Thread(target=run_until_closed)
    thread.start()
    assert started.wait(PATIENCE_S)
    engine.close()
    thread.join(PATIENCE_S)
    assert "closed" in str(ends[0])


@pytest.mark.parametrize("name", each_engine(but=["openvino-bf16", *ON_GPUS]))
def test_a_library_that_fails_while_running_is_wrapped_and_goes_on_afterwards(name, tmp_path):
    opened = open_engine(name, write_sevens(tmp_path), EngineOptions(threads=2))
    with pytest.raises(EngineFailed, match=f"{name} failed") as failure:
        opened.run(np.ones((9, 2), np.float32))
    assert failure.value.__cause__ is not None
    assert opened.run(np.ones((7, 2), np.float32))["sevens"].shape == (7, 2)
    opened.close()


def test_a_module_that_fails_is_wrapped_with_its_cause():
    class Raising:
        def eval(self):
            return self

        def __call__(self, rows):
            raise ZeroDivisionError("in the module")

    with pytest.raises(EngineFailed, match="torch failed: in the module") as failure:
        TorchEngine(Raising(), OUTPUTS).run(some_rows(1))
    assert isinstance(failure.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("name", each_engine(but=["openvino-bf16", *ON_GPUS]))
def test_a_file_that_is_no_graph_makes_the_engine_unavailable(name, tmp_path):
    path = tmp_path / "network.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(EngineUnavailable, match=f"{name} cannot open .*network.onnx") as refusal:
        open_engine(name, path, EngineOptions(threads=1))
    assert refusal.value.__cause__ is not None


SIGNALLED = """
import ctypes, gc, signal, sys
from pathlib import Path
from engines.openvino_engine import OpenVinoEngine
from engines.options import EngineOptions

class Stack(ctypes.Structure):
    _fields_ = [("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

def mapped(address):
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(part, 16) for part in line.split()[0].split("-"))
        if first <= address < last:
            return "w" in line.split()[1]
    return False

engines = [OpenVinoEngine(Path(sys.argv[1]), EngineOptions(threads=1)) for _ in range(3)]
while engines:
    engines.pop(0).close()
    gc.collect()
stack = Stack()
ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
assert not stack.address or mapped(stack.address), "signals would be handled on memory that is gone"
signal.signal(signal.SIGTERM, lambda *_: print("SIGTERM was handled"))
signal.raise_signal(signal.SIGTERM)
"""


@needs_engine("openvino")
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: it reads /proc")
def test_a_signal_is_handled_after_engines_were_closed_in_any_order(graph):
    """OpenVINO's cores leave freed signal stacks behind: SIGTERM killed the process instead of ending it."""
    finished = subprocess.run(
        [sys.executable, "-c", SIGNALLED, str(graph)], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == "SIGTERM was handled\n"
