"""The tables of a report on the five diseases: how well they are told apart, thresholds, calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .alert_burden import AlertBurden, write_burden, write_predictive_values
from .bootstrap import Estimate
from .discrimination import OperatingPoint
from .measures import DiseaseMeasures
from .wording import figure, full, readable, table, with_interval

POINTS = {
    "family_wise": "the family-wise rate on development data, of alerts among people with none of the diseases",
    "sensitivity_90": "90 % sensitivity on development data",
    "specificity_95": "95 % specificity on development data",
}
RATES = ("sensitivity", "specificity", "PPV", "NPV")


def write_performance(diseases: Mapping[str, DiseaseMeasures], macro_auroc: Estimate) -> Iterator[str]:
    """Yield the table of cases, AUROC, AUPRC and the rates at which the bundle flags."""
    rows = [
        (
            readable(name),
            f"{found.discrimination.positives} ({100 * found.discrimination.prevalence:.1f} %)",
            full(found.discrimination.auroc),
            full(found.discrimination.auprc),
            *_flagging(found.flagging),
        )
        for name, found in diseases.items()
    ]
    headings = ("disease", "cases", "AUROC", "AUPRC", "threshold", *RATES, "scans per case")
    yield from table(headings, rows)
    yield ""
    yield f"Macro AUROC {full(macro_auroc)}. The threshold is the one at which the bundle flags."


def write_alerts(diseases: Mapping[str, DiseaseMeasures], burden: Mapping[str, AlertBurden]) -> Iterator[str]:
    """Yield the tables of all alerts together, and of the predictive values at prevalences that a ward may have."""
    yield from write_burden(burden)
    yield ""
    yield from write_predictive_values(
        {
            readable(name): (found.flagging.sensitivity, found.flagging.specificity)
            for name, found in diseases.items()
            if found.flagging
        }
    )


def write_operating_points(diseases: Mapping[str, DiseaseMeasures]) -> Iterator[str]:
    """Yield a table for each of the thresholds that were fixed on development data, where the bundle has them."""
    for point, meaning in POINTS.items():
        rows = [
            (
                readable(name),
                *_flagging(found.operating_points[point]),
                f"{100 * found.operating_points[point].flagged_share:.1f} %",
            )
            for name, found in diseases.items()
            if point in found.operating_points
        ]
        if rows:
            yield f"At the threshold of {meaning}:"
            yield ""
            yield from table(("disease", "threshold", *RATES, "scans per case", "flagged"), rows)
            yield ""


def write_calibration(diseases: Mapping[str, DiseaseMeasures]) -> Iterator[str]:
    """Yield the table of calibration."""
    rows = [_calibration_row(name, found) for name, found in diseases.items()]
    yield from table(("disease", "slope", "intercept", "in the large", "observed / expected", "Brier"), rows)
    yield ""
    yield "The best slope is 1, and the best intercept is 0. With a slope below 1, the probabilities are too extreme."


def _flagging(point: OperatingPoint | None) -> tuple[str, ...]:
    if point is None:
        return ("-",) * (len(RATES) + 2)
    return (
        f"{point.threshold:.3f}",
        with_interval(point.sensitivity, point.sensitivity_interval),
        with_interval(point.specificity, point.specificity_interval),
        with_interval(point.ppv, point.ppv_interval),
        with_interval(point.npv, point.npv_interval),
        figure(point.number_needed_to_image, 1),
    )


def _calibration_row(name: str, found: DiseaseMeasures) -> tuple[str, ...]:
    one = found.calibration
    return (
        readable(name),
        with_interval(one.calibration_slope, one.calibration_slope_interval),
        figure(one.calibration_intercept),
        figure(one.calibration_in_the_large),
        figure(one.observed_over_expected),
        figure(one.brier, 4),
    )
