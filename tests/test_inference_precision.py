"""What a GPU's rounding changes of the answers, on the CPU: float16 by torch and ONNX Runtime, TF32 by rounding.

Neither is a GPU. torch's float16 on a CPU rounds what each layer gives, as a GPU's does; ONNX Runtime's computes most
operators in float32 between roundings. What a GPU itself gives is checked against the probe at every start.
"""

from contextlib import closing

import pytest
from needed import ECGS, needs_real_ecgs

from engines.choice import Probe, Tolerances, check_engine, find_mismatch
from engines.onnx_runtime import OnnxRuntimeEngine
from engines.options import EngineOptions
from engines.torch_engine import TorchEngine
from inference.bundle import default_bundle, load_bundle, load_probe
from inference.export import OUTPUTS, restore_network
from inference.open_engine_for_bundle import graphs_of
from inference.reading.find_ecgs import find_ecgs
from inference.reading.read_ecg import read_or_refuse
from inference.screener import Screener, Screening

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.exports

PROBABILITY, MOST_CHANGED = 2e-3, 0
"""How far a probability may be off, and how many real ECGs may be flagged otherwise."""
BATCH = 32


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(default_bundle())


def float16_of_onnx_runtime(bundle):
    return OnnxRuntimeEngine(graphs_of(bundle).float16, EngineOptions())


def float16_of_torch(bundle):
    from inference.models.half import HalfNetwork

    return TorchEngine(HalfNetwork(restore_network(bundle)), OUTPUTS)


def tf32_by_rounding(bundle):
    network = restore_network(bundle)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.weight.data = as_tf32(layer.weight.data)
            layer.register_forward_pre_hook(lambda _, inputs: tuple(map(as_tf32, inputs)))
    return TorchEngine(network, OUTPUTS)


def as_tf32(numbers):
    """Round the mantissas of float32 from 23 bits to 10, to the nearest."""
    bits = numbers.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


ENGINES = (float16_of_onnx_runtime, float16_of_torch, tf32_by_rounding)


def test_tf32_has_ten_bits_after_the_point():
    given = torch.tensor([1.0, 1 + 2**-10, 1 + 2**-12, -(1 + 3 * 2**-11)])
    assert as_tf32(given).tolist() == [1.0, 1 + 2**-10, 1.0, -(1 + 2 * 2**-10)]


@pytest.mark.parametrize("opened", ENGINES)
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
def test_less_precision_flags_the_same_real_ecgs(bundle):
    batches = prepared(bundle)  # an eighth of the ECGs: of all 548, no flag changes either, in six minutes
    with closing(OnnxRuntimeEngine(graphs_of(bundle).float32, EngineOptions())) as engine:
        expected = findings(bundle, engine, batches)
    assert len(expected) > 50
    for opened in ENGINES:
        with closing(opened(bundle)) as engine:
            found = findings(bundle, engine, batches)
        pairs = list(zip(found, expected, strict=True))
        differences = [
            abs(a.probability - b.probability) for one, two in pairs for a, b in zip(one.risks, two.risks, strict=True)
        ]
        changed = sum(one.flagged_diseases != two.flagged_diseases for one, two in pairs)
        print(f"{opened.__name__}: {len(found)} ECGs, probability {max(differences):.1e}, flags changed {changed}")
        assert max(differences) < PROBABILITY
        assert changed <= MOST_CHANGED


def prepared(bundle):
    """Return the real ECGs that the gate lets pass, in batches."""
    screener = Screener(bundle, engine=None)
    items = [read_or_refuse(path) for path in list(find_ecgs([ECGS]))[::8]]
    return [screener.prepare(items[start : start + BATCH]) for start in range(0, len(items), BATCH)]


def findings(bundle, engine, batches):
    """Return what an engine finds in each ECG."""
    screener = Screener(bundle, engine)
    answers = [answer for batch in batches for answer in screener.run(batch)]
    return [answer.finding for answer in answers if isinstance(answer, Screening)]
