"""An engine of one's own: `python examples/custom_engine.py ecg.hea` screens a file with it.

It runs the network with ONNX's own reference evaluator, which is plain NumPy: slow, and a good second opinion. Needs
`pip install 'cardiacnets[serve]' onnx`.

`tests/test_examples_engine.py` runs the contract suite of all engines over it. An engine that `worker` and `compile`
should choose by themselves also needs an entry in `engines/catalog.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from engines.choice import Tolerances, check_engine, find_mismatch
from engines.protocol import Rows, check_inputs, wrapped_errors
from inference.bundle import default_bundle, load_bundle, load_probe
from inference.reading.read_ecg import read_or_refuse
from inference.screener import Screener, Screening
from schemas.errors import EngineFailed, EngineMismatch, EngineUnavailable

if TYPE_CHECKING:
    from onnx.reference import ReferenceEvaluator


class NumpyEngine:
    """The five members of `engines.protocol.Engine`: `name`, `output_names`, `run`, `warm_up`, `close`."""

    name = "numpy"

    def __init__(self, graph: Path, threads: int = 1) -> None:  # noqa: ARG002 - NumPy has threads of its own
        with wrapped_errors(EngineUnavailable, f"{self.name} cannot open {graph}"):
            from onnx import load
            from onnx.reference import ReferenceEvaluator

            model = load(graph)
            self._evaluator: ReferenceEvaluator | None = ReferenceEvaluator(model)
        (rows,) = model.graph.input
        _, *sizes = rows.type.tensor_type.shape.dim
        self._input_name = rows.name
        self._row_shape = [size.dim_value or None for size in sizes]
        self._lock = Lock()  # the evaluator keeps state: calls wait for each other
        self.output_names = tuple(output.name for output in model.graph.output)

    def run(self, inputs: Rows) -> dict[str, Rows]:
        """Return every output for every row; the caller owns the arrays."""
        check_inputs(self.name, inputs, self._row_shape)
        evaluator = self._evaluator
        if evaluator is None:
            raise EngineFailed(f"{self.name} was closed")
        with self._lock, wrapped_errors(EngineFailed, f"{self.name} failed"):
            outputs = evaluator.run(None, {self._input_name: inputs})
        return {name: output.copy() for name, output in zip(self.output_names, outputs, strict=True)}

    def warm_up(self, rows: int) -> None:
        """Do nothing: the first call is as fast as the others."""

    def close(self) -> None:
        """Let go of the network; a call that runs keeps it until its end."""
        self._evaluator = None


def main(files: list[Path]) -> None:
    """Check the engine against torch's answers in the bundle, then screen the files."""
    bundle = load_bundle(default_bundle())
    engine = NumpyEngine(bundle.graph)
    if mismatch := find_mismatch(check_engine(engine, load_probe(bundle)), Tolerances().float32):
        raise EngineMismatch(f"{engine.name} {mismatch}")
    answers = Screener(bundle, engine).screen([read_or_refuse(path) for path in files])
    for path, outcome in zip(files, answers, strict=True):
        if isinstance(outcome, Screening):
            risks = ", ".join(f"{risk.disease} {risk.probability:.2f}" for risk in outcome.finding.risks)
            print(f"{path}: {risks}")
        else:
            print(f"{path}: {outcome.error}")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
