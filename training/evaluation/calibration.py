"""How well probabilities are calibrated: slope, intercept, Brier score, reliability (Van Calster et al., 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from training.arrays import Floats
from training.instruments.rounding import rounded

from .bootstrap import interval

BINS = 10
CLIP = 1e-6
"""Probabilities are taken no closer to 0 or 1 than this, as far as reports carry them: a logit must be finite."""
SLOPE_DRAWS = 200
"""Of the bootstrap: each is a regression of its own."""
STEEPEST = 50.0
"""A slope beyond this means that the logits part the ill from the well wholly, so that there is no slope."""


@dataclass(frozen=True, slots=True)
class CalibrationMeasures:
    """How well the probabilities of one disease are calibrated.

    Attributes:
        calibration_slope, calibration_intercept: of the regression of the outcome on the logit; 1 and 0 are best.
        calibration_in_the_large: what must be added to every logit for the mean probability to equal the prevalence.
        observed_over_expected: ill patients over the sum of the probabilities.
    """

    brier: float
    calibration_slope: float
    calibration_slope_interval: tuple[float, float]
    calibration_intercept: float
    calibration_in_the_large: float
    observed_over_expected: float


@dataclass(frozen=True, slots=True)
class ReliabilityCurve:
    """The mean prediction and the mean outcome of each tenth of the patients, in the order of their probability."""

    predicted: tuple[float, ...]
    observed: tuple[float, ...]


def measure_calibration(probabilities: Floats, outcomes: Floats, weights: NDArray[np.uint16]) -> CalibrationMeasures:
    """Return how well calibrated probabilities are.

    Args:
        probabilities: (n,).
        outcomes: (n,) 0 or 1.
        weights: (draws, n); the first `SLOPE_DRAWS` are used.
    """
    from sklearn.metrics import brier_score_loss

    if not 0 < outcomes.sum() < len(outcomes):
        nothing = float("nan")
        return CalibrationMeasures(nothing, nothing, (nothing, nothing), nothing, nothing, nothing)
    slope, intercept = regress_on_logit(probabilities, outcomes)
    slopes = [regress_on_logit(probabilities, outcomes, drawn)[0] for drawn in weights[:SLOPE_DRAWS]]
    return CalibrationMeasures(
        brier=rounded(brier_score_loss(outcomes, probabilities)),
        calibration_slope=rounded(slope),
        calibration_slope_interval=interval(np.array(slopes)),
        calibration_intercept=rounded(intercept),
        calibration_in_the_large=rounded(shift_to_prevalence(probabilities, outcomes)),
        observed_over_expected=rounded(outcomes.sum() / np.maximum(probabilities.sum(), CLIP)),
    )


def regress_on_logit(
    probabilities: Floats, outcomes: Floats, weights: NDArray[np.uint16] | None = None
) -> tuple[float, float]:
    """Return slope and intercept of the unpenalised logistic regression of outcomes on the logits of probabilities.

    NaN where there is no such regression: all outcomes or all logits are alike, or the logits separate the outcomes.
    """
    from sklearn.linear_model import LogisticRegression

    counted = np.ones(len(outcomes), bool) if weights is None else weights > 0
    logits = _logits(probabilities)[counted]
    known = outcomes[counted]
    if np.ptp(known) == 0 or np.ptp(logits) == 0:
        return float("nan"), float("nan")
    regression = LogisticRegression(C=np.inf, solver="newton-cholesky", max_iter=50)
    if logits[known == 1].min() > logits[known == 0].max() or logits[known == 1].max() < logits[known == 0].min():
        return float("nan"), float("nan")
    regression.fit(logits[:, None], known, None if weights is None else weights[counted])
    slope = float(regression.coef_[0, 0])
    return (slope, float(regression.intercept_[0])) if abs(slope) < STEEPEST else (float("nan"), float("nan"))


def trace_reliability(probabilities: Floats, outcomes: Floats, bins: int = BINS) -> ReliabilityCurve:
    """Return the reliability curve over quantiles of the probabilities."""
    from sklearn.calibration import calibration_curve

    if not len(outcomes):
        return ReliabilityCurve((), ())
    observed, predicted = calibration_curve(outcomes, probabilities, n_bins=bins, strategy="quantile", pos_label=1)
    return ReliabilityCurve(tuple(map(rounded, predicted)), tuple(map(rounded, observed)))


def shift_to_prevalence(probabilities: Floats, outcomes: Floats) -> float:
    """Return what must be added to every logit for the mean probability to equal the share of the ill.

    Args:
        probabilities: (n,).
        outcomes: (n,) 0 or 1, of both kinds.
    """
    logits, prevalence = _logits(probabilities), outcomes.mean()
    return float(brentq(lambda shift: expit(logits + shift).mean() - prevalence, -40, 40))


def shift_logits(probabilities: Floats, shift: float) -> Floats:
    """Return the probabilities after all odds changed by one factor, so that the order stays."""
    return np.asarray(expit(_logits(probabilities) + shift))


def _logits(probabilities: Floats) -> Floats:
    return np.asarray(logit(np.clip(probabilities, CLIP, 1 - CLIP)))
