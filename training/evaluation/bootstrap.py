"""The patient-level bootstrap: whole patients are drawn with replacement, all their ECGs with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from training.arrays import Floats
from training.instruments.rounding import rounded

Metric: TypeAlias = Callable[[Floats], Floats]
"""From weights (draws, n) to one figure, or one row of figures, a draw."""

DRAWS = 1000
INTERVAL = (0.025, 0.975)
CHUNK_WEIGHTS = 2**22
"""Weights worked on at a time: 32 MiB of float64."""


class Estimate(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def draw_patients(patient_ids: NDArray[np.str_], draws: int, seed: int) -> NDArray[np.uint16]:
    """Return how often each row counts in each draw (draws, rows): as often as its patient was drawn."""
    _, patient = np.unique(patient_ids, return_inverse=True)
    patients = int(patient.max(initial=-1)) + 1
    rng = np.random.default_rng(seed)
    weights = np.empty((draws, len(patient)), np.uint16)
    for draw in range(draws):
        weights[draw] = np.bincount(rng.integers(patients, size=patients), minlength=patients)[patient]
    return weights


def bootstrap(metric: Metric, weights: NDArray[np.uint16]) -> Floats:
    """Return the metric of each draw, in chunks that fit into memory: (draws, …)."""
    rows = max(1, CHUNK_WEIGHTS // max(1, weights.shape[1]))
    return np.concatenate(
        [metric(weights[start : start + rows].astype(np.float64)) for start in range(0, len(weights), rows)]
    )


def estimate(value: float | np.floating, draws: Floats) -> Estimate:
    """Return a figure with the percentile interval of its draws. Draws without the figure are left out."""
    return Estimate(rounded(value), *interval(draws))


def interval(draws: Floats) -> tuple[float, float]:
    """Return the percentile interval; NaN where no draw has the figure."""
    known = draws[np.isfinite(draws)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, INTERVAL)
    return rounded(low), rounded(high)
