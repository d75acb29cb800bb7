"""The results in a report on an archive: the account, table 1, and the figures of each way of counting ECGs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from schemas.messages import DISEASES
from training.evaluation.bootstrap import Estimate
from training.evaluation.disease_tables import (
    write_alerts,
    write_calibration,
    write_operating_points,
    write_performance,
)
from training.evaluation.subgroups import RankedGroup
from training.evaluation.wording import count_and_share, figure, full, mean_and_deviation, readable, table

from .account import Account
from .anchors import ANCHORS, PAPER
from .disease_figures import DiseaseFigures, NoShift
from .evaluation import FIRST, ArchiveEvaluation
from .people import Column, People
from .superclass_figures import ABNORMAL, NEAREST, SCORES, SuperclassFigures

TITLES = {"one_ecg_a_patient": "The first ECG of each patient", "all_ecgs": "All ECGs"}
PICTURES = {
    "roc": "ROC curves",
    "precision_recall": "Precision-recall curves",
    "reliability": "Reliability curves, before the shift of prevalence",
    "decision_curves": "Decision curves",
}


def write_results(evaluation: ArchiveEvaluation, plots: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield the lines of the results: tables and plots."""
    yield from ("## Results", "", "### What became of the ECGs", "", *write_account(evaluation.account), "")
    for unit, figures in evaluation.figures.items():
        yield from (f"### {TITLES[unit]}", "", *_people(figures.people), "")
        if isinstance(figures, SuperclassFigures):
            yield from _superclasses(figures)
        else:
            yield from _diseases(figures, plots[unit])
    if isinstance(first := evaluation.figures[FIRST], DiseaseFigures):
        yield from ("### What others have published", "", *_anchors(first, evaluation.figures), "")


def write_account(account: Account) -> Iterator[str]:
    """Yield the table of what became of the ECGs of the judged folds."""
    yield from table(("ECGs", "number"), account_rows(account))
    yield ""
    yield (
        f"{account.patients_without_label} of the {account.patients} patients have no ECG with a label. Of the "
        f"archive, {account.unlisted} ECGs are not in the labels, so that their fold is not known, and "
        f"{account.elsewhere} are in other folds."
    )
    if account.refused:
        yield from ("", "Who was refused:", "")
        rows = [
            (
                code.replace("_", " "),
                str(one.records),
                str(one.labelled),
                f"{one.ill} ({_share(one.ill, one.labelled)})",
            )
            for code, one in account.refused.items()
        ]
        yield from table(("code", "ECGs", "with labels", "of these ill"), rows)


def account_rows(account: Account) -> list[tuple[str, str]]:
    """Return what became of the ECGs of the judged folds, a line a fate."""
    refused = sum(found.records for found in account.refused.values())
    rows = [
        (f"in the labels, of {account.patients} patients", account.listed),
        ("not in the screened archive", account.absent),
        ("not screened yet", account.open),
        ("of a file that names another patient", account.other_patient),
        ("refused", refused),
        ("screened, without a label", account.unlabelled),
        ("screened, with a label that cannot be read", account.unreadable),
        (f"judged, of {account.judged_patients} patients", account.judged),
    ]
    return [(words, str(count)) for words, count in rows]


def _people(people: People) -> Iterator[str]:
    columns = (people.everybody, people.healthy, people.ill)
    rows: list[Sequence[str]] = [
        ("ECGs", *(str(column.records) for column in columns)),
        ("patients", *(str(column.patients) for column in columns)),
        ("age, years", *(mean_and_deviation(column.age_years) for column in columns)),
        ("female", *(count_and_share(column.female) for column in columns)),
        *(
            (f"taken: {words}", *(count_and_share(column.places[words]) for column in columns))
            for words in people.everybody.places
        ),
        *((readable(name), *(_outcome(column, name) for column in columns)) for name in people.everybody.outcomes),
    ]
    yield from table(("", "all", "none of the outcomes", "at least one"), rows)
    yield ""
    yield "Count (share) or mean ± standard deviation, over the ECGs of which the value is known."


def _diseases(figures: DiseaseFigures, plots: Mapping[str, str]) -> Iterator[str]:
    yield from ("#### Diseases", "", *write_performance(figures.diseases, figures.macro_auroc), "")
    yield from ("#### Alerts", "", *write_alerts(figures.diseases, figures.burden), "")
    yield from write_operating_points(figures.diseases)
    yield from ("#### Calibration", "", *write_calibration(figures.diseases), "")
    yield from ("#### Calibration after the shift of prevalence", "", *_shifts(figures), "")
    yield from ("#### Subgroups", "", *_subgroups(figures.subgroups), "")
    for name, title in PICTURES.items():
        yield from (f"![{title}]({plots[name]})", "")


