"""The tables of `cardiacnets evaluate --predictions`: what became of the ECGs, and what the answers are worth."""

from __future__ import annotations

from rich.table import Table

from schemas.messages import DISEASES, NOTICE
from stream.plain_console import PlainConsole
from training.evaluation.archives.anchors import ANCHORS
from training.evaluation.archives.disease_figures import DiseaseFigures, Shift
from training.evaluation.archives.evaluation import ArchiveEvaluation, name_judged_folds
from training.evaluation.archives.report_results import TITLES, account_rows
from training.evaluation.archives.superclass_figures import HIGHEST, NEAREST, SuperclassFigures
from training.evaluation.bootstrap import Estimate
from training.evaluation.wording import figure

from .evaluation_tables import show_estimate
from .output import new_table


def print_prediction_tables(found: ArchiveEvaluation) -> None:
    """Print the tables, and what must be known about the weights and the patients."""
    console = PlainConsole()
    model, labels = found.bundle.reference, found.labels
    console.print(
        f"{model.name} {model.version} ({model.weights}) on {labels.layout.title}, {name_judged_folds(labels)}",
        markup=False,
    )
    if not found.unseen:
        learned_from = found.bundle.manifest.trained_on
        console.print(
            f"It is not known whether the model learned from some of these patients ({learned_from}).", markup=False
        )
    console.print(_account_table(found), sep="\n\n")
    for unit, figures in found.figures.items():
        title = f"{TITLES[unit]}: {figures.records} ECGs of {figures.patients} patients"
        table = _diseases_table(figures) if isinstance(figures, DiseaseFigures) else _superclasses_table(figures)
        console.print("", title, table, sep="\n")
    everything = [figures for figures in found.figures.values() if isinstance(figures, DiseaseFigures)]
    if everything:
        console.print(
            "", "Beside a published network, plain S4, for one code of ICD-10:", _anchors(everything), sep="\n"
        )
    console.print(NOTICE)


def _account_table(found: ArchiveEvaluation) -> Table:
    table = new_table("ECGs", "number")
    for words, count in account_rows(found.account):
        table.add_row(words, count)
    for code, refused in found.account.refused.items():
        table.add_row(f"  {code}", str(refused.records))
    return table


def _diseases_table(figures: DiseaseFigures) -> Table:
    table = new_table("disease", "ill", "AUROC", "sens.", "spec.", "PPV", "O/E", "O/E shifted")
    for name in DISEASES:
        one, shift = figures.diseases[name], figures.shifts[name]
        at = one.flagging
        table.add_row(
            name.replace("_", " "),
            str(one.discrimination.positives),
            show_estimate(one.discrimination.auroc),
            *([figure(rate) for rate in (at.sensitivity, at.specificity, at.ppv)] if at else ["-"] * 3),
            figure(one.calibration.observed_over_expected),
            figure(shift.after.observed_over_expected) if isinstance(shift, Shift) else "-",
        )
    return table


def _anchors(everything: list[DiseaseFigures]) -> Table:
    table = new_table("code", "plain S4", "this model, first ECGs", "all ECGs")
    for disease, anchor in ANCHORS.items():
        mine = [show_estimate(figures.anchored[disease]) for figures in everything]
        table.add_row(anchor.code, f"{anchor.auroc:.3f}", *mine)
    return table


def _superclasses_table(figures: SuperclassFigures) -> Table:
    table = new_table("against normal ECGs", "ECGs", "normal", "AUROC, highest probability", "nearest disease")
    for name, contrast in figures.contrasts.items():
        nearest = NEAREST.get(name)
        auroc = contrast.auroc.get(nearest) if nearest else None
        table.add_row(
            name,
            str(contrast.positives),
            str(contrast.negatives),
            _shown(contrast.auroc.get(HIGHEST)),
            f"{_shown(auroc)} {nearest.replace('_', ' ')}" if nearest else "-",
        )
    return table


def _shown(one: Estimate | None) -> str:
    return show_estimate(one) if one else "-"
