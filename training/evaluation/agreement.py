"""How well measurements from the ECG agree with measurements by CMR: R², error, correlation, Bland-Altman."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.phenotypes import MEASUREMENTS
from training.arrays import Floats
from training.instruments.rounding import rounded

from .bootstrap import Estimate, bootstrap, estimate

LIMIT_DEVIATIONS = 1.96
FEWEST_PAIRS = 3
GROUPS: dict[str, slice] = {
    "left ventricle": slice(0, 6),
    "right ventricle": slice(6, 10),
    "atria": slice(10, 18),
    "aorta": slice(18, 24),
    "wall thickness": slice(24, 41),
    "circumferential strain": slice(41, 58),
    "radial strain": slice(58, 75),
    "longitudinal strain": slice(75, 82),
}
"""The 82 measurements by kind: their places."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of one measurement, in its unit.

    Attributes:
        r2: 1 - squared error / variance of the evaluated patients. Negative: worse than answering their mean.
        mae: mean absolute error.
        r: Pearson's correlation; NaN where either side does not vary.
        bias: mean of estimate - measurement.
        limits: of agreement, bias ± 1.96 standard deviations of the difference.
    """

    records: int
    unit: str
    r2: float
    mae: float
    r: float
    bias: float
    limits: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Agreements:
    """The agreement of all measurements.

    Attributes:
        phenotypes: by name, without those that nobody has measured.
        mean_r2: over them.
        groups: mean R² by kind.
    """

    phenotypes: dict[str, Agreement]
    mean_r2: Estimate
    groups: dict[str, float]


def agree(estimates: Floats, measured: Floats, weights: NDArray[np.uint16]) -> tuple[Agreements, Floats]:
    """Return the agreement of estimates with measurements, and the mean R² of each bootstrap draw.

    Args:
        estimates: (n, 82) in the units of `MEASUREMENTS`.
        measured: the same by CMR; NaN where it is not known.
        weights: (draws, n) of `draw_patients`.
    """
    known = np.isfinite(measured) & np.isfinite(estimates)
    usable = known.sum(axis=0) >= FEWEST_PAIRS
    phenotypes = {
        measurement.name: _agreement(
            estimates[known[:, place], place], measured[known[:, place], place], measurement.unit
        )
        for place, measurement in enumerate(MEASUREMENTS)
        if usable[place]
    }
    draws = bootstrap(lambda drawn: _mean(weighted_r2(estimates[:, usable], measured[:, usable], drawn)), weights)
    mean_r2 = _mean(np.array([[agreement.r2 for agreement in phenotypes.values()]]))[0]
    groups = {
        group: rounded(np.mean([phenotypes[m.name].r2 for m in MEASUREMENTS[places] if m.name in phenotypes]))
        for group, places in GROUPS.items()
        if usable[places].any()
    }
    return Agreements(phenotypes, estimate(mean_r2, draws), groups), draws


def weighted_r2(estimates: Floats, measured: Floats, weights: Floats) -> Floats:
    """Return `sklearn.metrics.r2_score` of each column for each row of weights; pairs with a NaN are left out.

    Args:
        estimates, measured: (n, k).
        weights: (draws, n).

    Returns:
        (draws, k); NaN where a column does not vary.
    """
    known = np.isfinite(measured) & np.isfinite(estimates)
    centre = np.array(
        [column[mask].mean() if mask.any() else 0.0 for column, mask in zip(measured.T, known.T, strict=True)]
    )
    truth = np.where(known, measured - centre, 0.0)  # centred, so that the difference of sums below keeps its digits
    errors = np.where(known, estimates - measured, 0.0)
    counts = weights @ known
    total = weights @ truth**2 - (weights @ truth) ** 2 / np.maximum(counts, 1)
    spread = total > 1e-12 * np.maximum((truth**2).sum(axis=0), 1e-300)
    return np.asarray(1 - np.divide(weights @ errors**2, total, out=np.full(total.shape, np.nan), where=spread))


def _agreement(estimates: Floats, measured: Floats, unit: str) -> Agreement:
    from scipy.stats import pearsonr
    from sklearn.metrics import mean_absolute_error, r2_score

    difference = estimates - measured
    bias, half = difference.mean(), LIMIT_DEVIATIONS * difference.std(ddof=1)
    vary = np.ptp(measured) > 0
    return Agreement(
        records=len(measured),
        unit=unit,
        r2=rounded(r2_score(measured, estimates)) if vary else float("nan"),
        mae=rounded(mean_absolute_error(measured, estimates)),
        r=rounded(pearsonr(estimates, measured).statistic) if vary and np.ptp(estimates) > 0 else float("nan"),
        bias=rounded(bias),
        limits=(rounded(bias - half), rounded(bias + half)),
    )


def _mean(r2: Floats) -> Floats:
    """Return the mean of each row without its NaN; NaN for rows of NaN."""
    known = np.isfinite(r2)
    counts = known.sum(axis=1)
    sums = np.where(known, r2, 0.0).sum(axis=1)
    return np.asarray(np.divide(sums, counts, out=np.full(len(r2), np.nan), where=counts > 0))
