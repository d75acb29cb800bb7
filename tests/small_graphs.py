"""Small ONNX graphs that tests of engines write."""

import numpy as np


def write_abs(folder):
    """Write the graph y = |x|."""
    return _write(folder / "abs.onnx", [("Abs", ["x"], ["y"])], inputs="x", outputs="y")


def write_sum(folder):
    """Write the graph c = a + b."""
    return _write(folder / "sum.onnx", [("Add", ["a", "b"], ["c"])], inputs="ab", outputs="c")


def write_sevens(folder):
    """Write a graph whose operator refuses any number of rows that seven does not divide."""
    from onnx import TensorProto, helper, numpy_helper, save

    shape = numpy_helper.from_array(np.array([7, -1], np.int64), "shape")
    body = helper.make_graph(
        [helper.make_node("Reshape", ["rows", "shape"], ["sevens"])],
        "picky",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("sevens", TensorProto.FLOAT, [7, "m"])],
        [shape],
    )
    save(_model(body), folder / "picky.onnx")
    return folder / "picky.onnx"


def graph_of(nodes, *, row=(2,), inputs="x", weights=None, domain=None, of="FLOAT", **attributes):
    """Return the content of a graph with the output y; a node is an operator, its inputs, and its outputs.

    `of` is what the inputs are, and the attributes are every node's.
    """
    from onnx import TensorProto, helper, numpy_helper

    made = [
        helper.make_node(kind, ins, outs, name=f"{kind}_1", domain=domain, **attributes) for kind, ins, outs in nodes
    ]
    sources = [helper.make_tensor_value_info(name, TensorProto.DataType.Value(of), ["n", *row]) for name in inputs]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", *row])
    kept = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    return _model(helper.make_graph(made, "g", sources, [output], kept), domain).SerializeToString()


def _write(path, nodes, *, inputs, outputs):
    from onnx import TensorProto, helper, save

    made = [helper.make_node(*node) for node in nodes]
    sources, answers = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in names]
        for names in (inputs, outputs)
    )
    save(_model(helper.make_graph(made, "g", sources, answers)), path)
    return path


def _model(body, domain=None):
    from onnx import helper

    sets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(body, opset_imports=sets, ir_version=9)