def _shifts(figures: DiseaseFigures) -> Iterator[str]:
    rows = []
    for name, found in figures.shifts.items():
        if isinstance(found, NoShift):
            rows.append((readable(name), f"absent: {found.reason}", *[""] * 6))
            continue
        before, after = figures.diseases[name].calibration, found.after
        rows.append(
            (
                readable(name),
                f"{found.positives} of {found.records}",
                f"{found.logits:+.3f}",
                figure(before.calibration_in_the_large),
                figure(after.calibration_in_the_large),
                figure(before.observed_over_expected),
                figure(after.observed_over_expected),
                f"{figure(before.brier, 4)} → {figure(after.brier, 4)}",
            )
        )
    headings = ("disease", "ill in development", "added to the logit", "in the large, before", "after")
    yield from table((*headings, "observed / expected, before", "after", "Brier"), rows)
    yield ""
    yield "The slope does not change, and neither does any AUROC. The thresholds belong to the probabilities before."


def _subgroups(subgroups: Mapping[str, Mapping[str, RankedGroup]]) -> Iterator[str]:
    rows = [
        (
            f"{attribute}: {group}",
            str(found.records),
            *(full(found.auroc[name]) if name in found.auroc else "-" for name in DISEASES),
        )
        for attribute, groups in subgroups.items()
        for group, found in groups.items()
    ]
    yield from table(("subgroup", "ECGs", *(readable(name) for name in DISEASES)), rows)


def _anchors(first: DiseaseFigures, figures: Mapping[str, object]) -> Iterator[str]:
    everything = [found for found in figures.values() if isinstance(found, DiseaseFigures)]
    rows = [
        (
            readable(disease),
            anchor.code,
            f"{anchor.auroc:.3f}",
            *(full(found.anchored[disease]) for found in everything),
            full(first.diseases[disease].discrimination.auroc),
        )
        for disease, anchor in ANCHORS.items()
    ]
    headings = ("disease", "code", "plain S4: that code", "this model: that code, first ECGs", "that code, all ECGs")
    yield from table((*headings, "all codes of the disease, first ECGs"), rows)
    yield ""
    yield (
        "Plain S4 is a published network that learned from MIMIC-IV-ECG's own ECGs and codes; its figures are those of "
        "patient-stratified test folds. The notes of release 1.0.1 of the labels say that the original benchmark did "
        "not use `strat_fold`; `--fold-column fold` judges by the other column. The network answers for one code, and "
        "this model for a disease of several codes, so the code alone is what to compare. The figures of others stand "
        "beside and were not measured here."
    )
    yield ""
    yield from table(("of the paper", "AUROC", "best comparator", "what to know"), PAPER)


def _superclasses(figures: SuperclassFigures) -> Iterator[str]:
    yield from ("#### Superclasses against normal ECGs", "")
    rows = [
        (
            name,
            str(found.positives),
            str(found.negatives),
            *(_marked(found.auroc.get(score), nearest=NEAREST.get(name) == score) for score in SCORES),
            _percent(found.flagged_share),
        )
        for name, found in figures.contrasts.items()
    ]
    scores = ("highest probability", *(readable(name) for name in DISEASES))
    yield from table(("superclass", "ECGs", "normal", *scores, "flagged"), rows)
    yield ""
    yield (
        f"AUROC of each probability. Bold: the disease that the superclass comes nearest to. The line `{ABNORMAL}` is "
        "every ECG with a superclass that is not NORM. Flagged: for at least one disease, at the bundle's thresholds; "
        f"of the normal ECGs it is {_percent(figures.normal_flagged_share)}."
    )
    yield from ("", "#### Subgroups", "")
    groups = [
        (f"{attribute}: {group}", full(auroc))
        for attribute, found in figures.subgroups.items()
        for group, auroc in found.items()
    ]
    yield from table(("subgroup", "AUROC of the highest probability for an ECG that is not normal"), groups)
    yield ""


def _marked(auroc: Estimate | None, *, nearest: bool) -> str:
    if auroc is None:
        return "-"
    return f"**{full(auroc)}**" if nearest else full(auroc)


def _outcome(column: Column, name: str) -> str:
    return count_and_share(column.outcomes[name])


def _share(part: int, whole: int) -> str:
    return _percent(part / whole if whole else float("nan"))


def _percent(share: float) -> str:
    return f"{figure(100 * share, 1)} %"
