"""Checks every engine against the reference, times them on this machine, and remembers the fastest that passes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median

import msgspec
import numpy as np

from schemas.errors import CardiacNetsError, EngineFailed, EngineMismatch, EngineUnavailable

from .catalog import ENGINES, find_entry, open_engine, rows_wanted
from .choice_cache import recall_choice, remember_choice
from .options import EngineOptions
from .protocol import Engine, Graph, Graphs, Rows
from .torch_engine import TORCH_ENGINES

TIMED_ROUNDS = 5
MIN_ROUNDS = 2
ROUND_S = 0.15
BUDGET_S = 10.0


@dataclass(frozen=True, slots=True)
class Probe:
    """Inputs, and what the reference answered to them.

    Attributes:
        inputs: float32 (rows, …).
        expected: each output of the reference, by name.
    """

    inputs: Rows
    expected: Mapping[str, Rows]


class Tolerances(msgspec.Struct, frozen=True):
    """How far an engine may be from the reference: the absolute difference of any number of any output.

    Meant for outputs of order 1 (logits, z-scores, unit vectors). Other orders of summation differ by about 1e-6 there,
    TF32 by 2e-3, float16 by 6e-3, and bfloat16's 8 bits of mantissa by about 4e-2; a wrong operator is off by far more
    than any of the bounds.
    """

    float32: float = 1e-3
    tf32: float = 1e-2
    float16: float = 2e-2
    bfloat16: float = 5e-2

    def of(self, name: str) -> float:
        """Return the tolerance for an engine of the catalog, or for the reference itself on another machine."""
        precision = "float32" if name in TORCH_ENGINES else find_entry(name).precision
        bound: float = getattr(self, precision)
        return bound


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which engine to use on this machine, and why."""

    name: str
    rows_per_s: dict[str, float]
    """By engine, those that passed."""
    differences: dict[str, dict[str, float]]
    """The greatest absolute difference from the reference, by engine and output."""
    refused: dict[str, str]
    """Why the others were not considered."""
    threads: int


def check_engine(engine: Engine, probe: Probe) -> dict[str, float]:
    """Return the greatest absolute difference from the reference by output; infinite where they cannot be compared.

    Raises:
        EngineFailed: the engine raised.
    """
    outputs = engine.run(probe.inputs)
    return {name: _difference(outputs.get(name), expected) for name, expected in probe.expected.items()}


def find_mismatch(differences: Mapping[str, float], tolerance: float) -> str | None:
    """Return a sentence that says where an engine is beyond the tolerance, or None."""
    beyond = {name: worst for name, worst in differences.items() if not worst <= tolerance}
    if not beyond:
        return None
    figures = ", ".join(f"{name} by {worst:.3g}" for name, worst in beyond.items())
    return f"differs from the reference in {figures} (at most {tolerance:g} is allowed)"


def require_agreement(engine: Engine, probe: Probe, tolerances: Tolerances | None = None) -> dict[str, float]:
    """Check one engine of the catalog, where the choice is already made; return its differences.

    Raises:
        EngineMismatch: it is beyond the tolerance of its precision.
        EngineFailed: the engine raised.
    """
    differences = check_engine(engine, probe)
    if mismatch := find_mismatch(differences, (tolerances or Tolerances()).of(engine.name)):
        raise EngineMismatch(f"{engine.name} {mismatch}")
    return differences


def time_engines(
    engines: Mapping[str, Engine],
    inputs: Rows,
    *,
    rows: Mapping[str, int] | None = None,
    budget_s: float = BUDGET_S,
) -> dict[str, float]:
    """Return rows/s by engine: the median of rounds in which every engine has its turn.

    Other work on the machine slows a round for all engines alike, so their order holds where the figures do not.

    Args:
        engines: by name.
        inputs: float32 (rows, …).
        rows: the batch of each engine, as big as those to come: inputs are repeated or left out; None: all inputs.
        budget_s: no further round is begun after it, but for the first two.
    """
    deadline = time.perf_counter() + budget_s
    rates: dict[str, list[float]] = {name: [] for name in engines}
    batches = {name: _repeated(inputs, rows[name] if rows else len(inputs)) for name in engines}
    for name, engine in engines.items():
        engine.warm_up(len(batches[name]))
    for done in range(TIMED_ROUNDS):
        if done >= MIN_ROUNDS and time.perf_counter() > deadline:
            break
        for name, engine in engines.items():
            rates[name].append(_rows_per_s(engine, batches[name]))
    return {name: median(figures) for name, figures in rates.items()}


