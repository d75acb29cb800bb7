"""How figures, names and tables are written in reports."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from inference.bundle import Bundle

from .bootstrap import Estimate


def readable(name: str) -> str:
    """Return the name of a disease in words."""
    return name.replace("_", " ")


def with_interval(value: float, interval: tuple[float, float]) -> str:
    """Return a figure with its interval, a dash where there is none."""
    if math.isnan(value):
        return "-"
    between = " to " if interval[0] < 0 else "-"
    return f"{value:.3f} ({interval[0]:.3f}{between}{interval[1]:.3f})"


def figure(value: float, decimals: int = 2) -> str:
    """Return a figure, a dash where there is none."""
    return f"{value:.{decimals}f}" if math.isfinite(value) else "-"


def full(one: Estimate) -> str:
    """Return an estimate with its interval."""
    return with_interval(one.value, (one.low, one.high))


def signed(one: Estimate) -> str:
    """Return a difference with its interval, signs on all; a dash where there is none."""
    return "-" if math.isnan(one.value) else f"{one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f})"


def percent(one: Estimate) -> str:
    """Return a relative gain with its interval, a dash where there is none."""
    if math.isnan(one.value):
        return "-"
    return f"{100 * one.value:+.1f} % ({100 * one.low:+.1f} to {100 * one.high:+.1f} %)"


def mean_and_deviation(pair: tuple[float, float]) -> str:
    """Return a mean with its standard deviation."""
    return f"{figure(pair[0], 1)} ± {figure(pair[1], 1)}"


def count_and_share(pair: tuple[int, float]) -> str:
    """Return a count with its share in percent."""
    return f"{pair[0]} ({figure(100 * pair[1], 1)} %)"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table, all columns but the first to the right."""
    yield f"| {' | '.join(headings)} |"
    yield f"|{'|'.join(['---', *['---:'] * (len(headings) - 1)])}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def describe_calibration(bundle: Bundle) -> str:
    """Return a sentence on where the probabilities and thresholds of a bundle come from."""
    if all(head.calibration for head in bundle.manifest.diseases):
        return "Probabilities were calibrated and thresholds fixed on development data."
    return "Some or all probabilities are not calibrated, and their thresholds are placeholders."
