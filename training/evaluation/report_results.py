"""The results of an evaluation's report: one table or plot for each kind of figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from schemas.messages import DISEASES
from training.cohort.provenance import SIMULATED

from .agreement import GROUPS
from .baselines import READABLE, MissingBaseline
from .coverage import write_coverage
from .disease_tables import write_alerts, write_calibration, write_operating_points, write_performance
from .evaluation import Baseline, Evaluation
from .real_ecgs import Contrast, RealEcgFigures
from .wording import count_and_share, figure, full, mean_and_deviation, percent, readable, signed, table


def write_results(evaluation: Evaluation, plots: dict[str, str], real: RealEcgFigures | None) -> Iterator[str]:
    """Yield the lines of the results: tables and plots."""
    yield from ("## Results", "", "### Participants", "", *_participants(evaluation), "")
    yield from ("### Diseases", "", *_performance(evaluation), "")
    yield from (_picture(plots, "roc", "ROC curves"), "")
    yield from (_picture(plots, "precision_recall", "Precision-recall curves"), "")
    yield from ("### Alerts", "", *write_alerts(evaluation.measures.diseases, evaluation.measures.burden), "")
    yield from write_operating_points(evaluation.measures.diseases)
    yield from ("### Calibration", "", *write_calibration(evaluation.measures.diseases), "")
    yield from (_picture(plots, "reliability", "Reliability curves"), "")
    yield from ("### Decision curves", "", _picture(plots, "decision_curves", "Decision curves"), "")
    yield from ("### Measurements", "", *_measurements(evaluation), "")
    yield from (_picture(plots, "phenotype_groups", "R² by kind of measurement"), "")
    yield from (_picture(plots, "bland_altman", "Bland-Altman plots"), "")
    yield (
        "Estimates from the ECG vary less than the measurements do, as the estimates of every regression. So the cloud "
        "falls from left to right: small hearts are overestimated, and large hearts are underestimated."
    )
    yield ""
    yield from ("### Intervals", "", *write_coverage(evaluation.coverage), "")
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
        ("age, years", *(mean_and_deviation(column.age_years) for column in columns)),
        ("female", *(count_and_share(column.female) for column in columns)),
        ("atrial fibrillation", *(count_and_share(column.atrial_fibrillation) for column in columns)),
        *((readable(name), *(count_and_share(column.diseases[name]) for column in columns)) for name in DISEASES),
        *(
            (f"{name}, by CMR", *(mean_and_deviation(column.measurements[name]) for column in columns))
            for name in people.everybody.measurements
        ),
    ]
    yield from table(("", "all", "no disease", "at least one disease"), rows)
    yield ""
    yield "Count (share) or mean ± standard deviation, over the records in which the value is known."


def _performance(evaluation: Evaluation) -> Iterator[str]:
    yield from write_performance(evaluation.measures.diseases, evaluation.measures.macro_auroc)
    if (subtype := evaluation.measures.subtype) is not None:
        yield (
            f"The kind of cardiomyopathy is right in {100 * subtype.accuracy:.0f} % of {subtype.records} patients "
            f"(balanced: {100 * subtype.balanced_accuracy:.0f} %)."
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
    yield from table(("model", "macro AUROC", "mean R²", "AUROC: lead of this model", "R²: gain of this model"), rows)
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
    yield (
        "AUROC by disease. An AUROC is left out where fewer than five records have the disease, or where fewer than "
        "five do not have it."
    )


def _retrieval(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.retrieval:
        yield "Retrieval was not measured: it needs the CMR encoder and a cohort with scans."
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
    yield from table(("direction", "candidates", "first", "among 5", "among 10", "median rank"), rows)


def _real(real: RealEcgFigures, evaluation: Evaluation) -> Iterator[str]:
    alone = " This is the only evidence on real hearts in this report, and it is small."
    refused = ", ".join(f"{count} {code.replace('_', ' ')}" for code, count in real.refusals.items()) or "none"
    yield (
        f"{real.records} labelled public records of several data sets. The model learned from no record of them. Each "
        f"patient counts once, where the patient is known: {real.repeated} records were left out. Refused: {refused}."
        f"{alone if evaluation.cohort['source'] == SIMULATED else ''} Data sets differ in more than disease, so each "
        "data set has figures of its own beside the pooled ones."
    )
    yield ""
    contrasts = (
        ("MI or scar, ranked by the probability of CAD", real.mi_or_scar_by_cad_probability),
        ("LVH, ranked by predicted LV mass", real.lvh_by_predicted_lv_mass),
    )
    rows = [row for name, contrast in contrasts for row in _contrast_rows(name, contrast)]
    yield from table(
        ("against normal records", "cases", "normal", "AUROC", "median of cases", "median of normal"), rows
    )


def _contrast_rows(name: str, contrast: Contrast) -> Iterator[tuple[str, ...]]:
    medians = f"{contrast.median_positive:.3g}", f"{contrast.median_negative:.3g}"
    yield f"**{name}**", str(contrast.positives), str(contrast.negatives), full(contrast.auroc), *medians
    for dataset, group in contrast.datasets.items():
        yield f"  {dataset}", str(group.positives), str(group.negatives), full(group.auroc), "", ""


def _picture(plots: dict[str, str], name: str, title: str) -> str:
    return f"![{title}]({plots[name]})"
