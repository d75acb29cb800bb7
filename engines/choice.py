"""Checks every engine against the reference, times them on this machine, and remembers the fastest that passes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from schemas.errors import CardiacNetsError, EngineFailed, EngineMismatch, EngineUnavailable

from .catalog import ENGINES, find_entry, open_engine, usable_cores
from .choice_cache import recall_choice, remember_choice
from .protocol import Engine, Graph, Rows
from .torch_engine import TorchEngine

TIMED_ROWS = 24
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
    bfloat16's 8 bits of mantissa by about 1e-2; a wrong operator is off by far more than either bound.
    """

    float32: float = 1e-3
    bfloat16: float = 5e-2

    def of(self, name: str) -> float:
        """Return the tolerance for an engine of the catalog, or for the reference itself on another machine."""
        is_float32 = name == TorchEngine.name or find_entry(name).precision == "float32"
        return self.float32 if is_float32 else self.bfloat16


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


def time_engines(engines: Mapping[str, Engine], inputs: Rows, *, budget_s: float = BUDGET_S) -> dict[str, float]:
    """Return rows/s by engine: the median of rounds in which every engine has its turn.

    Other work on the machine slows a round for all engines alike, so their order holds where the figures do not.

    Args:
        engines: by name.
        inputs: float32 (rows, …), a batch as big as those to come.
        budget_s: no further round is begun after it, but for the first two.
    """
    deadline = time.perf_counter() + budget_s
    rates: dict[str, list[float]] = {name: [] for name in engines}
    for engine in engines.values():
        engine.warm_up(len(inputs))
    for done in range(TIMED_ROUNDS):
        if done >= MIN_ROUNDS and time.perf_counter() > deadline:
            break
        for name, engine in engines.items():
            rates[name].append(_rows_per_s(engine, inputs))
    return {name: median(figures) for name, figures in rates.items()}


def choose_engine(
    graph: Graph,
    probe: Probe,
    *,
    names: Sequence[str] = ENGINES,
    threads: int | None = None,
    rows: int = TIMED_ROWS,
    budget_s: float = BUDGET_S,
    tolerances: Tolerances | None = None,
    cache_dir: Path | None = None,
    remeasure: bool = False,
) -> Choice:
    """Return the fastest engine that agrees with the reference; a choice made before on this machine is remembered.

    Args:
        graph: the ONNX file, or its content.
        probe: what the reference answered.
        names: the engines to consider.
        threads: how many an engine may use; None: the cores this process may use.
        rows: the batch to time, as big as those to come.
        budget_s: as `time_engines` takes it.
        tolerances: how far an engine may be from the reference.
        cache_dir: where choices are remembered; None: the user's cache.
        remeasure: measure even if the choice is remembered.

    Raises:
        EngineMismatch: no engine passes; the sentence tells every engine's figures.
        EngineUnavailable: no engine could even be opened.
    """
    bounds, count = tolerances or Tolerances(), threads or usable_cores()
    circumstances = {"names": list(names), "threads": count, "rows": rows, "tolerances": msgspec.to_builtins(bounds)}
    if not remeasure:
        remembered = recall_choice(Choice, graph, circumstances, cache_dir)
        if remembered and remembered.name in names:
            return remembered
    choice = _measure(graph, probe, names, threads=count, rows=rows, budget_s=budget_s, tolerances=bounds)
    remember_choice(choice, graph, circumstances, cache_dir)
    return choice


def _measure(
    graph: Graph,
    probe: Probe,
    names: Sequence[str],
    *,
    threads: int,
    rows: int,
    budget_s: float,
    tolerances: Tolerances,
) -> Choice:
    differences: dict[str, dict[str, float]] = {}
    refused: dict[str, str] = {}
    passed: dict[str, Engine] = {}
    with ExitStack() as opened:
        for name in names:
            try:
                engine = opened.enter_context(_opened(name, graph, threads))
                engine.warm_up(rows)
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
        rates = time_engines(passed, _repeated(probe.inputs, rows), budget_s=budget_s)
    fastest = max(rates, key=rates.__getitem__)
    # JSON has no infinity; an engine whose answer was no number is among the refused.
    told = {name: found for name, found in differences.items() if all(map(math.isfinite, found.values()))}
    return Choice(name=fastest, rows_per_s=rates, differences=told, refused=refused, threads=threads)


@contextmanager
def _opened(name: str, graph: Graph, threads: int) -> Iterator[Engine]:
    engine = open_engine(name, graph, threads=threads)
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
