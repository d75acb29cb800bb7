"""The report of an evaluation on an archive in Markdown, in the order of TRIPOD+AI (Collins et al., BMJ 2024).

The figures as JSON, a model card and plots lie beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engines.whole_file import write_whole
from engines.whole_json import write_json
from schemas.messages import NOTICE
from training.evaluation.disease_plots import Curves, draw_disease_plots
from training.evaluation.model_card import (
    NO_RULING_OUT,
    PREVALENCE_CAVEAT,
    describe_identity,
    describe_use,
    disease_lines,
)
from training.evaluation.report import FIGURES, MODEL_CARD, REPORT
from training.evaluation.wording import full

from .disease_figures import DiseaseFigures
from .evaluation import ALL, FIRST, ArchiveEvaluation, name_judged_folds
from .figures_as_json import as_json
from .layouts import MIMIC
from .report_methods import write_methods
from .report_results import write_results
from .superclass_figures import ABNORMAL, HIGHEST, SuperclassFigures

SUFFIXES = {FIRST: "", ALL: "_all_ecgs"}
"""Of the names of plots."""


def write_archive_report(folder: Path, evaluation: ArchiveEvaluation) -> Path:
    """Write report, plots, figures and model card into a folder, and return the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = {unit: _draw(evaluation, unit, folder) for unit in evaluation.figures}
    write_json(folder / FIGURES, as_json(evaluation))
    write_whole(folder / MODEL_CARD, ("\n".join(_model_card(evaluation)) + "\n").encode())
    sections = [
        *_summary(evaluation),
        *write_methods(evaluation),
        *write_results(evaluation, plots),
        *_limits(evaluation),
    ]
    write_whole(folder / REPORT, "\n".join([*sections, ""]).encode())
    return folder / REPORT


def _draw(evaluation: ArchiveEvaluation, unit: str, folder: Path) -> dict[str, str]:
    figures = evaluation.figures[unit]
    if isinstance(figures, SuperclassFigures):
        return {}
    outcomes = figures.sample.outcomes[:, : len(figures.diseases)]
    return draw_disease_plots(Curves(figures.diseases, figures.sample.probabilities, outcomes), folder, SUFFIXES[unit])


def _summary(evaluation: ArchiveEvaluation) -> Iterator[str]:
    model, layout = evaluation.bundle.reference, evaluation.labels.layout
    yield f"# Screening 12-lead ECGs for five heart diseases: evaluation of {model.name} on {layout.title}"
    yield ""
    yield f"> {NOTICE} Weights: {model.weights}. Model version {model.version}."
    if not model.trained:
        yield "> **The weights are untrained: every figure below is due to chance.**"
    for warning in evaluation.warnings:
        yield f"> **{warning}**"
    yield from ("", "## Summary", "")
    for sentence in summarise(evaluation):
        yield f"- {sentence}"
    yield ""


def summarise(evaluation: ArchiveEvaluation) -> Iterator[str]:
    """Yield a sentence for each way of counting ECGs."""
    where = name_judged_folds(evaluation.labels)
    for unit, words in ((FIRST, "the first ECG of each patient"), (ALL, "all ECGs")):
        figures = evaluation.figures[unit]
        whom = f"On {words} ({figures.records} ECGs of {figures.patients} patients, {where})"
        if isinstance(figures, DiseaseFigures):
            yield f"{whom}, the macro AUROC of the five diseases is {full(figures.macro_auroc)}."
            continue
        auroc = figures.contrasts[ABNORMAL].auroc.get(HIGHEST)
        ranked = full(auroc) if auroc else "not known, since there are too few ECGs of either kind"
        yield f"{whom}, the AUROC of the highest probability for an ECG that is not normal is {ranked}."


def _limits(evaluation: ArchiveEvaluation) -> Iterator[str]:
    yield from ("## Limitations", "")
    model, layout = evaluation.bundle.reference, evaluation.labels.layout
    if layout is MIMIC:
        yield (
            "- The diagnoses are billing codes of the stay in which the ECG was taken, not adjudicated events. A code "
            "may be older than the ECG, or younger. Whoever has no code may be ill."
        )
        yield "- The patients are those of one hospital in Boston. Its prevalences are not those of a screening."
        yield "- Cardiac MR was not taken, so no measurement is judged."
    else:
        yield (
            "- The superclasses are statements on ECGs and not diagnoses of patients. They are not the diseases that "
            "the model knows, so no threshold and no calibration is judged."
        )
    yield "- ECGs that were refused, and ECGs without labels, are in no figure. The account says how many there are."
    if not model.trained:
        yield "- The weights are untrained."
    yield f"- Weights: {model.weights}. They are meant for demonstration, development and teaching."
    yield f"- {NOTICE} No clinical decision may rest on this model."


def _model_card(evaluation: ArchiveEvaluation) -> Iterator[str]:
    yield from describe_identity(evaluation.bundle)
    yield from describe_use(evaluation.bundle)
    yield from ("## Performance", "")
    for sentence in summarise(evaluation):
        yield f"- {sentence}"
    figures = evaluation.figures[FIRST]
    if isinstance(figures, DiseaseFigures):
        yield from ("", f"On the first ECG of each patient of {evaluation.labels.layout.title}:", "")
        yield from disease_lines(figures.diseases)
    yield from ("", "`report.md` has more.", "", "## Caveats", "")
    for warning in evaluation.warnings:
        yield f"- {warning}"
    yield PREVALENCE_CAVEAT
    if groups := ", ".join(figures.subgroups):
        yield f"- The report has subgroups by {groups}. Ethnicity is not judged."
    yield NO_RULING_OUT
