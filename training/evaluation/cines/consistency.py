"""Whether a drawn cine shows what is true of the patient, and what the report of the ECG says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.arrays import Floats
from training.cohort.layout import PHENOTYPES
from training.evaluation.bootstrap import Estimate, bootstrap, estimate
from training.instruments.left_ventricle import LeftVentricles

from .similarity import estimate_mean

MEASURED = {"lvef": "LVEF", "lvedv": "LVEDV", "wall_thickness": "LV_wall_thickness_global"}
"""What is measured on a cine, and the name of the report's phenotype."""
FEWEST = 3
UNKNOWN = Estimate(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True, slots=True)
class Consistency:
    """The consistency of one measurement on n cines, in its unit: %, mL, mm.

    Attributes:
        cines: number of cines on which it could be measured.
        r_truth, mae_truth, bias_truth: Pearson's correlation, mean absolute error and mean error against the heart.
        r_report, mae_report: against the report of the ECG.
    """

    cines: int
    r_truth: Estimate
    mae_truth: Estimate
    bias_truth: Estimate
    r_report: Estimate
    mae_report: Estimate


def check_consistency(
    measured: LeftVentricles, truth: Floats, reported: Floats, weights: NDArray[np.uint16]
) -> dict[str, Consistency]:
    """Return the consistency of LVEF, LVEDV and thickness of the wall.

    Args:
        measured: on n cines.
        truth, reported: (n, 82) phenotypes in the order of `PHENOTYPES`.
        weights: (draws, n) of the bootstrap.
    """
    values = {
        "lvef": measured.lvef_percent,
        "lvedv": measured.lvedv_ml,
        "wall_thickness": measured.thickness_mm,
    }
    places = {name: PHENOTYPES.index(phenotype) for name, phenotype in MEASURED.items()}
    return {
        name: _compare(values[name], truth[:, place], reported[:, place], weights) for name, place in places.items()
    }


def check_report(truth: Floats, reported: Floats, weights: NDArray[np.uint16]) -> dict[str, Consistency]:
    """Return how well the report agrees with the truth. A cine drawn from the ECG cannot show more of it."""
    places = {name: PHENOTYPES.index(phenotype) for name, phenotype in MEASURED.items()}
    return {
        name: _compare(reported[:, place], truth[:, place], reported[:, place], weights)
        for name, place in places.items()
    }


def _compare(values: Floats, truth: Floats, reported: Floats, weights: NDArray[np.uint16]) -> Consistency:
    seen = np.isfinite(values) & np.isfinite(truth) & np.isfinite(reported)
    values, truth, reported, weights = values[seen], truth[seen], reported[seen], weights[:, seen]
    return Consistency(
        cines=int(seen.sum()),
        r_truth=_correlation(values, truth, weights),
        mae_truth=_mean(np.abs(values - truth), weights),
        bias_truth=_mean(values - truth, weights),
        r_report=_correlation(values, reported, weights),
        mae_report=_mean(np.abs(values - reported), weights),
    )


def _mean(values: Floats, weights: NDArray[np.uint16]) -> Estimate:
    return estimate_mean(values, weights) if len(values) >= FEWEST else UNKNOWN


def _correlation(values: Floats, others: Floats, weights: NDArray[np.uint16]) -> Estimate:
    if len(values) < FEWEST:
        return UNKNOWN
    draws = bootstrap(lambda drawn: weighted_correlation(values, others, drawn), weights)
    return estimate(weighted_correlation(values, others, np.ones((1, len(values))))[0], draws)


def weighted_correlation(values: Floats, others: Floats, weights: Floats) -> Floats:
    """Return Pearson's correlation for each row of weights (draws, n); NaN where one side does not vary."""
    x, y = values - values.mean(), others - others.mean()
    total = weights.sum(axis=1)
    mean_x, mean_y = weights @ x / total, weights @ y / total
    spread_x, spread_y = weights @ x**2 / total - mean_x**2, weights @ y**2 / total - mean_y**2
    shared = weights @ (x * y) / total - mean_x * mean_y
    varies = (spread_x > 1e-9) & (spread_y > 1e-9)
    scale = np.sqrt(np.where(varies, spread_x * spread_y, 1))
    return np.asarray(np.where(varies, shared / scale, np.nan))
