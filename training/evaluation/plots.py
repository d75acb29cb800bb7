"""The plots of the report, as PNG files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inference.phenotypes import MEASUREMENTS
from schemas.messages import DISEASES
from training.arrays import Floats

from .agreement import GROUPS
from .baselines import READABLE, MissingBaseline
from .bootstrap import Estimate
from .evaluation import Evaluation
from .measures import Measures
from .wording import full, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
"""Okabe and Ito's, told apart by the colour-blind; one a disease, and one a model."""
GREY = "#777777"
DPI = 130
AGREEMENT_SHOWN = ("LVEDV", "LVEF", "LVM")


def draw_plots(evaluation: Evaluation, folder: Path) -> dict[str, str]:
    """Draw every plot into the folder, and return the file names by the name of the plot."""
    plots: dict[str, Callable[[Evaluation], Figure]] = {
        "roc": _draw_roc,
        "precision_recall": _draw_precision_recall,
        "reliability": _draw_reliability,
        "decision_curves": _draw_decisions,
        "models": _draw_models,
        "phenotype_groups": _draw_groups,
        "bland_altman": _draw_bland_altman,
        "subgroups": _draw_subgroups,
    }
    names = {}
    for name, draw in plots.items():
        names[name] = f"{name}.png"
        draw(evaluation).savefig(folder / names[name], dpi=DPI)
    return names


def _draw_roc(evaluation: Evaluation) -> Figure:
    from sklearn.metrics import roc_curve

    figure, (axes,) = _figure(1, 1, (6.4, 6.2))
    for colour, name, probabilities, outcomes in _diseases(evaluation):
        false, true, _ = roc_curve(outcomes, probabilities)
        found = evaluation.measures.diseases[name]
        axes.plot(false, true, color=colour, label=f"{readable(name)}  {full(found.discrimination.auroc)}")
        if found.flagging:
            axes.plot(1 - found.flagging.specificity, found.flagging.sensitivity, "o", color=colour, markersize=7)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="1 − specificity", ylabel="sensitivity", title="ROC curves; dots: where the bundle flags")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.legend(loc="lower right", title="AUROC (95 % interval)")
    return figure


def _draw_precision_recall(evaluation: Evaluation) -> Figure:
    from sklearn.metrics import precision_recall_curve

    figure, (axes,) = _figure(1, 1, (6.4, 6.2))
    for colour, name, probabilities, outcomes in _diseases(evaluation):
        precision, recall, _ = precision_recall_curve(outcomes, probabilities)
        found = evaluation.measures.diseases[name].discrimination
        axes.plot(
            recall, precision, drawstyle="steps-post", color=colour, label=f"{readable(name)}  {full(found.auprc)}"
        )
        axes.axhline(found.prevalence, color=colour, linewidth=0.8, linestyle=":")
    axes.set(xlabel="sensitivity (recall)", ylabel="PPV (precision)", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set(title="Precision and recall; dotted: the prevalence, which chance reaches")
    axes.legend(loc="upper right", title="AUPRC (95 % interval)")
    return figure


def _draw_reliability(evaluation: Evaluation) -> Figure:
    figure, panels = _figure(2, 3, (11, 7))
    for axes, (colour, name, probabilities, _) in zip(panels, _diseases(evaluation), strict=False):
        found = evaluation.measures.diseases[name]
        curve, slope = found.reliability, found.calibration
        reach = 1.08 * max((*curve.predicted, *curve.observed, 0.01))
        axes.plot([0, reach], [0, reach], color=GREY, linewidth=0.8, linestyle=":")
        axes.plot(curve.predicted, curve.observed, "o-", color=colour)
        _draw_histogram(axes, probabilities, reach, colour)
        axes.set(xlim=(0, reach), ylim=(0, reach), xlabel="predicted probability", ylabel="observed share")
        axes.set_title(f"{readable(name)}\nslope {slope.calibration_slope:.2f}, Brier {slope.brier:.3f}", fontsize=10)
    return _without_rest(figure, panels, len(_diseases(evaluation)), "Reliability, by tenths of the patients")


def _draw_histogram(axes: Axes, probabilities: Floats, reach: float, colour: str) -> None:
    """Draw a histogram of the probabilities behind a curve."""
    behind = axes.twinx()
    behind.hist(probabilities, bins=np.linspace(0, reach, 31).tolist(), color=colour, alpha=0.15)
    behind.set(yticks=[])
    behind.set_ylim(0, 3 * behind.get_ylim()[1])


def _draw_decisions(evaluation: Evaluation) -> Figure:
    figure, panels = _figure(2, 3, (11, 7))
    for axes, (colour, name, _, outcomes) in zip(panels, _diseases(evaluation), strict=False):
        curve, prevalence = evaluation.measures.diseases[name].decision, float(outcomes.mean())
        axes.axhline(0, color="black", linewidth=0.8, label="image nobody")
        axes.plot(curve.thresholds, curve.everybody, color=GREY, linestyle="--", label="image everybody")
        axes.plot(curve.thresholds, curve.model, color=colour, label="image whom the model flags")
        axes.set(ylim=(-0.25 * prevalence, 1.1 * prevalence), xlim=(0, 0.5))
        axes.set(xlabel="threshold probability", ylabel="net benefit a patient")
        axes.set_title(f"{readable(name)}, prevalence {100 * prevalence:.1f} %", fontsize=10)
        axes.legend(fontsize=7.5, loc="upper right")
    return _without_rest(figure, panels, len(_diseases(evaluation)), "Decision curves")


def _draw_models(evaluation: Evaluation) -> Figure:
    models = _models(evaluation)
    figure, panels = _figure(1, 2, (11, 1.4 + 0.5 * len(models)))
    labels = [label for label, _ in models]
    _draw_forest(panels[0], labels, [measures.macro_auroc for _, measures in models], "macro AUROC of five diseases")
    _draw_forest(panels[1], labels, [measures.agreements.mean_r2 for _, measures in models], "mean R² of measurements")
    panels[1].set(yticklabels=[])
    return figure


def _draw_groups(evaluation: Evaluation) -> Figure:
    figure, (axes,) = _figure(1, 1, (11, 5))
    models = _models(evaluation)
    groups = [group for group in GROUPS if group in evaluation.measures.agreements.groups]
    width = 0.84 / len(models)
    for place, (label, measures) in enumerate(models):
        heights = [max(measures.agreements.groups[group], -0.2) for group in groups]
        centres = np.arange(len(groups)) + (place - (len(models) - 1) / 2) * width
        axes.bar(centres, heights, width, label=label, color=COLOURS[place % len(COLOURS)])
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(groups)), [group.replace(" ", "\n") for group in groups])
    axes.set(ylabel="mean R² (cut at −0.2)", title="How much of the measurements' variance is explained, by kind")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return figure


