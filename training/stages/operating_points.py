"""Thresholds of calibrated probabilities, fixed on development data. A probability flags from its threshold on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inference.manifest import OperatingPoints
from training.arrays import Floats

ROUNDS = 40
"""Halvings of the share that is sought: finer than one person in any cohort."""
NOBODY = 1 - 1e-6
"""A threshold that flags nobody whom the development fold has. A threshold of 1 says that a head did not learn."""


def operating_points(probabilities: Floats, sick: NDArray[np.bool_]) -> OperatingPoints:
    """Return the highest threshold with 90 % sensitivity, and the lowest with 95 % specificity."""
    from sklearn.metrics import roc_curve

    if not len(probabilities):
        return OperatingPoints(sensitivity_90=0.5, specificity_95=0.5)
    if sick.all() or not sick.any():
        level = float(np.quantile(probabilities, 0.1 if sick.all() else 0.95))
        return OperatingPoints(sensitivity_90=level, specificity_95=level)
    false_share, true_share, thresholds = roc_curve(sick, probabilities, drop_intermediate=False)
    thresholds = np.minimum(thresholds, 1.0)  # the first is infinite: nobody is flagged
    return OperatingPoints(
        sensitivity_90=float(thresholds[np.argmax(true_share >= 0.9)]),
        specificity_95=float(thresholds[np.flatnonzero(false_share <= 0.05)[-1]]),
    )


def family_wise_thresholds(probabilities: Floats, labels: Floats, rate: float) -> list[float]:
    """Return the lowest thresholds at which at most a share of the people with no disease has at least one flag.

    Each disease's threshold flags the same share of the people without that disease, so no disease pays for another.
    A person of whom no disease is known, and of whom at least one is known to be absent, counts as one with none.

    Args:
        probabilities: (n, diseases), calibrated.
        labels: (n, diseases) 0, 1, or NaN where nobody knows.
        rate: the share, the family-wise rate of false alarms.
    """
    has_none = (labels == 0).any(axis=1) & ~(labels == 1).any(axis=1)
    columns = zip(probabilities.T, labels.T, strict=True)
    well, healthy = [np.sort(column[(label == 0) | has_none]) for column, label in columns], probabilities[has_none]
    low, high = 0.0, rate  # at the lower share the rate is kept; above `rate`, one disease alone would break it
    thresholds = _thresholds(well, low)
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        tried = _thresholds(well, middle)
        if (healthy >= np.array(tried)).any(axis=1).sum() <= rate * len(healthy):
            low, thresholds = middle, tried
        else:
            high = middle
    return thresholds


def _thresholds(well: Sequence[Floats], share: float) -> list[float]:
    return [_lowest_threshold(ascending, share) for ascending in well]


def _lowest_threshold(ascending: Floats, share: float) -> float:
    """Return the lowest of these probabilities from which on at most a share of them lies."""
    allowed = int(share * len(ascending))
    if allowed >= len(ascending):
        return float(ascending[0]) if len(ascending) else NOBODY
    first_too_low = ascending[len(ascending) - allowed - 1]
    above = ascending[np.searchsorted(ascending, first_too_low, side="right") :]
    return float(above[0]) if len(above) else float(min(NOBODY, (first_too_low + 1) / 2))
