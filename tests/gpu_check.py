"""`make gpu-check`: what needs a GPU, in one command of under eight minutes, and one table of what was found.

Every engine of a GPU is built if it must be, held against the probe, timed, and put through the contract suite. Each
that preprocesses has a second row: from signals in millivolts, held against the processor's preprocessing. Then a stage
learns for some steps (`learning_speed.py`).
"""

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from engines.catalog import CATALOG, ENGINES, build_engine
from engines.choice import Tolerances, check_engine, find_mismatch
from engines.nvidia import find_gpus
from engines.options import EngineOptions
from engines.tensorrt_build import tell_nobody
from engines.torch_engine import TORCH_CUDA
from inference.bundle import default_bundle, load_bundle, load_probe
from inference.open_engine_for_bundle import graphs_of, open_unchecked
from inference.signals_engine import build_preprocessing, open_preprocessing, preprocesses, signals_of
from schemas.errors import CardiacNetsError

ON_GPUS = (TORCH_CUDA, *(name for name in ENGINES if CATALOG[name].device == "gpu"))
ROWS = (3, 24, 96, 384)
BUDGET_S = 1.0
"""Of one batch size of one engine."""
CONTRACT_S, LEARNING_LIMIT_S = 240, 100
LEARNING_FAILED = "learning:"
NO_GPU = "this machine shows no NVIDIA GPU (/proc/driver/nvidia is empty or absent): nothing was checked"


class Row(msgspec.Struct, kw_only=True):
    """What was found of an engine."""

    engine: str
    built_s: float | None = None
    opened_s: float | None = None
    difference: float | None = None
    records_per_s: dict[int, float] = {}
    lone_ms: float | None = None
    trouble: str = ""


def main() -> int:
    """Check, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=default_bundle(), help="the shipped one by default")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    gpus = find_gpus()
    if not gpus:
        print(NO_GPU)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        bundle = load_bundle(arguments.bundle)
        rows = [row for name in ON_GPUS for row in examine_both(name, bundle, Path(folder))]
    contract, learning = run_contract(), run_learning("--device", "cuda")
    if arguments.json:
        found = {"gpus": gpus, "engines": rows, "contract": contract, "learning": learning.splitlines()}
        print(msgspec.json.encode(found).decode())
    else:
        print(f"{', '.join(gpu.model for gpu in gpus)}, driver {gpus[0].driver}")
        print("\n".join(table(rows)))
        print(f"contract suite: {contract}")
        print(learning)
    failed = " failed" in contract or "passed" not in contract or LEARNING_FAILED in learning
    return int(failed or all(row.trouble for row in rows))


def examine_both(name, bundle, folder):
    """Yield what is found of an engine, and of its preprocessing where it should preprocess."""
    yield examine(name, bundle, folder)
    if preprocesses(name):
        yield examine_preprocessing(name, bundle, folder)


def examine(name, bundle, folder, rows=ROWS):
    """Return what is found of an engine; what prevents it is told, and the next engine has its turn."""
    row, options = Row(engine=name), EngineOptions(rows=max(rows), cache_folder=folder)

    def examined():
        if name in CATALOG and CATALOG[name].build:
            row.built_s = round(build_engine(name, graphs_of(bundle), options).built_s, 1)
        begun, probe = time.perf_counter(), load_probe(bundle)
        with closing(open_unchecked(bundle, name, options)) as engine:
            row.opened_s = round(time.perf_counter() - begun, 2)
            measure(engine, row, check_engine(engine, probe), probe.inputs, rows, 1, bundle.manifest.input.n_crops)

    return told(row, examined)


def examine_preprocessing(name, bundle, folder, rows=ROWS):
    """Return what is found of an engine that is given signals; `examine` has built the network alone."""
    row, options = Row(engine=f"{name}, from signals"), EngineOptions(rows=max(rows), cache_folder=folder)

    def examined():
        if CATALOG[name].build:
            row.built_s = round(build_preprocessing(bundle, name, options, None, tell_nobody).built_s, 1)
        begun, probe, n_crops = time.perf_counter(), load_probe(bundle), bundle.manifest.input.n_crops
        with closing(open_preprocessing(bundle, open_unchecked(bundle, name, options), probe, options)) as engine:
            row.opened_s = round(time.perf_counter() - begun, 2)
            measure(engine, row, engine.compare(probe), signals_of(probe.inputs), rows, n_crops, n_crops)

    return told(row, examined)


def told(row, examined):
    """Return the row after the examination, with what prevented it."""
    try:
        examined()
    except CardiacNetsError as error:
        row.trouble = str(error)
    return row


def measure(engine, row, differences, inputs, rows, crops_of_row, n_crops):
    """Note how far an engine is from the reference, how quick it is, and how long a lone record takes."""
    row.difference = max(differences.values())
    row.trouble = find_mismatch(differences, Tolerances().of(engine.name)) or ""
    for count in rows:
        seconds = turns(engine, np.resize(inputs, (count // crops_of_row, *inputs.shape[1:])), count)
        row.records_per_s[count] = round(count / n_crops / median(seconds), 1)
        if count == n_crops:
            row.lone_ms = round(1e3 * median(seconds), 3)


def turns(engine, inputs, rows):
    """Return the seconds of each of many calls."""
    engine.warm_up(rows)
    engine.run(inputs)
    seconds, until = [], time.perf_counter() + BUDGET_S
    while not seconds or time.perf_counter() < until:
        begun = time.perf_counter()
        engine.run(inputs)
        seconds.append(time.perf_counter() - begun)
    return seconds


def run_contract():
    """Return the last line that the contract suite and the cine generator's say, over the engines of a GPU alone."""
    suites = [str(Path(__file__).with_name(f"test_{name}.py")) for name in ("engines_contract", "inference_generator")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "cuda or tensorrt", *suites]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CONTRACT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"it did not end within {CONTRACT_S} s"
    return next((line for line in reversed(done.stdout.splitlines()) if " in " in line), "it said nothing")


def run_learning(*options):
    """Return what a process of its own says of learning: there no engine holds memory of the GPU."""
    command = [sys.executable, str(Path(__file__).with_name("learning_speed.py")), *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LEARNING_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"{LEARNING_FAILED} it did not end within {LEARNING_LIMIT_S} s"
    return f"{LEARNING_FAILED} {done.stderr.strip()[-500:]}" if done.returncode else done.stdout.strip()


def table(rows):
    """Yield the lines of the table, as Markdown: the documents take it as it is."""
    yield f"| engine | built, s | opened, s | difference | {' | '.join(f'{n} rows' for n in ROWS)} | one record, ms | |"
    yield "|---|" + "---:|" * (4 + len(ROWS)) + "---|"
    for row in rows:
        rates = [row.records_per_s.get(count) for count in ROWS]
        difference = None if row.difference is None else f"{row.difference:.1e}"
        cells = [row.built_s, row.opened_s, difference, *rates, row.lone_ms]
        yield f"| {row.engine} | {' | '.join('' if cell is None else str(cell) for cell in cells)} | {row.trouble} |"


if __name__ == "__main__":
    raise SystemExit(main())