def choose_engine(
    graph: Graph | Graphs,
    probe: Probe,
    *,
    names: Sequence[str] = ENGINES,
    options: EngineOptions | None = None,
    rows: int | None = None,
    budget_s: float = BUDGET_S,
    tolerances: Tolerances | None = None,
    remeasure: bool = False,
) -> Choice:
    """Return the fastest engine that agrees with the reference; a choice made before on this machine is remembered.

    Args:
        graph: the ONNX file, or its content, or the graphs of several precisions.
        probe: what the reference answered.
        names: the engines to consider.
        options: what each engine is opened with, and where choices are remembered.
        rows: the batch to time, as big as those to come; None: as big as each engine's device wants.
        budget_s: as `time_engines` takes it.
        tolerances: how far an engine may be from the reference.
        remeasure: measure even if the choice is remembered.

    Raises:
        EngineMismatch: no engine passes; the sentence tells every engine's figures.
        EngineUnavailable: no engine could even be opened.
    """
    opening, bounds = options or EngineOptions(), tolerances or Tolerances()
    circumstances = {
        "names": list(names),
        "threads": opening.threads,
        "device": opening.device,
        "rows": rows,
        "tolerances": msgspec.to_builtins(bounds),
    }
    if not remeasure:
        remembered = recall_choice(Choice, graph, circumstances, opening.cache_folder)
        if remembered and remembered.name in names:
            return remembered
    choice = _measure(graph, probe, names, options=opening, rows=rows, budget_s=budget_s, tolerances=bounds)
    remember_choice(choice, graph, circumstances, opening.cache_folder)
    return choice


def _measure(
    graph: Graph | Graphs,
    probe: Probe,
    names: Sequence[str],
    *,
    options: EngineOptions,
    rows: int | None,
    budget_s: float,
    tolerances: Tolerances,
) -> Choice:
    differences: dict[str, dict[str, float]] = {}
    refused: dict[str, str] = {}
    passed: dict[str, Engine] = {}
    batches = {name: rows or rows_wanted(name) for name in names}
    with ExitStack() as opened:
        for name in names:
            try:
                engine = opened.enter_context(_opened(name, graph, options, batches[name]))
                engine.warm_up(batches[name])
                differences[name] = check_engine(engine, probe)
            except (EngineUnavailable, EngineFailed) as error:
                refused[name] = str(error)
                continue
            if mismatch := find_mismatch(differences[name], tolerances.of(name)):
                refused[name] = mismatch
            else:
                passed[name] = engine
        if not passed:
            raise _nothing_passes(refused, compared=bool(differences))
        rates = time_engines(passed, probe.inputs, rows=batches, budget_s=budget_s)
    fastest = max(rates, key=rates.__getitem__)
    # JSON has no infinity; an engine whose answer was no number is among the refused.
    told = {name: found for name, found in differences.items() if all(map(math.isfinite, found.values()))}
    return Choice(name=fastest, rows_per_s=rates, differences=told, refused=refused, threads=options.threads)


@contextmanager
def _opened(name: str, graph: Graph | Graphs, options: EngineOptions, rows: int) -> Iterator[Engine]:
    engine = open_engine(name, graph, msgspec.structs.replace(options, rows=rows))
    try:
        yield engine
    finally:
        engine.close()


def _nothing_passes(refused: Mapping[str, str], *, compared: bool) -> CardiacNetsError:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
    kind = EngineMismatch if compared else EngineUnavailable
    return kind(f"no engine can be used on this machine: {reasons}")


def _difference(output: Rows | None, expected: Rows) -> float:
    if output is None or output.shape != expected.shape:
        return float("inf")
    worst = float(np.max(np.abs(output - expected), initial=0.0))
    return worst if np.isfinite(worst) else float("inf")


def _rows_per_s(engine: Engine, inputs: Rows) -> float:
    started = time.perf_counter()
    runs = 0
    while (elapsed := time.perf_counter() - started) < ROUND_S:
        engine.run(inputs)
        runs += 1
    return runs * len(inputs) / elapsed


def _repeated(inputs: Rows, rows: int) -> Rows:
    return np.resize(inputs, (rows, *inputs.shape[1:]))
