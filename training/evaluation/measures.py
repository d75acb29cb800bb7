"""All figures of one model: the five diseases, the 82 measurements, the subtype; and how two models compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from inference.manifest import DiseaseHead
from schemas.messages import DISEASES, SUBTYPES
from training.arrays import Floats
from training.instruments.rounding import rounded

from .agreement import Agreements, agree
from .alert_burden import AlertBurden, measure_burden
from .bootstrap import Estimate, estimate
from .calibration import CalibrationMeasures, ReliabilityCurve, measure_calibration, trace_reliability
from .decision import DecisionCurve, draw_decision_curve
from .discrimination import Discrimination, OperatingPoint, discriminate, operate
from .predictions import Predictions
from .truth import Truth


@dataclass(frozen=True, slots=True)
class DiseaseMeasures:
    """The figures of one disease.

    Attributes:
        flagging: at the threshold at which the bundle flags; None for a model without thresholds.
        operating_points: by name, at the thresholds that were fixed on development data.
    """

    discrimination: Discrimination
    calibration: CalibrationMeasures
    reliability: ReliabilityCurve
    decision: DecisionCurve
    flagging: OperatingPoint | None
    operating_points: dict[str, OperatingPoint]


@dataclass(frozen=True, slots=True)
class SubtypeMeasures:
    """How often the kind of cardiomyopathy is right, among patients with a known kind.

    Attributes:
        confusion: rows are the true kinds, columns the likeliest ones, in the order of `SUBTYPES`.
    """

    records: int
    accuracy: float
    balanced_accuracy: float
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Measures:
    """The figures of one model."""

    diseases: dict[str, DiseaseMeasures]
    macro_auroc: Estimate
    agreements: Agreements
    subtype: SubtypeMeasures | None
    burden: dict[str, AlertBurden]
    """The alerts of all diseases together, by operating point; empty for a model without thresholds."""


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """The macro AUROC and the mean R² of each bootstrap draw, (draws,). Draw i has the same patients for all models."""

    macro_auroc: Floats
    mean_r2: Floats


@dataclass(frozen=True, slots=True)
class Comparison:
    """The model against another one on the same patients, by the paired bootstrap.

    Attributes:
        mean_r2_gain: relative to the other model: 0.1 is a tenth more.
    """

    macro_auroc_difference: Estimate
    mean_r2_difference: Estimate
    mean_r2_gain: Estimate


def measure(
    predictions: Predictions,
    truth: Truth,
    weights: NDArray[np.uint16],
    heads: tuple[DiseaseHead, ...] = (),
    *,
    slope_intervals: bool = True,
) -> tuple[Measures, Draws]:
    """Measure a model on records that it answered to.

    Args:
        predictions: of n records.
        truth: of the same.
        weights: (draws, n) of `draw_patients`.
        heads: of the bundle, with its thresholds.
        slope_intervals: whether the calibration slopes get intervals, for which hundreds of regressions are fitted.
    """
    diseases, macro, macro_draws = measure_diseases(
        predictions.probabilities, truth.diseases, weights, heads, slope_intervals=slope_intervals
    )
    agreements, r2_draws = agree(predictions.phenotypes, truth.phenotypes, weights)
    burden = measure_burden(predictions.probabilities, truth.diseases, heads, weights) if heads else {}
    found = Measures(diseases, macro, agreements, _measure_subtype(predictions, truth), burden)
    return found, Draws(macro_draws, r2_draws)


def measure_diseases(
    probabilities: Floats,
    outcomes: Floats,
    weights: NDArray[np.uint16],
    heads: tuple[DiseaseHead, ...] = (),
    *,
    slope_intervals: bool = True,
) -> tuple[dict[str, DiseaseMeasures], Estimate, Floats]:
    """Return the figures of each disease, the macro AUROC, and that of each draw.

    Args:
        probabilities: (n, 5) in the order of `DISEASES`.
        outcomes: (n, 5) 0, 1, or NaN where it is not known.
        weights: (draws, n) of `draw_patients`.
        heads: of the bundle, with its thresholds.
        slope_intervals: as for `measure`.
    """
    diseases: dict[str, DiseaseMeasures] = {}
    aurocs = []
    for place, disease in enumerate(DISEASES):
        head = next((head for head in heads if head.name == disease), None)
        diseases[disease], draws = _measure_disease(
            probabilities[:, place], outcomes[:, place], weights, head, slope_intervals=slope_intervals
        )
        aurocs.append(draws)
    macro, macro_draws = _macro(diseases, np.stack(aurocs, axis=1))
    return diseases, estimate(macro, macro_draws), macro_draws


def compare(model: tuple[Measures, Draws], other: tuple[Measures, Draws]) -> Comparison:
    """Return how much better a model is than another."""
    (mine, my_draws), (theirs, their_draws) = model, other
    auroc = mine.macro_auroc.value - theirs.macro_auroc.value
    r2, base = mine.agreements.mean_r2.value, theirs.agreements.mean_r2.value
    return Comparison(
        macro_auroc_difference=estimate(auroc, my_draws.macro_auroc - their_draws.macro_auroc),
        mean_r2_difference=estimate(r2 - base, my_draws.mean_r2 - their_draws.mean_r2),
        mean_r2_gain=estimate(float(_gain(np.array(r2), np.array(base))), _gain(my_draws.mean_r2, their_draws.mean_r2)),
    )


def as_entry(found: DiseaseMeasures) -> dict[str, object]:
    """Return the figures of one disease side by side, as JSON carries them."""
    flagging: Mapping[str, object] = asdict(found.flagging) if found.flagging else {}
    return {
        **asdict(found.discrimination),
        **asdict(found.calibration),
        **flagging,
        "operating_points": {name: asdict(point) for name, point in found.operating_points.items()},
        "reliability": asdict(found.reliability),
        "decision_curve": asdict(found.decision),
    }


def _measure_disease(
    probabilities: Floats,
    outcomes: Floats,
    weights: NDArray[np.uint16],
    head: DiseaseHead | None,
    *,
    slope_intervals: bool,
) -> tuple[DiseaseMeasures, Floats]:
    known = np.isfinite(outcomes)
    p, y, drawn = probabilities[known], outcomes[known], weights[:, known]
    discrimination, aurocs = discriminate(p, y, drawn)
    fixed = head.fixed_thresholds if head else {}
    measures = DiseaseMeasures(
        discrimination=discrimination,
        calibration=measure_calibration(p, y, drawn if slope_intervals else drawn[:0]),
        reliability=trace_reliability(p, y),
        decision=draw_decision_curve(p, y),
        flagging=operate(p, y, head.threshold, drawn) if head else None,
        operating_points={name: operate(p, y, threshold, drawn) for name, threshold in fixed.items()},
    )
    return measures, aurocs


def _macro(diseases: dict[str, DiseaseMeasures], draws: Floats) -> tuple[float, Floats]:
    """Return the mean AUROC of the diseases that have one, and that of each draw, NaN where a draw lacks one."""
    values = np.array([found.discrimination.auroc.value for found in diseases.values()])
    present = np.isfinite(values)
    if not present.any():
        return float("nan"), np.full(len(draws), np.nan)
    return float(values[present].mean()), draws[:, present].mean(axis=1)


def _measure_subtype(predictions: Predictions, truth: Truth) -> SubtypeMeasures | None:
    from sklearn.metrics import confusion_matrix, recall_score

    known = truth.subtypes >= 0
    if predictions.subtype is None or not known.any():
        return None
    true, likeliest = truth.subtypes[known], predictions.subtype[known].argmax(axis=1)
    recalls = recall_score(true, likeliest, labels=np.unique(true), average=None)
    return SubtypeMeasures(
        records=int(known.sum()),
        accuracy=rounded((true == likeliest).mean()),
        balanced_accuracy=rounded(np.mean(recalls)),
        confusion=tuple(map(tuple, confusion_matrix(true, likeliest, labels=range(len(SUBTYPES))).tolist())),
    )


def _gain(mine: Floats, theirs: Floats) -> Floats:
    """Return the relative gain; NaN where the other model explains nothing."""
    gain: Floats = np.divide(mine - theirs, theirs, out=np.full(np.shape(theirs), np.nan), where=theirs > 0)
    return gain
