"""How sure each measurement is: split conformal prediction on the development fold.

Of new people such as the model learned from, the interval `value ± half_width` holds the scan's value for 90 of 100,
whatever the distribution of the residuals. Flagged people have wider residuals, so they have a half-width of their own.

Source: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005 (Mondrian conformal prediction).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.manifest import Certainty
from training.arrays import Floats

COVERAGE = 0.9
FEWEST = 50
"""Residuals of a half-width. Of a group with fewer, the residuals of all are taken."""
LEAST_HALF_WIDTH = 1e-6


def fit_certainty(estimates: Floats, truths: Floats, flagged: NDArray[np.bool_]) -> list[Certainty | None]:
    """Return the certainty of each measurement; None where fewer than `FEWEST` people were measured.

    Args:
        estimates: (n, measurements) in the measurements' units, of development patients.
        truths: (n, measurements) of the scans; NaN where nobody measured.
        flagged: (n,) whether at least one disease is flagged.
    """
    return [_fit(*column, flagged) for column in zip(estimates.T, truths.T, strict=True)]


def _fit(estimates: Floats, truths: Floats, flagged: NDArray[np.bool_]) -> Certainty | None:
    known = np.isfinite(truths)
    if known.sum() < FEWEST:
        return None
    residuals, of_flagged = (truths - estimates)[known], flagged[known]
    spread = np.square(truths[known] - truths[known].mean()).sum()
    return Certainty(
        half_width=_half_width(residuals, ~of_flagged),
        half_width_flagged=_half_width(residuals, of_flagged),
        r2=round(float(1 - np.square(residuals).sum() / spread), 4) if spread > 0 else 0.0,
    )


def _half_width(residuals: Floats, chosen: NDArray[np.bool_]) -> float:
    sizes = np.sort(np.abs(residuals[chosen] if chosen.sum() >= FEWEST else residuals))
    place = min(int(np.ceil((len(sizes) + 1) * COVERAGE)), len(sizes)) - 1
    return max(round(float(sizes[place]), 4), LEAST_HALF_WIDTH)
