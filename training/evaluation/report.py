"""The report of an evaluation in Markdown, in the order of TRIPOD+AI (Collins et al., BMJ 2024), with plots.

The figures as JSON and a model card (Mitchell et al., 2019) lie beside the report.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engines.whole_file import write_whole
from engines.whole_json import write_json
from schemas.messages import NOTICE
from training.cohort.provenance import SIMULATED

from .baselines import READABLE
from .evaluation import Baseline, Evaluation, as_json
from .model_card import write_model_card
from .plots import draw_plots
from .real_ecgs import RealEcgFigures
from .report_methods import describe_source, describe_unseen, write_methods
from .report_results import write_results
from .wording import full, percent, signed

REPORT, FIGURES, MODEL_CARD = "report.md", "evaluation.json", "model_card.md"


def write_report(folder: Path, evaluation: Evaluation, real: RealEcgFigures | None) -> Path:
    """Write report, plots, figures and model card into a folder, and return the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = draw_plots(evaluation, folder)
    figures = {**as_json(evaluation), **({"real_ecgs": real} if real else {})}
    write_json(folder / FIGURES, figures)
    write_whole(folder / MODEL_CARD, write_model_card(evaluation, real).encode())
    sections = [
        *_summary(evaluation),
        *write_methods(evaluation),
        *write_results(evaluation, plots, real),
        *_limits(evaluation, real),
    ]
    write_whole(folder / REPORT, "\n".join([*sections, ""]).encode())
    return folder / REPORT


def _summary(evaluation: Evaluation) -> Iterator[str]:
    model, measures = evaluation.model, evaluation.measures
    yield f"# Screening 12-lead ECGs for five heart diseases and 82 CMR measurements: evaluation of {model.name}"
    yield ""
    yield f"> {NOTICE} Weights: {model.weights}. Model version {model.version}."
    if not model.trained:
        yield "> **The weights are untrained: every figure below is due to chance.**"
    yield ""
    yield "## Summary"
    yield ""
    yield (
        f"On {evaluation.cohort['evaluated']} ECGs of {evaluation.participants.everybody.patients} patients from a "
        f"{describe_source(evaluation)}, the macro AUROC of the five diseases is {full(measures.macro_auroc)}, and the "
        f"mean R² of the measurements is {full(measures.agreements.mean_r2)} (95 % intervals by a bootstrap over "
        f"patients). {describe_unseen(unseen=evaluation.unseen)}"
    )
    yield ""
    for name, baseline in evaluation.baselines.items():
        if isinstance(baseline, Baseline):
            yield f"- Against the baseline: {_against(name, baseline)}"
    yield ""


def _against(name: str, baseline: Baseline) -> str:
    lead = baseline.comparison
    return f"{READABLE[name]}: macro AUROC {signed(lead.macro_auroc_difference)}, mean R² {percent(lead.mean_r2_gain)}."


def _limits(evaluation: Evaluation, real: RealEcgFigures | None) -> Iterator[str]:
    yield from ("## Limitations", "")
    if evaluation.cohort["source"] == SIMULATED:
        yield (
            "- The patients are simulated, and so were the patients that the model learned from. The figures say that "
            "the method works where the simulation holds. They say nothing about a real clinic, where ECGs, diagnoses "
            "and errors are different."
        )
    if not evaluation.model.trained:
        yield "- The weights are untrained."
    yield f"- Weights: {evaluation.model.weights}. They are meant for demonstration, development and teaching."
    yield "- The diagnoses are labels, not adjudicated events. No patient was followed up."
    if real is not None:
        yield (
            "- The real ECGs are few and come from public data sets. For most of them, ethnicity, country and device "
            "are not known."
        )
    yield f"- {NOTICE} No clinical decision may rest on this model."
