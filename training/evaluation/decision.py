"""Decision curves: does imaging the flagged patients do more good than imaging all patients or nobody?

Source: Vickers and Elkin, Medical Decision Making 2006.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.arrays import Floats
from training.instruments.rounding import rounded

THRESHOLDS = tuple(round(0.01 * step, 2) for step in range(1, 51))
"""Probabilities from which a patient might be sent to CMR: from one needless scan in a hundred to one in two."""


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """Net benefit a patient: ill patients imaged, less well ones imaged, weighted by the odds of the threshold.

    Attributes:
        model, everybody: (thresholds,); imaging nobody has a net benefit of 0.
    """

    thresholds: tuple[float, ...]
    model: tuple[float, ...]
    everybody: tuple[float, ...]


def draw_decision_curve(
    probabilities: Floats, outcomes: Floats, thresholds: tuple[float, ...] = THRESHOLDS
) -> DecisionCurve:
    """Return the net benefit at each threshold.

    Args:
        probabilities: (n,) calibrated.
        outcomes: (n,) 0 or 1.
        thresholds: each in (0, 1).
    """
    cuts = np.array(thresholds)
    flagged = probabilities[None] >= cuts[:, None]
    return DecisionCurve(
        thresholds,
        _net_benefit(flagged, outcomes, cuts),
        _net_benefit(np.ones_like(flagged), outcomes, cuts),
    )


def _net_benefit(flagged: NDArray[np.bool_], outcomes: Floats, cuts: Floats) -> tuple[float, ...]:
    if not len(outcomes):
        return (float("nan"),) * len(cuts)
    ill, well = (flagged * outcomes).mean(axis=1), (flagged * (1 - outcomes)).mean(axis=1)
    return tuple(rounded(benefit) for benefit in ill - well * cuts / (1 - cuts))
