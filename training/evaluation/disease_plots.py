"""The plots of a report on the five diseases: ROC, precision and recall, reliability, decision curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.messages import DISEASES
from training.arrays import Floats

from .measures import DiseaseMeasures
from .wording import full, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
"""Okabe and Ito's, told apart by the colour-blind; one a disease, and one a model."""
GREY = "#777777"
DPI = 130


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """What the plots are drawn from.

    Attributes:
        probabilities: (n, 5) in the order of `DISEASES`.
        outcomes: (n, 5) 0, 1, or NaN where it is not known.
    """

    diseases: Mapping[str, DiseaseMeasures]
    probabilities: Floats
    outcomes: Floats

    def shown(self) -> list[tuple[str, str, Floats, Floats]]:
        """Return colour, name, probabilities and outcomes of each disease that has both ill and well patients."""
        found: list[tuple[str, str, Floats, Floats]] = []
        for place, (colour, name) in enumerate(zip(COLOURS, DISEASES, strict=True)):
            outcomes = self.outcomes[:, place]
            known = np.isfinite(outcomes)
            if len(np.unique(outcomes[known])) > 1:
                found.append((colour, name, self.probabilities[known, place], outcomes[known]))
        return found


def draw_disease_plots(curves: Curves, folder: Path, suffix: str = "") -> dict[str, str]:
    """Draw the four plots into the folder, and return the file names by the name of the plot.

    Args:
        curves: what is drawn.
        folder: that is there.
        suffix: of the file names.
    """
    plots: dict[str, Callable[[Curves], Figure]] = {
        "roc": _draw_roc,
        "precision_recall": _draw_precision_recall,
        "reliability": _draw_reliability,
        "decision_curves": _draw_decisions,
    }
    names = {}
    for name, draw in plots.items():
        names[name] = f"{name}{suffix}.png"
        draw(curves).savefig(folder / names[name], dpi=DPI)
    return names


def new_figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Any]]:
    """Return a figure with its panels, row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def without_rest(figure: Figure, panels: list[Any], used: int, title: str) -> Figure:
    """Return the figure with its title, and without the panels that were not used."""
    for axes in panels[used:]:
        axes.set_visible(False)
    figure.suptitle(title)
    return figure


def _draw_roc(curves: Curves) -> Figure:
    from sklearn.metrics import roc_curve

    figure, (axes,) = new_figure(1, 1, (6.4, 6.2))
    for colour, name, probabilities, outcomes in curves.shown():
        false, true, _ = roc_curve(outcomes, probabilities)
        found = curves.diseases[name]
        axes.plot(false, true, color=colour, label=f"{readable(name)}  {full(found.discrimination.auroc)}")
        if found.flagging:
            axes.plot(1 - found.flagging.specificity, found.flagging.sensitivity, "o", color=colour, markersize=7)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="1 − specificity", ylabel="sensitivity", title="ROC curves; dots: where the bundle flags")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.legend(loc="lower right", title="AUROC (95 % interval)")
    return figure


def _draw_precision_recall(curves: Curves) -> Figure:
    from sklearn.metrics import precision_recall_curve

    figure, (axes,) = new_figure(1, 1, (6.4, 6.2))
    for colour, name, probabilities, outcomes in curves.shown():
        precision, recall, _ = precision_recall_curve(outcomes, probabilities)
        found = curves.diseases[name].discrimination
        axes.plot(
            recall, precision, drawstyle="steps-post", color=colour, label=f"{readable(name)}  {full(found.auprc)}"
        )
        axes.axhline(found.prevalence, color=colour, linewidth=0.8, linestyle=":")
    axes.set(xlabel="sensitivity (recall)", ylabel="PPV (precision)", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set(title="Precision and recall; dotted: the prevalence, which chance reaches")
    axes.legend(loc="upper right", title="AUPRC (95 % interval)")
    return figure


def _draw_reliability(curves: Curves) -> Figure:
    figure, panels = new_figure(2, 3, (11, 7))
    for axes, (colour, name, probabilities, _) in zip(panels, curves.shown(), strict=False):
        found = curves.diseases[name]
        curve, slope = found.reliability, found.calibration
        reach = 1.08 * max((*curve.predicted, *curve.observed, 0.01))
        axes.plot([0, reach], [0, reach], color=GREY, linewidth=0.8, linestyle=":")
        axes.plot(curve.predicted, curve.observed, "o-", color=colour)
        _draw_histogram(axes, probabilities, reach, colour)
        axes.set(xlim=(0, reach), ylim=(0, reach), xlabel="predicted probability", ylabel="observed share")
        axes.set_title(f"{readable(name)}\nslope {slope.calibration_slope:.2f}, Brier {slope.brier:.3f}", fontsize=10)
    return without_rest(figure, panels, len(curves.shown()), "Reliability, by tenths of the patients")


def _draw_histogram(axes: Axes, probabilities: Floats, reach: float, colour: str) -> None:
    """Draw a histogram of the probabilities behind a curve."""
    behind = axes.twinx()
    behind.hist(probabilities, bins=np.linspace(0, reach, 31).tolist(), color=colour, alpha=0.15)
    behind.set(yticks=[])
    behind.set_ylim(0, 3 * behind.get_ylim()[1])


def _draw_decisions(curves: Curves) -> Figure:
    figure, panels = new_figure(2, 3, (11, 7))
    for axes, (colour, name, _, outcomes) in zip(panels, curves.shown(), strict=False):
        curve, prevalence = curves.diseases[name].decision, float(outcomes.mean())
        axes.axhline(0, color="black", linewidth=0.8, label="image nobody")
        axes.plot(curve.thresholds, curve.everybody, color=GREY, linestyle="--", label="image everybody")
        axes.plot(curve.thresholds, curve.model, color=colour, label="image whom the model flags")
        axes.set(ylim=(-0.25 * prevalence, 1.1 * prevalence), xlim=(0, 0.5))
        axes.set(xlabel="threshold probability", ylabel="net benefit a patient")
        axes.set_title(f"{readable(name)}, prevalence {100 * prevalence:.1f} %", fontsize=10)
        axes.legend(fontsize=7.5, loc="upper right")
    return without_rest(figure, panels, len(curves.shown()), "Decision curves")
