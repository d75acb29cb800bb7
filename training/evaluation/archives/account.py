"""What became of each ECG of an archive: who is judged, and who is not and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .answers import ABSENT, OPEN, OTHER_PATIENT, REFUSED, SCREENED, Answers
from .label_table import LabelTable


@dataclass(frozen=True, slots=True)
class Refusals:
    """ECGs that were refused for one reason.

    Attributes:
        labelled: those whose labels are known.
        ill: those of the labelled that have at least one of the outcomes, the normal ECG not counted.
    """

    records: int
    labelled: int
    ill: int


@dataclass(frozen=True, slots=True)
class Account:
    """The ECGs of the judged folds, by what became of them. The counts from `absent` to `judged` add up to `listed`.

    Attributes:
        listed, patients: in the labels.
        absent: in the labels, and not in the screened archive.
        open: of shards that are not done.
        other_patient: whose files name another patient than the labels.
        refused: by code.
        unlabelled: screened, and nothing is known of them: outside any stay, or without a diagnostic statement.
        unreadable: screened, with a cell of labels that cannot be read.
        judged, judged_patients: screened and labelled.
        patients_without_label: of whom no ECG in these folds has labels.
        unlisted: in the screened archive, and in no fold, since the labels do not list them.
        elsewhere: screened or refused, and listed in other folds.
    """

    listed: int
    patients: int
    absent: int
    open: int
    other_patient: int
    refused: dict[str, Refusals]
    unlabelled: int
    unreadable: int
    judged: int
    judged_patients: int
    patients_without_label: int
    unlisted: int
    elsewhere: int


def count_everyone(labels: LabelTable, answers: Answers) -> Account:
    """Return what became of the ECGs of the judged folds."""
    inside, states = labels.judged, answers.states
    screened = inside & (states == SCREENED)
    judged = screened & labels.labelled
    patients = labels.patients[inside]
    return Account(
        listed=int(inside.sum()),
        patients=len(np.unique(patients)),
        absent=_count(inside & (states == ABSENT)),
        open=_count(inside & (states == OPEN)),
        other_patient=_count(inside & (states == OTHER_PATIENT)),
        refused=_refusals(labels, answers, inside & (states == REFUSED)),
        unlabelled=_count(screened & ~labels.labelled & ~labels.unreadable),
        unreadable=_count(screened & labels.unreadable),
        judged=_count(judged),
        judged_patients=len(np.unique(labels.patients[judged])),
        patients_without_label=len(np.setdiff1d(patients, labels.patients[inside & labels.labelled])),
        unlisted=answers.unlisted,
        elsewhere=_count(~inside & np.isin(states, (SCREENED, REFUSED, OTHER_PATIENT))),
    )


def _refusals(labels: LabelTable, answers: Answers, refused: NDArray[np.bool_]) -> dict[str, Refusals]:
    diseases = labels.outcomes[:, [name != "NORM" for name in labels.layout.outcomes]]
    ill = (diseases == 1).any(axis=1)
    found = {}
    for place, code in enumerate(answers.code_names):
        of_code = refused & (answers.codes == place)
        if of_code.any():
            found[code] = Refusals(_count(of_code), _count(of_code & labels.labelled), _count(of_code & ill))
    return dict(sorted(found.items(), key=lambda pair: -pair[1].records))


def _count(rows: NDArray[np.bool_]) -> int:
    return int(rows.sum())
