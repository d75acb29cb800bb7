"""How well probabilities tell the ill from the well: AUROC, average precision, and rates at a fixed threshold."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.arrays import Floats
from training.instruments.rounding import rounded

from .bootstrap import Estimate, bootstrap, estimate, interval

NEEDED = "number_needed_to_image"


@dataclass(frozen=True, slots=True)
class Discrimination:
    """The discrimination of one disease, at the prevalence of the data.

    Attributes:
        auroc, auprc: NaN where there are no ill or no well patients.
    """

    records: int
    positives: int
    prevalence: float
    auroc: Estimate
    auprc: Estimate


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The rates of flagging at a threshold that was fixed beforehand; NaN for an empty group.

    Attributes:
        number_needed_to_image: flagged patients for one who is ill, 1 / PPV; infinite where no flagged patient is.
    """

    threshold: float
    flagged_share: float
    sensitivity: float
    sensitivity_interval: tuple[float, float]
    specificity: float
    specificity_interval: tuple[float, float]
    ppv: float
    ppv_interval: tuple[float, float]
    npv: float
    npv_interval: tuple[float, float]
    number_needed_to_image: float
    number_needed_to_image_interval: tuple[float, float]


def discriminate(scores: Floats, outcomes: Floats, weights: NDArray[np.uint16]) -> tuple[Discrimination, Floats]:
    """Return the discrimination of scores, and the AUROC of each bootstrap draw.

    Args:
        scores: (n,), higher for the ill.
        outcomes: (n,) 0 or 1.
        weights: (draws, n) of `draw_patients`.
    """
    once = np.ones((1, len(scores)))
    aurocs = bootstrap(lambda drawn: weighted_auroc(scores, outcomes, drawn), weights)
    auprcs = bootstrap(lambda drawn: weighted_average_precision(scores, outcomes, drawn), weights)
    found = Discrimination(
        records=len(scores),
        positives=int(outcomes.sum()),
        prevalence=rounded(outcomes.mean()) if len(outcomes) else float("nan"),
        auroc=estimate(weighted_auroc(scores, outcomes, once)[0], aurocs),
        auprc=estimate(weighted_average_precision(scores, outcomes, once)[0], auprcs),
    )
    return found, aurocs


def weighted_auroc(scores: Floats, outcomes: Floats, weights: Floats) -> Floats:
    """Return `sklearn.metrics.roc_auc_score` for each row of weights, all at once.

    A thousand draws by scikit-learn would sort the same scores a thousand times.

    Args:
        scores, outcomes: (n,).
        weights: (draws, n).

    Returns:
        (draws,); NaN where a draw has only ill or only well patients.
    """
    positives, negatives = _by_rising_score(scores, outcomes, weights)
    below = np.cumsum(negatives, axis=1) - negatives
    won = (positives * (below + negatives / 2)).sum(axis=1)
    return _ratio(won, positives.sum(axis=1) * negatives.sum(axis=1))


def weighted_average_precision(scores: Floats, outcomes: Floats, weights: Floats) -> Floats:
    """Return `sklearn.metrics.average_precision_score` for each row of weights; NaN without ill patients."""
    positives, negatives = (part[:, ::-1] for part in _by_rising_score(scores, outcomes, weights))
    hits = np.cumsum(positives, axis=1)
    precision = hits / np.maximum(hits + np.cumsum(negatives, axis=1), 1)
    return _ratio((positives * precision).sum(axis=1), positives.sum(axis=1))


def operate(probabilities: Floats, outcomes: Floats, threshold: float, weights: NDArray[np.uint16]) -> OperatingPoint:
    """Return the rates of flagging every probability that is not below the threshold."""
    flagged = probabilities >= threshold
    cells = np.stack([flagged & (outcomes == 1), flagged & (outcomes == 0), ~flagged & (outcomes == 1)], axis=1)
    cells = np.concatenate([cells, ~cells.any(axis=1, keepdims=True)], axis=1).astype(np.float64)
    values = _rates(cells.sum(axis=0, keepdims=True))
    draws = _rates(bootstrap(lambda drawn: np.asarray(drawn @ cells), weights))
    rates: dict[str, Any] = {name: rounded(value[0]) for name, value in values.items()}
    intervals: dict[str, Any] = {f"{name}_interval": interval(draws[name]) for name in values}
    intervals[f"{NEEDED}_interval"] = _reciprocal(intervals["ppv_interval"])
    return OperatingPoint(
        threshold=rounded(threshold),
        flagged_share=rounded(flagged.mean()) if len(flagged) else float("nan"),
        **rates,
        **intervals,
    )


def _rates(cells: Floats) -> dict[str, Floats]:
    """Return the rates of confusion matrices (draws, 4): true and false positives, false and true negatives."""
    hits, alarms, misses, passes = cells.T
    ppv = _ratio(hits, hits + alarms)
    with np.errstate(divide="ignore"):
        needed = 1 / ppv
    return {
        "sensitivity": _ratio(hits, hits + misses),
        "specificity": _ratio(passes, passes + alarms),
        "ppv": ppv,
        "npv": _ratio(passes, passes + misses),
        NEEDED: needed,
    }


def _reciprocal(ppv: tuple[float, float]) -> tuple[float, float]:
    """Return the interval of 1 / PPV. Its end is infinite where the PPV may be 0, which the draws would hide."""
    low, high = ppv
    return rounded(1 / high) if high else inf, rounded(1 / low) if low else inf


def _by_rising_score(scores: Floats, outcomes: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the weight of the ill and of the well at each distinct score, (draws, distinct) twice."""
    if not len(scores):
        return np.zeros((len(weights), 1)), np.zeros((len(weights), 1))
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)
    ordered = weights[:, order]
    ill = outcomes[order]
    return np.add.reduceat(ordered * ill, starts, axis=1), np.add.reduceat(ordered * (1 - ill), starts, axis=1)


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.asarray(np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0))
