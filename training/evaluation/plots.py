"""The plots of the report, as PNG files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inference.phenotypes import MEASUREMENTS

from .agreement import GROUPS
from .baselines import READABLE, MissingBaseline
from .bootstrap import Estimate
from .disease_plots import COLOURS, DPI, Curves, draw_disease_plots, new_figure, without_rest
from .evaluation import Evaluation
from .measures import Measures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AGREEMENT_SHOWN = ("LVEDV", "LVEF", "LVM")


def draw_plots(evaluation: Evaluation, folder: Path) -> dict[str, str]:
    """Draw every plot into the folder, and return the file names by the name of the plot."""
    plots: dict[str, Callable[[Evaluation], Figure]] = {
        "models": _draw_models,
        "phenotype_groups": _draw_groups,
        "bland_altman": _draw_bland_altman,
        "subgroups": _draw_subgroups,
    }
    curves = Curves(evaluation.measures.diseases, evaluation.predictions.probabilities, evaluation.truth.diseases)
    names = draw_disease_plots(curves, folder)
    for name, draw in plots.items():
        names[name] = f"{name}.png"
        draw(evaluation).savefig(folder / names[name], dpi=DPI)
    return names


def _draw_models(evaluation: Evaluation) -> Figure:
    models = _models(evaluation)
    figure, panels = new_figure(1, 2, (11, 1.4 + 0.5 * len(models)))
    labels = [label for label, _ in models]
    _draw_forest(panels[0], labels, [measures.macro_auroc for _, measures in models], "macro AUROC of five diseases")
    _draw_forest(panels[1], labels, [measures.agreements.mean_r2 for _, measures in models], "mean R² of measurements")
    panels[1].set(yticklabels=[])
    return figure


def _draw_groups(evaluation: Evaluation) -> Figure:
    figure, (axes,) = new_figure(1, 1, (11, 5))
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
    figure, panels = new_figure(1, len(AGREEMENT_SHOWN), (13, 4.6))
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
    return without_rest(figure, panels, len(shown), "Bland-Altman: estimated from the ECG against CMR")


def _draw_subgroups(evaluation: Evaluation) -> Figure:
    rows = [
        (f"{attribute}: {group} (n = {found.records})", found)
        for attribute, groups in evaluation.subgroups.items()
        for group, found in groups.items()
    ]
    figure, panels = new_figure(1, 2, (12, 1.4 + 0.36 * (len(rows) + 1)))
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


def _models(evaluation: Evaluation) -> list[tuple[str, Measures]]:
    """Return the model and the baselines that are not missing."""
    beside = evaluation.baselines.items()
    return [
        ("This model", evaluation.measures),
        *((READABLE[name], found.measures) for name, found in beside if not isinstance(found, MissingBaseline)),
    ]