def _draw_bland_altman(evaluation: Evaluation) -> Figure:
    names = [measurement.name for measurement in MEASUREMENTS]
    shown = [name for name in AGREEMENT_SHOWN if name in evaluation.measures.agreements.phenotypes]
    figure, panels = _figure(1, len(AGREEMENT_SHOWN), (13, 4.6))
    for axes, name in zip(panels, shown, strict=False):
        found, place = evaluation.measures.agreements.phenotypes[name], names.index(name)
        estimated, measured = evaluation.predictions.phenotypes[:, place], evaluation.truth.phenotypes[:, place]
        axes.scatter((estimated + measured) / 2, estimated - measured, s=5, alpha=0.25, color=COLOURS[0], linewidths=0)
        for level, style in ((found.bias, "-"), (found.limits[0], "--"), (found.limits[1], "--")):
            axes.axhline(level, color=COLOURS[1], linestyle=style, linewidth=1.2)
        axes.set(xlabel=f"mean of ECG and CMR ({found.unit})", ylabel=f"ECG − CMR ({found.unit})")
        limits = f"{found.limits[0]:.1f} to {found.limits[1]:.1f}"
        axes.set_title(
            f"{name}: bias {found.bias:.1f}, limits {limits}\nMAE {found.mae:.1f}, R² {found.r2:.2f}", fontsize=10
        )
    return _without_rest(figure, panels, len(shown), "Bland-Altman: estimated from the ECG against CMR")


def _draw_subgroups(evaluation: Evaluation) -> Figure:
    rows = [
        (f"{attribute}: {group} (n = {found.records})", found)
        for attribute, groups in evaluation.subgroups.items()
        for group, found in groups.items()
    ]
    figure, panels = _figure(1, 2, (12, 1.4 + 0.36 * (len(rows) + 1)))
    labels = ["everybody", *(label for label, _ in rows)]
    whole = evaluation.measures
    aurocs = [whole.macro_auroc, *(found.macro_auroc for _, found in rows)]
    _draw_forest(panels[0], labels, aurocs, "macro AUROC")
    _draw_forest(panels[1], labels, [whole.agreements.mean_r2, *(found.mean_r2 for _, found in rows)], "mean R²")
    panels[1].set(yticklabels=[])
    return figure


def _draw_forest(axes: Axes, labels: Sequence[str], estimates: Sequence[Estimate], title: str) -> None:
    """Draw estimates with their intervals, one a line. The first is on top, and a line through all shows its value."""
    places = np.arange(len(labels))[::-1]
    for place, (value, low, high) in zip(places, estimates, strict=True):
        colour = COLOURS[0] if place == places[0] else "black"
        axes.plot([low, high], [place, place], color=colour, linewidth=1.6)
        axes.plot(value, place, "s", color=colour, markersize=6)
    axes.axvline(estimates[0].value, color=COLOURS[0], linewidth=0.8, linestyle=":")
    axes.set_yticks(places, labels)
    axes.set(ylim=(-0.6, len(labels) - 0.4), title=title)
    axes.grid(visible=True, axis="x", alpha=0.3)


def _diseases(evaluation: Evaluation) -> list[tuple[str, str, Floats, Floats]]:
    """Return colour, name, probabilities and outcomes of each disease that has both ill and well patients."""
    found: list[tuple[str, str, Floats, Floats]] = []
    for place, (colour, name) in enumerate(zip(COLOURS, DISEASES, strict=True)):
        outcomes = evaluation.truth.diseases[:, place]
        known = np.isfinite(outcomes)
        if len(np.unique(outcomes[known])) > 1:
            found.append((colour, name, evaluation.predictions.probabilities[known, place], outcomes[known]))
    return found


def _models(evaluation: Evaluation) -> list[tuple[str, Measures]]:
    """Return the model and the baselines that are not missing."""
    beside = evaluation.baselines.items()
    return [
        ("This model", evaluation.measures),
        *((READABLE[name], found.measures) for name, found in beside if not isinstance(found, MissingBaseline)),
    ]


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _without_rest(figure: Figure, panels: list[Any], used: int, title: str) -> Figure:
    for axes in panels[used:]:
        axes.set_visible(False)
    figure.suptitle(title)
    return figure
