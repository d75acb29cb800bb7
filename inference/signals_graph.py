"""The network's graph with its preprocessing before it, for a GPU: signals in, answers out.

Nearly all that the preprocessing does is one product with a matrix (`preprocessing_matrix.py`). A crop is a piece of
the result, plus its edge patterns. It is standardised, and given to the network.

The product is in float32, whatever the network computes in: with factors of 10 bits, it would be off by 5e-3 of a
deviation. The graph is not kept in the bundle, because the matrix has 51 MB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engines.protocol import Graphs, MadeGraph
from schemas.ecg_record import LEADS
from schemas.errors import EngineUnavailable

from .bundle import Bundle
from .geometry import CROP_SAMPLES, RECORDED_SAMPLES
from .manifest import GRAPH, HALF_GRAPH
from .preprocessing_matrix import preprocessing_matrix
from .waveform import SPAN, STILL_MV, crop_offsets

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

SIGNALS = "signals"
SIGNALS_SHAPE = (len(LEADS), RECORDED_SAMPLES)
REVISION = 1
"""Another number for another preprocessing: what was compiled for the former one is stale then."""


def signals_graphs(bundle: Bundle) -> Graphs:
    """Return the graphs of a bundle that take signals: (records, 12, 5000) in mV, 10 s at 500 Hz.

    Their answers have the shapes (records, crops, …). A graph is put together when it is needed.
    """
    half = _made(bundle, HALF_GRAPH) if HALF_GRAPH in bundle.manifest.files else None
    return Graphs(_made(bundle, GRAPH), half)


def _made(bundle: Bundle, name: str) -> MadeGraph:
    n_crops = bundle.manifest.input.n_crops
    made_of = f"preprocessing {REVISION}, {n_crops} crops, network {bundle.manifest.files[name]}"
    fingerprint = hashlib.sha256(made_of.encode()).hexdigest()
    return MadeGraph(fingerprint, partial(_put_together, bundle, name, n_crops))


def _put_together(bundle: Bundle, name: str, n_crops: int) -> bytes:
    return put_preprocessing_before(bundle.read(name), n_crops)


def put_preprocessing_before(network: bytes, n_crops: int) -> bytes:
    """Return the graph of a network that takes signals in place of crops.

    Raises:
        EngineUnavailable: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise EngineUnavailable("the preprocessing of a GPU needs onnx: pip install onnx") from error
    model = onnx.load_model_from_string(network)
    before, after = _Part("prepare/"), _Part()
    crops = _prepare(before, n_crops)
    outputs = _answers_by_record(after, model, n_crops)
    _join(model, before, after, crops, outputs)
    return bytes(model.SerializeToString(deterministic=True))


class _Part:
    """Nodes and constants of a graph, in the order in which they were added.

    Args:
        prefix: of all their names, so that they are none of the network's.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        from onnx import helper

        name = self._prefix + output
        self.nodes.append(helper.make_node(operator, inputs, [name], name=f"{name}/node", **attributes))
        return name

    def keep(self, name: str, array: NDArray[Any]) -> str:
        """Add a constant, and return its name."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(array, self._prefix + name))
        return self._prefix + name


def _prepare(part: _Part, n_crops: int) -> str:
    """Add what `waveform.preprocess` does, and return the name of the crops, (records × crops, 12, 2250)."""
    offsets = crop_offsets(SPAN, n_crops)
    matrix, patterns = preprocessing_matrix(offsets)
    time = part.keep("time", np.array([-1], np.int64))
    # A constant does not pass the filters. Without the mean, float32 keeps its digits for the ECG.
    level = part.add("ReduceMean", [SIGNALS, time], "level", keepdims=1)
    centred = part.add("Sub", [SIGNALS, level], "without_level")
    product = part.add("MatMul", [centred, part.keep("preprocessing", matrix)], "product")
    kept = part.keep("patterns", patterns)

    def columns(name: str, start: int, stop: int) -> str:
        bounds = [part.keep(f"{name}/{end}", np.array([at], np.int64)) for end, at in (("from", start), ("to", stop))]
        return part.add("Slice", [product, *bounds, time], name)

    def crop(number: int, offset: int) -> str:
        first = SPAN + number * len(patterns)
        strengths = columns(f"strengths_{number}", first, first + len(patterns))
        edges = part.add("MatMul", [strengths, kept], f"edges_{number}")
        return part.add("Add", [columns(f"piece_{number}", offset, offset + CROP_SAMPLES), edges], f"crop_{number}")

    together = part.add("Concat", [crop(*place) for place in enumerate(offsets)], "crops_of_record", axis=1)
    shape = part.keep("shape_of_crops", np.array([-1, len(LEADS), CROP_SAMPLES], np.int64))
    return _standardise(part, part.add("Reshape", [together, shape], "filtered"))


def _standardise(part: _Part, crops: str) -> str:
    """Add what `waveform.standardise` does: a crop that does not vary is divided by infinity."""
    axes = part.keep("leads_and_time", np.array([1, 2], np.int64))
    mean = part.add("ReduceMean", [crops, axes], "mean", keepdims=1)
    centred = part.add("Sub", [crops, mean], "centred")
    squares = part.add("Mul", [centred, centred], "squares")
    deviation = part.add("Sqrt", [part.add("ReduceMean", [squares, axes], "power", keepdims=1)], "deviation")
    still, infinity = (part.keep(name, np.array(v, np.float32)) for name, v in (("still", STILL_MV), ("inf", np.inf)))
    varies = part.add("Greater", [deviation, still], "varies")
    return part.add("Div", [centred, part.add("Where", [varies, deviation, infinity], "divisor")], "crops")


def _answers_by_record(part: _Part, model: ModelProto, n_crops: int) -> list[ValueInfoProto]:
    """Add the last nodes: (records × crops, …) becomes (records, crops, …). Return the outputs."""
    from onnx import TensorProto, helper

    outputs = []
    for answer in model.graph.output:
        row = [axis.dim_value for axis in answer.type.tensor_type.shape.dim[1:]]
        shape = part.keep(f"{answer.name}/shape", np.array([-1, n_crops, *row], np.int64))
        part.add("Reshape", [_by_crop(answer.name), shape], answer.name)
        outputs.append(helper.make_tensor_value_info(answer.name, TensorProto.FLOAT, ["records", n_crops, *row]))
    return outputs


def _by_crop(answer: str) -> str:
    return f"{answer}/by_crop"


def _join(model: ModelProto, before: _Part, after: _Part, crops: str, outputs: Sequence[ValueInfoProto]) -> None:
    from onnx import TensorProto, helper

    graph = model.graph
    (source,) = graph.input
    new_names = {source.name: crops, **{output.name: _by_crop(output.name) for output in outputs}}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new_names.get(name, name) for name in names]
    nodes = [*before.nodes, *graph.node, *after.nodes]
    del graph.node[:], graph.input[:], graph.output[:]
    del graph.value_info[:]  # shapes by another number of rows; every library infers them anew
    graph.node.extend(nodes)
    graph.initializer.extend([*before.constants, *after.constants])
    graph.input.append(helper.make_tensor_value_info(SIGNALS, TensorProto.FLOAT, ["records", *SIGNALS_SHAPE]))
    graph.output.extend(outputs)
