"""ONNX Runtime on a GPU, as far as a machine without one shows: it refuses instead of running on the CPU."""

import numpy as np
import onnxruntime
import pytest
from small_graphs import write_abs, write_sevens, write_sum

from engines.nvidia import find_gpus
from engines.onnx_runtime import quiet_options
from engines.onnx_runtime_cuda import CUDA, BoundSession, open_onnx_runtime_cuda
from engines.options import EngineOptions
from schemas.errors import EngineUnavailable


def session_of(path):
    return onnxruntime.InferenceSession(str(path), quiet_options(1), providers=["CPUExecutionProvider"])


@pytest.mark.skipif(bool(find_gpus()), reason="needs a machine without a GPU")
@pytest.mark.parametrize("precision", ["float32", "tf32", "float16"])
def test_where_onnx_runtime_would_run_on_the_cpu_the_engine_of_the_gpu_is_refused(precision, tmp_path):
    with pytest.raises(EngineUnavailable) as refusal:
        open_onnx_runtime_cuda(write_abs(tmp_path), EngineOptions(threads=1, precision=precision))
    is_for_gpus = CUDA in onnxruntime.get_available_providers()
    assert ("would run on the CPU" if is_for_gpus else "is for processors") in str(refusal.value)
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in str(refusal.value)


def test_a_session_with_bound_memory_answers_only_the_size_that_was_prepared(tmp_path):
    bound = BoundSession("onnxruntime", session_of(write_abs(tmp_path)), "cpu", 0)
    bound.prepare(4)
    rows = -np.arange(8, dtype=np.float32).reshape(4, 2)
    first = bound.run(rows)["y"]
    np.testing.assert_array_equal(first, -rows)
    bound.run(3 * rows)
    np.testing.assert_array_equal(first, -rows)  # the caller's own
    with pytest.raises(KeyError):
        bound.run(rows[:3])
    bound.close()


def test_networks_of_several_inputs_and_outputs_of_another_number_of_rows_are_refused(tmp_path):
    with pytest.raises(EngineUnavailable, match="takes networks of one input"):
        BoundSession("onnxruntime-cuda", session_of(write_sum(tmp_path)), "cpu", 0)
    with pytest.raises(EngineUnavailable, match="only the number of rows is free: sevens is"):
        BoundSession("onnxruntime-cuda", session_of(write_sevens(tmp_path)), "cpu", 0)
