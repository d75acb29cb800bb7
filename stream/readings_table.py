"""Rate, intervals and axes in a terminal: short headings, a cell for each, and what they mean."""

from __future__ import annotations

from inference.ecg_measurements import HEART_RATE, P_AXIS, PR, QRS, QRS_AXIS, QT, QTC, T_AXIS
from schemas.messages import RiskReport

READINGS = {
    HEART_RATE: "rate",
    PR: "PR",
    QRS: "QRS",
    QT: "QT",
    QTC: "QTc",
    P_AXIS: "P°",
    QRS_AXIS: "QRS°",
    T_AXIS: "T°",
}
READINGS_LEGEND = (
    "Rate in beats a minute; PR, QRS, QT and QTc (Fridericia) in ms; axes of P, QRS and T in degrees. "
    "A dash: not measurable; --json says why"
)


def reading_cells(report: RiskReport) -> list[str]:
    """Return the measurements in the order of the columns; a dash for each that has no value."""
    values = {one.name: one.value for one in report.ecg_measurements}
    return ["–" if (value := values.get(name)) is None else f"{value:.0f}" for name in READINGS]
