"""The background and the methods in an evaluation's report: on whom, on what, and how it was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite, nan

from inference.bundle import Bundle
from schemas.messages import DISEASES
from training.cohort.provenance import SIMULATED

from .agreement import LIMIT_DEVIATIONS
from .decision import THRESHOLDS
from .evaluation import Evaluation
from .measures import DiseaseMeasures
from .wording import describe_calibration, figure, readable

JUDGED = "This report judges the probabilities and the measurements that the network reports, and nothing else."
PREDICTORS = (
    "Only the 12-lead ECG of 10 s: resampled to 250 Hz, filtered from 0.67 to 40 Hz, standardised. The model is given "
    "neither age nor sex."
)


def write_methods(evaluation: Evaluation) -> Iterator[str]:
    """Yield the lines of background and methods."""
    bundle = evaluation.bundle
    yield from ("## Background", "", *describe_background(JUDGED), "")
    yield from ("## Methods", "")
    yield f"**Data.** {_data(evaluation)}"
    yield ""
    yield f"**Participants.** {_selection(evaluation)}"
    yield ""
    yield (
        f"**Outcomes.** {', '.join(readable(disease) for disease in DISEASES)}; the 82 cardiac MR measurements of UK "
        "Biobank's fields 24100-24181; the kind of a cardiomyopathy. The prevalence is that of the data: no cases were "
        "added."
    )
    yield ""
    yield f"**Predictors.** {PREDICTORS}"
    yield ""
    yield f"**Model.** {describe_model(bundle)}"
    yield ""
    yield f"**Sample size.** {describe_sample_size(evaluation.measures.diseases)}"
    yield ""
    yield f"**Missing data.** {_missing(evaluation)}"
    yield ""
    yield f"**Statistics.** {_statistics()}"
    yield ""


def describe_background(judged: str) -> Iterator[str]:
    """Yield why anybody asks an ECG for heart diseases, and what is judged of the answers."""
    yield (
        "Cardiac MR (CMR) is the reference for the structure and the function of the heart, and it is scarce. Nearly "
        "everybody gets an ECG. A network whose representation of the ECG was aligned with that of CMR (Ding et al., "
        f"arXiv 2411.13602) may tell who should get a scan. {judged}"
    )


def _data(evaluation: Evaluation) -> str:
    if evaluation.cohort["source"] == SIMULATED:
        return (
            f"A {describe_source(evaluation)}. Each patient has one hidden physiology, from which a three-dimensional "
            "heart, its CMR measurements and its ECG are computed. The cohort holds no data of real persons."
        )
    return f"The test fold of the cohort {evaluation.cohort['source']}. {describe_unseen(unseen=evaluation.unseen)}"


def _selection(evaluation: Evaluation) -> str:
    refused = ", ".join(f"{count} {code.replace('_', ' ')}" for code, count in sorted(evaluation.refusals.items()))
    gate = (
        f"The signal gate refused {sum(evaluation.refusals.values())} of them ({refused})."
        if refused
        else "The signal gate refused none of them."
    )
    return (
        f"The model was given {evaluation.cohort['records']} records, through the code that serves. {gate} "
        f"{evaluation.cohort['evaluated']} records are evaluated."
    )


def describe_model(bundle: Bundle) -> str:
    """Return what a model is, how its probabilities came about, and what it learned from."""
    manifest = bundle.manifest
    return (
        f"{manifest.name} {manifest.version}, preset {manifest.preset}: a vision transformer over patches of the "
        f"leads, with one head for each task. Answers to {manifest.input.n_crops} crops are averaged. "
        f"{describe_calibration(bundle)} "
        f"Trained on: {manifest.trained_on}. {manifest.notes}"
    )


def describe_sample_size(diseases: Mapping[str, DiseaseMeasures]) -> str:
    """Return the number of events, and how wide intervals are for so many."""
    events = ", ".join(f"{found.discrimination.positives} {readable(name)}" for name, found in diseases.items())
    aurocs = [found.discrimination.auroc for found in diseases.values()]
    widest = max(((auroc.high - auroc.low) / 2 for auroc in aurocs if isfinite(auroc.value)), default=nan)
    return f"All records of the test fold. Events: {events}. The widest interval of an AUROC is ± {figure(widest, 3)}."


def _missing(evaluation: Evaluation) -> str:
    missing = {name: count for name, count in evaluation.participants.missing.items() if count}
    if not missing:
        return "None."
    listed = ", ".join(f"{name} of {count}" for name, count in missing.items())
    return (
        f"Not known, in part or wholly: {listed} records. Each figure leaves out the records in which a value that it "
        "needs is missing."
    )


def _statistics() -> str:
    return (
        "Intervals are percentiles of a bootstrap over patients, with 1000 draws (200 for calibration slopes). All "
        "models see the same draws, so that differences are paired. Calibration: unpenalised logistic regression of "
        "the outcome on the logit; Brier score. Decision curves: net benefit at threshold probabilities of "
        f"{THRESHOLDS[0]} to {THRESHOLDS[-1]}. R² is relative to the variance of the evaluated patients. Limits of "
        f"agreement are bias ± {LIMIT_DEVIATIONS} standard deviations. No figure is corrected for multiple testing."
    )


def describe_source(evaluation: Evaluation) -> str:
    """Return what kind of cohort was evaluated, as in "simulated cohort of seed 9"."""
    cohort = evaluation.cohort
    seed = "" if cohort["seed"] is None else f" of seed {cohort['seed']}"
    return f"{cohort['source']} cohort{seed}"


def describe_unseen(*, unseen: bool) -> str:
    """Return a sentence on whether the model learned from the evaluated patients."""
    if unseen:
        return "The model did not learn from these patients."
    return "The model's manifest does not tell whether the model learned from some of these patients."
