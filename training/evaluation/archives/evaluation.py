"""The evaluation of a model's answers to an archive: who is judged, by what, one ECG a patient and all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from inference.bundle import Bundle
from schemas.errors import InvalidSettings
from training.cohort.provenance import SIMULATED
from training.evaluation.bootstrap import DRAWS
from training.evaluation.evaluation import StepProgress

from .account import Account, count_everyone
from .answers import Answers
from .disease_figures import DiseaseFigures, NoShift, judge_diseases
from .label_table import LabelTable
from .layouts import MIMIC
from .sample import Sample, first_of_each_patient, rows_to_judge, take_sample
from .superclass_figures import SuperclassFigures, judge_superclasses

FIRST, ALL = "one_ecg_a_patient", "all_ecgs"
UNITS = (FIRST, ALL)

KNOWN_SPLIT = " Version 1.0.0 of MIMIC-IV-ECG-Ext-ICD is known for it: take 1.0.1 or later."

Figures: TypeAlias = DiseaseFigures | SuperclassFigures


@dataclass(frozen=True, slots=True)
class Screened:
    """What is known of the tables that were judged.

    Attributes:
        name: of their folder.
        ecgs: of the archive.
        shards, done: how many there are, and how many of them are done.
    """

    name: str
    archive: str
    engine: str
    program_version: str
    ecgs: int
    shards: int
    done: int


@dataclass(frozen=True, slots=True, eq=False)
class ArchiveEvaluation:
    """All figures of one evaluation.

    Attributes:
        unseen: whether the manifest tells that the model did not learn from these patients.
        warnings: sentences on what makes the figures less than they seem.
        figures: by `UNITS`.
    """

    bundle: Bundle
    screened: Screened
    labels: LabelTable
    account: Account
    unseen: bool
    warnings: tuple[str, ...]
    figures: dict[str, Figures]


def judge_archive(
    bundle: Bundle,
    screened: Screened,
    labels: LabelTable,
    answers: Answers,
    *,
    report: StepProgress = lambda *_: None,
    draws: int = DRAWS,
) -> ArchiveEvaluation:
    """Judge a bundle by its answers.

    Args:
        bundle: that gave the answers, verified.
        screened: where they come from.
        labels: of the archive.
        answers: beside the labels.
        report: called with the progress.
        draws: of the bootstrap, at most.

    Raises:
        InvalidSettings: the model learned from the judged folds, or no ECG of them can be judged.
    """
    refuse_seen(labels, bundle.manifest.trained_on)
    account = count_everyone(labels, answers)
    if not account.judged:
        raise InvalidSettings(f"no ECG can be judged: {_why_none(labels, account)}")
    figures: dict[str, Figures] = {}
    for place, unit in enumerate(UNITS):
        report("judging", place, len(UNITS))
        figures[unit] = _judge(bundle, labels, answers, unit, draws)
    report("judging", len(UNITS), len(UNITS))
    return ArchiveEvaluation(
        bundle=bundle,
        screened=screened,
        labels=labels,
        account=account,
        unseen=is_unseen(labels, bundle.manifest.trained_on),
        warnings=tuple(_warnings(screened, labels, account, figures[FIRST])),
        figures=figures,
    )


def refuse_seen(labels: LabelTable, trained_on: str) -> None:
    """Refuse folds of an archive that a model learned from, or may have: all but its test fold.

    Raises:
        InvalidSettings: such a fold would be judged.
    """
    folds = labels.folds
    if trained_on.startswith(labels.layout.archive) and not (folds.are_test and folds.are_cohorts):
        raise InvalidSettings(
            f"the model learned from this archive's other folds ({trained_on}): "
            "judge the test fold, without --folds and --fold-column"
        )


def is_unseen(labels: LabelTable, trained_on: str) -> bool:
    """Return whether the manifest shows that the model did not learn from the judged patients, after `refuse_seen`.

    Simulated patients are never real ones, and stages do not learn from the test fold of their cohort.
    """
    return trained_on.startswith((SIMULATED, labels.layout.archive)) and not (
        labels.torn_patients and trained_on.startswith(labels.layout.archive)
    )


def _judge(bundle: Bundle, labels: LabelTable, answers: Answers, unit: str, draws: int) -> Figures:
    heads = bundle.manifest.diseases
    sample = _sample(labels, answers, labels.folds.judged, unit)
    if labels.layout is not MIMIC:
        return judge_superclasses(sample, heads, draws)
    return judge_diseases(sample, _development(labels, answers, unit), heads, draws)


def _development(labels: LabelTable, answers: Answers, unit: str) -> Sample | NoShift:
    fold = labels.folds.development
    if fold is None:
        return NoShift("the development fold is judged itself, or is not in the labels")
    sample = _sample(labels, answers, (fold,), unit)
    return sample if len(sample) else NoShift(f"no ECG of fold {fold} was screened and has labels")


def _sample(labels: LabelTable, answers: Answers, folds: tuple[int, ...], unit: str) -> Sample:
    rows = rows_to_judge(labels, answers, folds)
    return take_sample(labels, answers, first_of_each_patient(labels, rows) if unit == FIRST else rows)


def name_judged_folds(labels: LabelTable) -> str:
    """Return the judged folds in words, as in "fold 19 of strat_fold"."""
    numbers = ", ".join(map(str, labels.folds.judged))
    return f"fold{'s' if len(labels.folds.judged) > 1 else ''} {numbers} of {labels.folds.column}"


def _why_none(labels: LabelTable, account: Account) -> str:
    refused = sum(found.records for found in account.refused.values())
    return (
        f"of {account.listed} ECGs in {name_judged_folds(labels)}, {account.absent} are not in the screened archive, "
        f"{account.open} are not screened yet, {refused} were refused, {account.other_patient} name another patient, "
        f"and {account.unlabelled + account.unreadable} have no labels"
    )


def _warnings(screened: Screened, labels: LabelTable, account: Account, figures: Figures) -> Iterator[str]:
    layout, folds = labels.layout, labels.folds
    if screened.done < screened.shards:
        yield (
            f"The archive is not screened to its end: {screened.done} of {screened.shards} shards are done. The "
            "figures are those of the ECGs that are done, and change."
        )
    if labels.torn_patients:
        yield (
            f"Patients who have ECGs in several folds of {folds.column}: {labels.torn_patients}. A model that learned "
            f"from other folds has seen some of the judged patients.{KNOWN_SPLIT if layout is MIMIC else ''}"
        )
    if folds.count != layout.fold_count:
        yield (
            f"The labels have {folds.count} folds, and {layout.file} as published has {layout.fold_count}: "
            "part of the table is missing."
        )
    if not folds.are_test:
        yield f"Judged is {name_judged_folds(labels)}, which is not the published test fold."
    if account.other_patient:
        yield f"ECG files that name another patient than the labels: {account.other_patient}. They are left out."
    if account.unreadable:
        yield f"ECGs whose labels cannot be read: {account.unreadable}. They are left out."
    if isinstance(figures, DiseaseFigures):
        yield from _unshifted(figures)


def _unshifted(figures: DiseaseFigures) -> Iterator[str]:
    reasons = [found.reason for found in figures.shifts.values() if isinstance(found, NoShift)]
    if len(reasons) == len(figures.shifts):
        yield f"The calibration after a shift of prevalence is missing: {reasons[0]}."
