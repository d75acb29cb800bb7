"""Rounds figures for reports."""

from __future__ import annotations

import numpy as np

DECIMALS = 6
"""Decimals of every reported figure, so that the same data give the same JSON on any machine."""


def rounded(value: float | np.floating) -> float:
    """Return a figure with the decimals of a report."""
    return round(float(value), DECIMALS)
