"""Draws the calibration slopes of several diseases towards their mean. An uncertain slope is drawn further.

All heads learn at the same time on the same encoder, so their logits are about equally sure of themselves, and for a
rare disease the development fold alone says little. This is the random-effects estimate of DerSimonian and Laird,
Controlled Clinical Trials 1986, and its best linear predictions.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from training.arrays import Floats

FEWEST = 3
"""With fewer slopes, nobody can tell how much they really differ."""


def pool_slopes(slopes: Floats, errors: Floats) -> Floats:
    """Return slopes (n,) drawn towards their mean; `errors` (n,) are their standard errors."""
    if len(slopes) < FEWEST:
        return slopes
    weights = errors**-2
    mean = np.average(slopes, weights=weights)
    excess = float(weights @ (slopes - mean) ** 2) - (len(slopes) - 1)
    between = max(0.0, excess / float(weights.sum() - (weights**2).sum() / weights.sum()))
    mean = np.average(slopes, weights=1 / (errors**2 + between))
    kept = between / (errors**2 + between)
    return np.asarray(mean + kept * (slopes - mean))


def slope_error(logits: Floats, slope: float, bias: float) -> float:
    """Return the standard error of a logistic regression's slope on logits (n,), by the Fisher information."""
    probabilities = expit(slope * logits + bias)
    weights = probabilities * (1 - probabilities)
    centred = logits - np.average(logits, weights=weights)
    return float((weights @ centred**2) ** -0.5)
