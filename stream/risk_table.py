"""Risks in a terminal: short headings, one cell for each disease, and a note on the weights."""

from __future__ import annotations

from rich.text import Text

from schemas.messages import ModelReference, RiskReport

HEADINGS = {
    "coronary_artery_disease": "CAD",
    "cardiomyopathy": "CM",
    "heart_failure": "HF",
    "pulmonary_hypertension": "PH",
    "pericarditis": "PERI",
}
LEGEND = ", ".join(f"{short} {disease.replace('_', ' ')}" for disease, short in HEADINGS.items())


def risk_cells(report: RiskReport) -> list[Text]:
    """Return the probabilities in the order of the columns. A flagged probability is marked, not only coloured."""
    return [
        Text(f"▲ {risk.probability:.2f}", style="bold red") if risk.flagged else Text(f"{risk.probability:.2f}")
        for risk in report.risks
    ]


def weights_note(model: ModelReference) -> str:
    """Return a sentence about the weights, followed by a space."""
    return f"Weights: {model.weights}. " if model.trained else "The weights are untrained: the numbers mean nothing. "
