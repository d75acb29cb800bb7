"""The background and the methods in a report on an archive: on whom, on what, and how it was measured."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.messages import DISEASES
from training.cohort.source_tables import DISEASE_CODES
from training.evaluation.calibration import SLOPE_DRAWS
from training.evaluation.decision import THRESHOLDS
from training.evaluation.report_methods import (
    PREDICTORS,
    describe_background,
    describe_model,
    describe_sample_size,
    describe_unseen,
)
from training.evaluation.subgroups import FEWEST_POSITIVES, SUBGROUP_DRAWS
from training.evaluation.wording import readable

from .disease_figures import DiseaseFigures
from .evaluation import ALL, FIRST, ArchiveEvaluation, name_judged_folds
from .layouts import MIMIC, STATEMENTS

JUDGED = "This report judges the probabilities that the network reports, and nothing else."
PARTICIPANTS = (
    "Everyone in the judged folds whose ECG was screened and whose labels are known. Nobody was drawn or matched, so "
    "the prevalence is that of the data. Everything is judged twice: on the first ECG of each patient in time, and on "
    "all ECGs. The first ECG is the one at which a screening would find the patient: a later one is often taken "
    "because the disease is known, and the sick have more of them. It follows from the data, without a seed."
)


def write_methods(evaluation: ArchiveEvaluation) -> Iterator[str]:
    """Yield the lines of background and methods."""
    yield from ("## Background", "", *describe_background(JUDGED), "", "## Methods", "")
    paragraphs = {
        "Data": _data(evaluation),
        "Participants": PARTICIPANTS,
        "Outcomes": _outcomes(evaluation),
        "Predictors": PREDICTORS,
        "Model": describe_model(evaluation.bundle),
        "Sample size": _sample_size(evaluation),
        "Missing data": _missing(evaluation),
        "Statistics": _statistics(evaluation),
    }
    for title, text in paragraphs.items():
        yield f"**{title}.** {text}"
        yield ""


def _data(evaluation: ArchiveEvaluation) -> str:
    screened, labels = evaluation.screened, evaluation.labels
    published = "the published test fold" if labels.folds.are_test else "which is not the published test fold"
    return (
        f"{labels.path.name} of {labels.layout.title}, {name_judged_folds(labels)}: {published}. The answers are those "
        f"of the tables in {screened.name}, which CardiacNets {screened.program_version} wrote with the engine "
        f"{screened.engine}: {screened.done} of {screened.shards} shards are done, of {screened.ecgs} ECGs in all. "
        f"{describe_unseen(unseen=evaluation.unseen)}"
    )


def _outcomes(evaluation: ArchiveEvaluation) -> str:
    if evaluation.labels.layout is MIMIC:
        codes = "; ".join(f"{readable(disease)} {', '.join(DISEASE_CODES[disease])}" for disease in DISEASES)
        return (
            f"A code of ICD-10 of the stay in which the ECG was taken that begins with: {codes}. An ECG outside any "
            "stay has no label: nobody knows whether the patient is ill, so the ECG is not among the well."
        )
    return (
        f"The superclasses of the diagnostic statements ({STATEMENTS}), of whatever likelihood. An ECG is normal if it "
        "has the superclass NORM alone. An ECG without a diagnostic statement has no label."
    )


def _sample_size(evaluation: ArchiveEvaluation) -> str:
    figures = evaluation.figures[FIRST]
    if isinstance(figures, DiseaseFigures):
        return f"{describe_sample_size(figures.diseases)} These are the numbers of patients."
    events = ", ".join(f"{found.positives} {name}" for name, found in figures.contrasts.items())
    return f"All records of the judged fold. First ECGs by superclass: {events}."


def _missing(evaluation: ArchiveEvaluation) -> str:
    account, unknown = evaluation.account, evaluation.figures[ALL].people.unknown
    listed = ", ".join(f"{name} of {count} ECGs" for name, count in unknown.items() if count)
    return (
        f"{account.unlabelled} screened ECGs have no label, and {account.unreadable} have one that cannot be read. "
        f"{account.patients_without_label} patients have no ECG with a label. Their ECGs are in no figure. "
        f"Not known of the judged: {listed or 'nothing'}; subgroups leave those out."
    )


def _statistics(evaluation: ArchiveEvaluation) -> str:
    draws = " and ".join(str(figures.draws) for figures in evaluation.figures.values())
    shared = (
        "Intervals are percentiles of a bootstrap over patients, which takes all ECGs of a drawn patient together, "
        f"with {draws} draws (first ECGs, all ECGs; at most {SUBGROUP_DRAWS} for subgroups). An AUROC is left out "
        f"where fewer than {FEWEST_POSITIVES} ECGs have the outcome, or fewer than {FEWEST_POSITIVES} have it not."
    )
    if not isinstance(evaluation.figures[FIRST], DiseaseFigures):
        return f"{shared} Ranks alone are judged: the AUROC of each probability, and of the highest of the five."
    return (
        f"{shared} Rates are those at the bundle's thresholds, which were fixed before. Calibration: unpenalised "
        f"logistic regression of the outcome on the logit ({SLOPE_DRAWS} draws); Brier score. Shift of prevalence: one "
        "number a disease is added to all logits, so that on the development fold the mean probability equals the "
        "share of the ill; it is judged on the judged fold, and changes no rank. Decision curves: net benefit at "
        f"threshold probabilities of {THRESHOLDS[0]} to {THRESHOLDS[-1]}. No figure is corrected for multiple testing."
    )
