"""What a GPU's rounding changes of the answers, on the CPU: float16 by torch and ONNX Runtime, TF32 by rounding.

Neither is a GPU. torch's float16 on a CPU rounds what each layer gives, as a GPU's does; ONNX Runtime's computes most
operators in float32 between roundings. What a GPU itself gives is checked against the probe at every start.
"""

from contextlib import closing

import numpy as np
import pytest
from measure_precision import (
    WAYS,
    compare,
    float16_of_onnx_runtime,
    float16_of_torch,
    float32_from_signals,
    table,
    tf32_by_rounding,
    with_rounded_products,
)
from needed import ECGS, needs_real_ecgs
from small_graphs import graph_of

from engines.choice import Probe, Tolerances, check_engine, find_mismatch
from engines.onnx_runtime import OnnxRuntimeEngine
from engines.options import EngineOptions
from inference.bundle import default_bundle, load_bundle, load_probe
from inference.reading.find_ecgs import find_ecgs

pytest.importorskip("torch")
pytestmark = pytest.mark.exports

PROBABILITY, MOST_CHANGED = 2e-3, 0
"""How far a probability may be off, and how many real ECGs may be flagged otherwise."""
LOGIT_FROM_SIGNALS = 5e-5


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(default_bundle())


@pytest.mark.parametrize("place", ["both operands", "a constant"])
def test_tf32_has_ten_bits_after_the_point(place):
    numbers = np.array([1.0, 1 + 2**-10, 1 + 2**-12, -(1 + 3 * 2**-11)], np.float32)
    rounded = [1.0, 1 + 2**-10, 1.0, -(1 + 2 * 2**-10)]
    ones = np.eye(4, dtype=np.float32)
    given, kept = (numbers * ones, ones) if place == "both operands" else (ones, numbers * ones)
    graph = graph_of([("MatMul", ["x", "w"], ["y"])], row=(4,), weights={"w": kept})
    with closing(OnnxRuntimeEngine(with_rounded_products(graph), EngineOptions(threads=1))) as engine:
        assert np.diag(engine.run(given)["y"]).tolist() == rounded


@pytest.mark.parametrize("opened", [float16_of_onnx_runtime, float16_of_torch, tf32_by_rounding])
def test_the_shipped_network_in_less_precision_stays_within_its_tolerance_on_the_probe(bundle, opened):
    with closing(opened(bundle)) as engine:
        differences = check_engine(engine, load_probe(bundle))
    bounds = Tolerances()
    assert find_mismatch(differences, bounds.tf32 if opened is tf32_by_rounding else bounds.float16) is None
    assert max(differences.values()) > 1e-5  # it does round
    print(opened.__name__, {name: f"{worst:.1e}" for name, worst in differences.items()})


def test_a_network_whose_encoder_overflows_in_float16_does_not_pass(bundle):
    probe = load_probe(bundle)
    with closing(float16_of_torch(bundle)) as engine:
        differences = check_engine(engine, Probe(1e6 * probe.inputs, probe.expected))
    assert find_mismatch(differences, Tolerances().float16)


@needs_real_ecgs
def test_neither_less_precision_nor_preprocessing_in_the_graph_flags_other_real_ecgs(bundle):
    paths = list(find_ecgs([ECGS]))[::8]  # docs/gpu.md has the figures of all
    found = compare(bundle, paths, WAYS)
    print(table(found))
    for tally in found.values():
        assert tally.ecgs > 50
        assert tally.probability < PROBABILITY
        assert sum(tally.flags_changed.values()) <= MOST_CHANGED
    from_signals = found[float32_from_signals.__name__]
    assert 20 < from_signals.by_signals < from_signals.ecgs
    assert from_signals.logit < LOGIT_FROM_SIGNALS
