"""The report of an evaluation in Markdown, in the order of TRIPOD+AI (Collins et al., BMJ 2024), with plots.

Beside it lie the figures as JSON and a model card (Mitchell et al., 2019).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite, nan
from pathlib import Path

from engines.whole_file import write_whole
from inference.bundle import Bundle
from schemas.messages import DISEASES, NOTICE
from training.cohort.provenance import SIMULATED
from training.cohort.whole_file import write_json

from .agreement import GROUPS, LIMIT_DEVIATIONS
from .baselines import READABLE, MissingBaseline
from .decision import THRESHOLDS
from .discrimination import OperatingPoint
from .evaluation import Baseline, Evaluation, as_json
from .measures import DiseaseMeasures
from .model_card import tell_calibration, write_model_card
from .plots import draw_plots
from .real_ecgs import Contrast, RealEcgFigures
from .wording import figure, full, percent, readable, signed, table, with_interval

REPORT, FIGURES, MODEL_CARD = "report.md", "evaluation.json", "model_card.md"
POINTS = {
    "sensitivity_90": "90 % sensitivity on development data",
    "specificity_95": "95 % specificity on development data",
}


def write_report(folder: Path, evaluation: Evaluation, real: RealEcgFigures | None) -> Path:
    """Write report, plots, figures and model card into a folder, and return the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = draw_plots(evaluation, folder)
    figures = {**as_json(evaluation), **({"real_ecgs": real} if real else {})}
    write_json(folder / FIGURES, figures)
    write_whole(folder / MODEL_CARD, write_model_card(evaluation, real).encode())
    sections = [
        *_summary(evaluation),
        *_methods(evaluation),
        *_results(evaluation, plots, real),
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
        yield "> **The weights are untrained: every figure below is one of chance.**"
    yield ""
    yield "## Summary"
    yield ""
    yield (
        f"On {evaluation.cohort['evaluated']} ECGs of {evaluation.participants.everybody.patients} patients from a "
        f"{_source(evaluation)}, {_seen(evaluation)}, the macro AUROC of the five diseases is "
        f"{full(measures.macro_auroc)} and the mean R² of the measurements {full(measures.agreements.mean_r2)} "
        "(95 % intervals, patient-level bootstrap)."
    )
    yield ""
    for name, baseline in evaluation.baselines.items():
        if isinstance(baseline, Baseline):
            yield f"- Against: {_against(name, baseline)}"
    yield ""


def _seen(evaluation: Evaluation) -> str:
    if evaluation.unseen:
        return "none of whom was learned from"
    return "of whom the model's manifest does not tell whether they were learned from"


def _against(name: str, baseline: Baseline) -> str:
    lead = baseline.comparison
    return f"{READABLE[name]}: macro AUROC {signed(lead.macro_auroc_difference)}, mean R² {percent(lead.mean_r2_gain)}."


def _methods(evaluation: Evaluation) -> Iterator[str]:
    bundle = evaluation.bundle
    yield from ("## Background", "", *_background(), "")
    yield from ("## Methods", "")
    yield f"**Data.** {_data(evaluation)}"
    yield ""
    yield f"**Participants.** {_selection(evaluation)}"
    yield ""
    yield (
        f"**Outcomes.** {', '.join(readable(disease) for disease in DISEASES)}; the 82 cardiac MR measurements of UK "
        "Biobank's fields 24100-24181; the kind of a cardiomyopathy. The prevalence is that of the data: cases were "
        "not enriched."
    )
    yield ""
    yield (
        "**Predictors.** The 12-lead ECG alone, 10 s: resampled to 250 Hz, filtered from 0.67 to 40 Hz, standardised. "
        "Neither age nor sex is given to the model."
    )
    yield ""
    yield f"**Model.** {_model(bundle)}"
    yield ""
    yield f"**Sample size.** {_sample_size(evaluation)}"
    yield ""
    yield f"**Missing data.** {_missing(evaluation)}"
    yield ""
    yield f"**Statistics.** {_statistics()}"
    yield ""


def _background() -> Iterator[str]:
    yield (
        "Cardiac MR is the reference for the heart's structure and function, and is scarce. An ECG is taken of nearly "
        "everybody. A network whose representation of the ECG was aligned with that of cardiac MR (Ding et al., arXiv "
        "2411.13602) may tell who should get a scan. The report judges the probabilities and measurements that it "
        "prints, and nothing else."
    )


def _data(evaluation: Evaluation) -> str:
    if evaluation.cohort["source"] == SIMULATED:
        return (
            f"A {_source(evaluation)}: one latent physiology a patient drives a three-dimensional heart, its CMR "
            "measurements and its ECG. No real person's data are in it."
        )
    return f"The test fold of the cohort {evaluation.cohort['source']}: patients {_seen(evaluation)}."


def _selection(evaluation: Evaluation) -> str:
    refused = ", ".join(f"{count} {code.replace('_', ' ')}" for code, count in sorted(evaluation.refusals.items()))
    gate = (
        f"The signal gate refused {sum(evaluation.refusals.values())} ({refused})." if refused else "None was refused."
    )
    return (
        f"{evaluation.cohort['records']} records were put to the model, by the code that serves. {gate} "
        f"{evaluation.cohort['evaluated']} are evaluated."
    )


def _model(bundle: Bundle) -> str:
    manifest = bundle.manifest
    return (
        f"{manifest.name} {manifest.version}, preset {manifest.preset}: a vision transformer over patches of the "
        f"leads with a head a task, {manifest.input.n_crops} crops averaged, {tell_calibration(bundle)}. "
        f"Trained on: {manifest.trained_on}. {manifest.notes}"
    )


def _sample_size(evaluation: Evaluation) -> str:
    events = ", ".join(
        f"{found.discrimination.positives} {readable(name)}" for name, found in evaluation.measures.diseases.items()
    )
    aurocs = [found.discrimination.auroc for found in evaluation.measures.diseases.values()]
    widest = max(((auroc.high - auroc.low) / 2 for auroc in aurocs if isfinite(auroc.value)), default=nan)
    return f"All that there were. Events: {events}. The widest interval of an AUROC is ± {figure(widest, 3)}."


def _missing(evaluation: Evaluation) -> str:
    missing = {name: count for name, count in evaluation.participants.missing.items() if count}
    if not missing:
        return "None."
    listed = ", ".join(f"{name} of {count}" for name, count in missing.items())
    return (
        f"Not known, in part or wholly: {listed} records. Each figure leaves out the records that lack what it needs."
    )


def _statistics() -> str:
    return (
        "Intervals are percentiles of a bootstrap over patients (1000 draws; all models see the same draws, so that "
        "differences are paired; calibration slopes 200 draws). Calibration: unpenalised logistic regression of the "
        "outcome on the logit; Brier score. Decision curves: net benefit at threshold probabilities of "
        f"{THRESHOLDS[0]} to {THRESHOLDS[-1]}. R² is against the evaluated patients' own variance; limits of agreement "
        f"are bias ± {LIMIT_DEVIATIONS} standard deviations. Nothing is corrected for multiple testing."
    )


def _results(evaluation: Evaluation, plots: dict[str, str], real: RealEcgFigures | None) -> Iterator[str]:
    yield from ("## Results", "", "### Participants", "", *_participants(evaluation), "")
    yield from ("### Diseases", "", *_performance(evaluation), "")
    yield from (_picture(plots, "roc", "ROC curves"), "")
    yield from (_picture(plots, "precision_recall", "Precision-recall curves"), "")
    for point in ("sensitivity_90", "specificity_95"):
        yield from _operating_table(evaluation, point)
    yield from ("### Calibration", "", *_calibration(evaluation), "")
    yield from (_picture(plots, "reliability", "Reliability curves"), "")
    yield from ("### Decision curves", "", _picture(plots, "decision_curves", "Decision curves"), "")
    yield from ("### Measurements", "", *_measurements(evaluation), "")
    yield from (_picture(plots, "phenotype_groups", "R² by kind of measurement"), "")
    yield from (_picture(plots, "bland_altman", "Bland-Altman plots"), "")
    yield (
        "Estimates from the ECG vary less than the measurements do, as those of every regression: the cloud falls from "
        "left to right, small hearts are overestimated and large ones underestimated."
    )
    yield ""
    yield from ("### Baselines", "", *_baselines(evaluation), "", _picture(plots, "models", "Models compared"), "")
    yield from ("### Subgroups", "", *_subgroups(evaluation), "", _picture(plots, "subgroups", "Subgroups"), "")
    yield from ("### Retrieval", "", *_retrieval(evaluation), "")
    if real is not None:
        yield from ("### Real ECGs", "", *_real(real, evaluation), "")
    yield from ("### All measurements", "", *_all_measurements(evaluation), "")


def _participants(evaluation: Evaluation) -> Iterator[str]:
    people = evaluation.participants
    columns = (people.everybody, people.healthy, people.ill)
    rows: list[Sequence[str]] = [
        ("records", *(str(column.records) for column in columns)),
        ("patients", *(str(column.patients) for column in columns)),
        ("age, years", *(_mean(column.age_years) for column in columns)),
        ("female", *(_count(column.female) for column in columns)),
        ("atrial fibrillation", *(_count(column.atrial_fibrillation) for column in columns)),
        *((readable(name), *(_count(column.diseases[name]) for column in columns)) for name in DISEASES),
        *(
            (f"{name}, by CMR", *(_mean(column.measurements[name]) for column in columns))
            for name in people.everybody.measurements
        ),
    ]
    yield from table(("", "everybody", "none of the five", "at least one"), rows)
    yield ""
    yield "Count (share) or mean ± standard deviation, of the records in which it is known."


def _performance(evaluation: Evaluation) -> Iterator[str]:
    rows = [
        (
            readable(name),
            f"{found.discrimination.positives} ({100 * found.discrimination.prevalence:.1f} %)",
            full(found.discrimination.auroc),
            full(found.discrimination.auprc),
            *_flagging(found.flagging),
        )
        for name, found in evaluation.measures.diseases.items()
    ]
    headings = ("disease", "ill", "AUROC", "AUPRC", "threshold", *RATES, "scans for one ill")
    yield from table(headings, rows)
    yield ""
    yield f"Macro AUROC {full(evaluation.measures.macro_auroc)}. The threshold is the one at which the bundle flags."
    if (subtype := evaluation.measures.subtype) is not None:
        yield (
            f"The kind of cardiomyopathy is right in {100 * subtype.accuracy:.0f} % of {subtype.records} patients "
            f"(balanced: {100 * subtype.balanced_accuracy:.0f} %)."
        )


RATES = ("sensitivity", "specificity", "PPV", "NPV")


def _flagging(point: OperatingPoint | None) -> tuple[str, ...]:
    if point is None:
        return ("-",) * (len(RATES) + 2)
    return (
        f"{point.threshold:.3f}",
        with_interval(point.sensitivity, point.sensitivity_interval),
        with_interval(point.specificity, point.specificity_interval),
        with_interval(point.ppv, point.ppv_interval),
        with_interval(point.npv, point.npv_interval),
        figure(point.number_needed_to_image, 1),
    )


def _operating_table(evaluation: Evaluation, point: str) -> Iterator[str]:
    rows = [
        (
            readable(name),
            *_flagging(found.operating_points[point]),
            f"{100 * found.operating_points[point].flagged_share:.1f} %",
        )
        for name, found in evaluation.measures.diseases.items()
        if point in found.operating_points
    ]
    if rows:
        yield f"At the threshold of {POINTS[point]}:"
        yield ""
        yield from table(("disease", "threshold", *RATES, "scans for one ill", "flagged"), rows)
        yield ""


def _calibration(evaluation: Evaluation) -> Iterator[str]:
    rows = [_calibration_row(name, found) for name, found in evaluation.measures.diseases.items()]
    yield from table(("disease", "slope", "intercept", "in the large", "observed / expected", "Brier"), rows)
    yield ""
    yield "Slope 1 and intercept 0 are best; a slope below 1 means probabilities that are too extreme."


def _calibration_row(name: str, found: DiseaseMeasures) -> tuple[str, ...]:
    one = found.calibration
    return (
        readable(name),
        with_interval(one.calibration_slope, one.calibration_slope_interval),
        figure(one.calibration_intercept),
        figure(one.calibration_in_the_large),
        figure(one.observed_over_expected),
        figure(one.brier, 4),
    )


def _measurements(evaluation: Evaluation) -> Iterator[str]:
    agreements = evaluation.measures.agreements
    yield f"Mean R² over {len(agreements.phenotypes)} measurements: {full(agreements.mean_r2)}. By kind:"
    yield ""
    rows = [(group, figure(agreements.groups[group], 3)) for group in GROUPS if group in agreements.groups]
    yield from table(("kind", "mean R²"), rows)


def _all_measurements(evaluation: Evaluation) -> Iterator[str]:
    rows = [
        (name, one.unit, *(figure(value, 3) for value in (one.r2, one.mae, one.r, one.bias, *one.limits)))
        for name, one in evaluation.measures.agreements.phenotypes.items()
    ]
    yield from table(("measurement", "unit", "R²", "MAE", "r", "bias", "lower limit", "upper limit"), rows)


def _baselines(evaluation: Evaluation) -> Iterator[str]:
    mine = evaluation.measures
    rows = [("**This model**", full(mine.macro_auroc), full(mine.agreements.mean_r2), "", "")]
    for name, baseline in evaluation.baselines.items():
        if isinstance(baseline, MissingBaseline):
            rows.append((READABLE[name], "absent", baseline.reason, "", ""))
            continue
        measures, comparison = baseline.measures, baseline.comparison
        rows.append(
            (
                READABLE[name],
                full(measures.macro_auroc),
                full(measures.agreements.mean_r2),
                signed(comparison.macro_auroc_difference),
                percent(comparison.mean_r2_gain),
            )
        )
    yield from table(("model", "macro AUROC", "mean R²", "AUROC: this model's lead", "R²: this model's gain"), rows)
    yield ""
    yield from _disease_by_model(evaluation)


def _disease_by_model(evaluation: Evaluation) -> Iterator[str]:
    there = {name: found for name, found in evaluation.baselines.items() if isinstance(found, Baseline)}
    rows = [
        (
            readable(disease),
            full(found.discrimination.auroc),
            *(full(beside.measures.diseases[disease].discrimination.auroc) for beside in there.values()),
        )
        for disease, found in evaluation.measures.diseases.items()
    ]
    yield from table(("AUROC", "this model", *(READABLE[name] for name in there)), rows)


def _subgroups(evaluation: Evaluation) -> Iterator[str]:
    rows = [
        (
            f"{attribute}: {group}",
            str(found.records),
            *(full(found.auroc[name]) if name in found.auroc else "-" for name in DISEASES),
            full(found.mean_r2),
        )
        for attribute, groups in evaluation.subgroups.items()
        for group, found in groups.items()
    ]
    yield from table(("subgroup", "records", *(readable(name) for name in DISEASES), "mean R²"), rows)
    yield ""
    yield "AUROC by disease; left out where fewer than five are ill or well."


def _retrieval(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.retrieval:
        yield "Not measured: it needs the CMR encoder and a cohort with scans."
        return
    rows = [
        (
            direction.replace("_", " ").replace("ecg", "ECG").replace("cmr", "CMR"),
            str(found.gallery),
            *(f"{100 * recall:.1f} %" for recall in (found.recall_at_1, found.recall_at_5, found.recall_at_10)),
            f"{found.median_rank:.0f}",
        )
        for direction, found in evaluation.retrieval.items()
    ]
    yield from table(("direction", "to choose from", "first", "among 5", "among 10", "median rank"), rows)


def _real(real: RealEcgFigures, evaluation: Evaluation) -> Iterator[str]:
    alone = " This is the only evidence here on real hearts, and it is small."
    refused = ", ".join(f"{count} {code.replace('_', ' ')}" for code, count in real.refusals.items()) or "none"
    yield (
        f"{real.records} labelled public records of several data sets, none of which was learned from, one a patient "
        f"where the patient is known ({real.repeated} left out as repeated; refused: {refused})."
        f"{alone if evaluation.cohort['source'] == SIMULATED else ''} Data sets differ in more than disease, so their "
        "own figures stand beside the pooled one."
    )
    yield ""
    contrasts = (
        ("MI or scar, ranked by the probability of CAD", real.mi_or_scar_by_cad_probability),
        ("LVH, ranked by predicted LV mass", real.lvh_by_predicted_lv_mass),
    )
    rows = [row for name, contrast in contrasts for row in _contrast_rows(name, contrast)]
    yield from table(("against normal records", "with", "normal", "AUROC", "median with", "median normal"), rows)


def _contrast_rows(name: str, contrast: Contrast) -> Iterator[tuple[str, ...]]:
    medians = f"{contrast.median_positive:.3g}", f"{contrast.median_negative:.3g}"
    yield f"**{name}**", str(contrast.positives), str(contrast.negatives), full(contrast.auroc), *medians
    for dataset, group in contrast.datasets.items():
        yield f"  {dataset}", str(group.positives), str(group.negatives), full(group.auroc), "", ""


def _limits(evaluation: Evaluation, real: RealEcgFigures | None) -> Iterator[str]:
    yield from ("## Limitations", "")
    if evaluation.cohort["source"] == SIMULATED:
        yield (
            "- The patients are simulated, as those learned from were: the figures say that the method works where "
            "the simulation holds. They say nothing of a real clinic, whose ECGs, diagnoses and errors differ."
        )
    if not evaluation.model.trained:
        yield "- The weights are untrained."
    yield f"- Weights: {evaluation.model.weights}. They are for demonstration, development and teaching."
    yield "- The diagnoses are labels, not adjudicated events; nobody was followed up."
    if real is not None:
        yield "- Real ECGs are few, from public sets, read once; ethnicity, country and device are not known of most."
    yield f"- {NOTICE} No clinical decision may rest on it."


def _source(evaluation: Evaluation) -> str:
    cohort = evaluation.cohort
    seed = "" if cohort["seed"] is None else f" of seed {cohort['seed']}"
    return f"{cohort['source']} cohort{seed}"


def _picture(plots: dict[str, str], name: str, title: str) -> str:
    return f"![{title}]({plots[name]})"


def _mean(pair: tuple[float, float]) -> str:
    return f"{figure(pair[0], 1)} ± {figure(pair[1], 1)}"


def _count(pair: tuple[int, float]) -> str:
    return f"{pair[0]} ({figure(100 * pair[1], 1)} %)"
