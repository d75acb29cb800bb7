"""`python tests/measure_precision.py`: what a GPU's ways of computing change of the answers to every real ECG.

Each way computes on the processor, by the graphs that a GPU is given, and is held against float32 with the processor's
preprocessing. TF32 is emulated: what every product of the graph takes is rounded to 10 bits after the point, to the
nearest. It takes ten minutes on two cores. Every ECG of ../shared/data/ecg is asked, the labelled ones apart.
"""

import argparse
import csv
import json
import tarfile
import tempfile
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from needed import ECGS

from engines.onnx_runtime import OnnxRuntimeEngine
from engines.options import EngineOptions
from engines.torch_engine import TorchEngine
from inference.bundle import default_bundle, load_bundle
from inference.export import OUTPUTS, restore_network
from inference.geometry import RECORDED_RATE_HZ, RECORDED_SAMPLES
from inference.open_engine_for_bundle import graphs_of
from inference.reading.find_ecgs import find_ecgs
from inference.reading.read_ecg import read_or_refuse
from inference.screener import Screener, Screening
from inference.signals_engine import SignalsEngine
from inference.signals_graph import signals_graphs
from schemas.ecg_record import EcgRecord

ARCHIVE = ECGS / "more" / "wfdb_code15_short.tar.xz"
BATCH = 32
SPLIT = np.float32(2**13 + 1)
"""x·SPLIT − (x·SPLIT − x) has 11 of the 24 bits of x: the leading one, and 10 after the point (Veltkamp, 1968)."""
PRODUCTS = ("MatMul", "Gemm")


def main():
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="take each n-th ECG")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(folder, filter="data")
        paths = list(find_ecgs([ECGS, Path(folder)]))[:: arguments.every]
        found = compare(load_bundle(default_bundle()), paths, WAYS)
    print(json.dumps({way: vars(tally) for way, tally in found.items()}) if arguments.json else table(found))


def float32(bundle):
    return OnnxRuntimeEngine(graphs_of(bundle).float32, EngineOptions())


def float16_of_onnx_runtime(bundle):
    return OnnxRuntimeEngine(graphs_of(bundle).float16, EngineOptions())


def float16_of_torch(bundle):
    from inference.models.half import HalfNetwork

    return TorchEngine(HalfNetwork(restore_network(bundle)), OUTPUTS)


def tf32_by_rounding(bundle):
    return OnnxRuntimeEngine(with_rounded_products(graphs_of(bundle).float32), EngineOptions())


def float32_from_signals(bundle):
    return from_signals(bundle, float32(bundle), signals_graphs(bundle).float32)


def float16_from_signals(bundle):
    return from_signals(bundle, float16_of_onnx_runtime(bundle), signals_graphs(bundle).float16)


def from_signals(bundle, crops, graph):
    return SignalsEngine(crops, OnnxRuntimeEngine(graph, EngineOptions()), bundle.manifest.input.n_crops)


WAYS = (float32_from_signals, float16_from_signals, float16_of_onnx_runtime, float16_of_torch, tf32_by_rounding)


def with_rounded_products(graph):
    """Return a graph whose products take numbers of 10 bits after the point."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_model_from_string(graph)
    model.graph.initializer.append(numpy_helper.from_array(SPLIT, "split"))
    nodes, rounded = [], {}
    for node in model.graph.node:
        for place, name in enumerate(node.input[:2] if node.op_type in PRODUCTS else ()):
            if name not in rounded:
                steps = [f"{name}/{step}" for step in ("scaled", "rest", "rounded")]
                rounded[name] = steps[-1]
                inputs = ([name, "split"], [steps[0], name], steps[:2])
                for operator, taken, given in zip(("Mul", "Sub", "Sub"), inputs, steps, strict=True):
                    nodes.append(helper.make_node(operator, taken, [given]))
            node.input[place] = rounded[name]
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()


@dataclass
class Tally:
    """What a way of computing changed."""

    ecgs: int = 0
    labelled: int = 0
    by_signals: int = 0
    logit: float = 0.0
    probability: float = 0.0
    flags_changed: dict[str, int] = field(default_factory=lambda: {"labelled": 0, "others": 0})
    changed: list[str] = field(default_factory=list)

    def count(self, name, is_labelled, found, expected):
        """Compare what was found in one ECG with what float32 finds."""
        self.ecgs += 1
        self.labelled += is_labelled
        self.logit = max(self.logit, float(np.abs(found.logits - expected.logits).max()))
        pairs = zip(found.risks, expected.risks, strict=True)
        self.probability = max(self.probability, *(abs(a.probability - b.probability) for a, b in pairs))
        if found.flagged_diseases != expected.flagged_diseases:
            self.flags_changed["labelled" if is_labelled else "others"] += 1
            self.changed.append(name)


def compare(bundle, paths, ways):
    """Return what each way changes of the answers to the ECGs that the gate lets pass."""
    labelled, tallies = labelled_names(), {way.__name__: Tally() for way in ways}
    with ExitStack() as stack:
        reference, *others = [
            Screener(bundle, stack.enter_context(closing(opened(bundle)))) for opened in (float32, *ways)
        ]
        for batch in batches(paths):
            items = [record for _, record in batch]
            expected = reference.screen(items)
            for screener, tally in zip(others, tallies.values(), strict=True):
                prepared = screener.prepare(items)
                tally.by_signals += len(prepared.accepted) * (prepared.inputs.shape[-1] == RECORDED_SAMPLES)
                for (path, _), one, two in zip(batch, screener.run(prepared), expected, strict=True):
                    assert isinstance(one, Screening) == isinstance(two, Screening)
                    if isinstance(one, Screening):
                        tally.count(path.stem, path.stem in labelled, one.finding, two.finding)
    return tallies


def batches(paths):
    """Yield batches of paths and records; those that can go by signals together."""
    read = [(path, read_or_refuse(path)) for path in paths]
    records = [(path, record) for path, record in read if isinstance(record, EcgRecord)]
    for way in (True, False):
        alike = [one for one in records if (fits(one[1])) == way]
        yield from (alike[start : start + BATCH] for start in range(0, len(alike), BATCH))


def fits(record):
    return record.sample_rate_hz == RECORDED_RATE_HZ and record.n_samples >= RECORDED_SAMPLES


def labelled_names():
    """Return the names of the 274 records that labels.csv lists."""
    with (ECGS / "labels.csv").open(newline="") as rows:
        return {Path(row["file"]).name for row in csv.DictReader(rows)}


def table(tallies):
    """Return the table in Markdown."""
    lines = [
        "| way | ECGs | from signals | a logit, at most | a probability | flags changed: labelled | others |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for way, tally in tallies.items():
        flags = tally.flags_changed
        lines.append(
            f"| {way} | {tally.ecgs} | {tally.by_signals} | {tally.logit:.1e} | {tally.probability:.1e} | "
            f"{flags['labelled']} of {tally.labelled} | {flags['others']} of {tally.ecgs - tally.labelled} |"
        )
    return "\n".join(
        [*lines, *(f"{way}: {', '.join(tally.changed)}" for way, tally in tallies.items() if tally.changed)]
    )


if __name__ == "__main__":
    main()
