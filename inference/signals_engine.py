"""An engine that takes signals as well as crops: the GPU preprocesses what lasts 10 s at 500 Hz."""

from __future__ import annotations

import logging

import msgspec
import numpy as np

from engines.catalog import build_engine, find_entry, open_engine
from engines.choice import Probe, Tolerances, check_engine, find_mismatch
from engines.options import EngineOptions
from engines.plan_note import PlanNote
from engines.protocol import Engine, Rows
from engines.tensorrt_build import Progress
from engines.torch_engine import TORCH_ENGINES
from schemas.errors import EngineFailed, EngineMismatch, EngineUnavailable

from .bundle import Bundle
from .geometry import RECORDED_RATE_HZ, RECORDED_SAMPLES
from .signals_graph import SIGNALS_SHAPE, signals_graphs
from .waveform import SPAN, preprocess

log = logging.getLogger(__name__)


class SignalsEngine:
    """Two engines over one network, of which one preprocesses; see `Engine`.

    Args:
        crops: takes crops, (rows, 12, 2250).
        signals: takes signals, (records, 12, 5000), and answers (records, crops, …).
        n_crops: of a record.
    """

    def __init__(self, crops: Engine, signals: Engine, n_crops: int) -> None:
        self.name, self.output_names = crops.name, crops.output_names
        self._crops, self._signals, self._n_crops = crops, signals, n_crops

    def run(self, inputs: Rows) -> dict[str, Rows]:
        """Return every output for every crop: of crops that are given, or of signals in their order."""
        if np.shape(inputs)[1:] != SIGNALS_SHAPE:
            return self._crops.run(inputs)
        answers = self._signals.run(inputs)
        return {name: answer.reshape(-1, *answer.shape[2:]) for name, answer in answers.items()}

    def compare(self, probe: Probe) -> dict[str, float]:
        """Return by output how far answers to signals are from answers to the crops that the processor makes of them.

        Args:
            probe: its crops become the signals.
        """
        signals = signals_of(probe.inputs)
        crops = preprocess(signals, RECORDED_RATE_HZ, self._n_crops)
        expected = self._crops.run(crops.reshape(-1, *crops.shape[2:]))
        return check_engine(self, Probe(signals, expected))

    def warm_up(self, rows: int) -> None:
        """Warm both engines up, for so many crops."""
        self._crops.warm_up(rows)
        self._signals.warm_up(records_of(rows, self._n_crops))

    def close(self) -> None:
        """Close both engines."""
        self._signals.close()
        self._crops.close()


def records_of(rows: int, n_crops: int) -> int:
    """Return the records that a batch of so many crops stands for."""
    return max(1, rows // n_crops)


def preprocesses(name: str) -> bool:
    """Return whether an engine should preprocess: one of a GPU, whose float32 is not rounded to TF32."""
    if name in TORCH_ENGINES:
        return False
    entry = find_entry(name)
    return entry.device == "gpu" and entry.precision != "tf32"


def with_preprocessing(bundle: Bundle, engine: Engine, probe: Probe, options: EngineOptions) -> Engine:
    """Return an engine that preprocesses as well, where it should and can. Else return the engine as it is.

    The processor can always preprocess, so that what prevents the GPU from it is only logged.

    Args:
        bundle: of the engine.
        engine: agrees with the reference.
        probe: of the bundle.
        options: that the engine was opened with.
    """
    if not preprocesses(engine.name):
        return engine
    try:
        return open_preprocessing(bundle, engine, probe, options)
    except (EngineUnavailable, EngineMismatch, EngineFailed) as error:
        log.warning("the processor preprocesses for %s: %s", engine.name, error)
        return engine


def open_preprocessing(bundle: Bundle, engine: Engine, probe: Probe, options: EngineOptions) -> SignalsEngine:
    """Return the engine with one beside it that preprocesses, held against the processor's way.

    Raises:
        EngineUnavailable: it cannot be opened.
        EngineMismatch: it differs from the processor's way by more than the tolerance of its precision.
        EngineFailed: it failed.
    """
    n_crops = bundle.manifest.input.n_crops
    signals = open_engine(engine.name, signals_graphs(bundle), _for_records(options, n_crops))
    both = SignalsEngine(engine, signals, n_crops)
    try:
        _require_agreement(both, probe)
    except BaseException:
        signals.close()
        raise
    return both


def build_preprocessing(
    bundle: Bundle, name: str, options: EngineOptions, gpu: str | None, tell: Progress
) -> PlanNote | None:
    """Build the plan that preprocesses, beside the one of the network alone; None if the engine should not preprocess.

    Raises:
        EngineUnavailable: it cannot be built.
    """
    if not preprocesses(name):
        return None
    sized = _for_records(options, bundle.manifest.input.n_crops)
    return build_engine(name, signals_graphs(bundle), sized, gpu=gpu, tell=tell)


def _for_records(options: EngineOptions, n_crops: int) -> EngineOptions:
    """Return the options of an engine whose rows are records."""
    return msgspec.structs.replace(options, rows=records_of(options.rows, n_crops), smallest=1)


def _require_agreement(engine: SignalsEngine, probe: Probe) -> None:
    if mismatch := find_mismatch(engine.compare(probe), Tolerances().of(engine.name)):
        raise EngineMismatch(f"the preprocessing of {engine.name} {mismatch}")


def signals_of(crops: Rows) -> Rows:
    """Return 10 s at 500 Hz for each crop: mirrored at its ends, and resampled."""
    from scipy.signal import resample

    margin = (SPAN - crops.shape[-1]) // 2
    longer = np.pad(crops, ((0, 0), (0, 0), (margin, margin)), mode="reflect")
    return np.asarray(resample(longer, RECORDED_SAMPLES, axis=-1), np.float32)
