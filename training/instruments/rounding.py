"""Figures as they are reported."""

from __future__ import annotations

import numpy as np

DECIMALS = 6
"""Decimals of each figure that is reported; the same data give the same JSON on any machine."""


def rounded(value: float | np.floating) -> float:
    """Return a figure as it is reported."""
    return round(float(value), DECIMALS)
