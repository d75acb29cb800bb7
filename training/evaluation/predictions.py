"""What a model answers to a cohort's ECGs. The ECGs go through the code that serves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from inference.bundle import Bundle
from inference.geometry import MICROVOLTS_PER_STEP, RECORDED_RATE_HZ
from inference.open_engine_for_bundle import open_float32_engine
from inference.phenotypes import MEASUREMENTS
from inference.reading.read_ecg import read_or_refuse
from inference.readout import Finding
from inference.screen_files import screen_sources
from inference.screener import Screener, Screening
from schemas.ecg_record import LEADS, EcgRecord
from schemas.errors import RecordError
from schemas.messages import DISEASES, EMBEDDING_SIZE, SUBTYPES
from training.arrays import Floats

Source = TypeVar("Source")

BATCH_RECORDS = 32


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """A model's answers to n records; NaN in the rows of records that it did not screen.

    Attributes:
        screened: (n,) whether the gate let the record pass and the network answered.
        refusals: how many records were not screened, by code.
        logits: (n, 5) averaged over crops, before calibration; None for a model without them.
        probabilities: (n, 5) calibrated, as reports carry them.
        phenotypes: (n, 82) in the units of `MEASUREMENTS`.
        subtype: (n, 3) probabilities, given a cardiomyopathy; None for a model without them.
        embedding: (n, 256) of length 1; None for a model without them.
    """

    screened: NDArray[np.bool_]
    refusals: dict[str, int]
    probabilities: Floats
    phenotypes: Floats
    logits: Floats | None = None
    subtype: Floats | None = None
    embedding: Floats | None = None

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Predictions:
        """Return the predictions of some rows, with the refusals of all rows."""
        optional = {
            name: None if values is None else values[rows]
            for name, values in (("logits", self.logits), ("subtype", self.subtype), ("embedding", self.embedding))
        }
        return Predictions(
            self.screened[rows], self.refusals, self.probabilities[rows], self.phenotypes[rows], **optional
        )


def predict_cohort(
    bundle: Bundle,
    ecgs: NDArray[np.int16],
    rows: NDArray[np.intp],
    *,
    progress: Callable[[int], object] = lambda _: None,
) -> Predictions:
    """Return a bundle's answers to some rows, in their order.

    Args:
        bundle: verified.
        ecgs: (…, 12, 5000) int16 as a cohort keeps them. A mapped array is read one ECG after the other.
        rows: (n,) of the ECGs.
        progress: called with the number of records done.

    Raises:
        EngineFailed: the engine failed for a whole batch.
        EngineUnavailable: no engine can be opened.
    """
    return _predict(bundle, range(len(rows)), lambda number: _record(number, ecgs[rows[number]]), progress)


def predict_files(
    bundle: Bundle, paths: Sequence[Path], *, progress: Callable[[int], object] = lambda _: None
) -> Predictions:
    """Return a bundle's answers to ECG files of any format. A file that cannot be read counts as refused.

    Raises:
        EngineFailed, EngineUnavailable: as for `predict_cohort`.
    """
    return _predict(bundle, paths, read_or_refuse, progress)


def _predict(
    bundle: Bundle,
    sources: Sequence[Source],
    read: Callable[[Source], EcgRecord | RecordError],
    progress: Callable[[int], object],
) -> Predictions:
    columns, refusals = _empty(len(sources)), Counter[str]()
    with closing(open_float32_engine(bundle)) as engine:
        answers = screen_sources(Screener(bundle, engine), sources, read, records_a_batch=BATCH_RECORDS)
        for row, (_, answer) in enumerate(answers):
            if isinstance(answer, Screening):
                _fill(columns, row, answer.finding)
            else:
                refusals[answer.error.wire_code] += 1
            progress(row + 1)
    return Predictions(screened=np.isfinite(columns["probabilities"][:, 0]), refusals=dict(refusals), **columns)


def _record(number: int, ecg: NDArray[np.int16]) -> EcgRecord:
    return EcgRecord(
        record_id=str(number),
        leads=LEADS,
        sample_rate_hz=float(RECORDED_RATE_HZ),
        microvolts_per_step=MICROVOLTS_PER_STEP,
        samples=np.asarray(ecg, "<i2").tobytes(),
    )


def _empty(n: int) -> dict[str, Floats]:
    sizes = {
        "logits": len(DISEASES),
        "probabilities": len(DISEASES),
        "phenotypes": len(MEASUREMENTS),
        "subtype": len(SUBTYPES),
        "embedding": EMBEDDING_SIZE,
    }
    return {name: np.full((n, size), np.nan) for name, size in sizes.items()}


def _fill(columns: dict[str, Floats], row: int, finding: Finding) -> None:
    columns["logits"][row] = finding.logits
    columns["probabilities"][row] = [risk.probability for risk in finding.risks]
    columns["phenotypes"][row] = [phenotype.value for phenotype in finding.phenotypes]
    columns["subtype"][row] = [finding.subtype[name] for name in SUBTYPES]
    columns["embedding"][row] = finding.embedding
