"""Risks in a terminal: short headings, one cell for each disease, and a note on the weights."""

from __future__ import annotations

from rich.text import Text

from schemas.messages import ModelReference, Risk, RiskReport

HEADINGS = {
    "coronary_artery_disease": "CAD",
    "cardiomyopathy": "CM",
    "heart_failure": "HF",
    "pulmonary_hypertension": "PH",
    "pericarditis": "PERI",
}
NOT_ASSESSABLE = "n/a"
LEGEND = ", ".join(f"{short} {disease.replace('_', ' ')}" for disease, short in HEADINGS.items())
LEGEND += f", {NOT_ASSESSABLE} not assessable"


def risk_cells(report: RiskReport) -> list[Text]:
    """Return the probabilities in the order of the columns. A flagged probability is marked, not only coloured.

    A probability that may not be asked for is left out.
    """
    return [_cell(risk) for risk in report.risks]


def _cell(risk: Risk) -> Text:
    if not risk.is_assessable:
        return Text(NOT_ASSESSABLE, style="dim")
    return Text(f"▲ {risk.probability:.2f}", style="bold red") if risk.flagged else Text(f"{risk.probability:.2f}")


def weights_note(model: ModelReference) -> str:
    """Return a sentence about the weights, followed by a space."""
    return f"Weights: {model.weights}. " if model.trained else "The weights are untrained: the numbers mean nothing. "
