"""The ECGs that are judged together: one a patient, or all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.arrays import Floats
from training.evaluation.bootstrap import DRAWS, draw_patients

from .answers import SCREENED, Answers
from .label_table import LabelTable
from .text_columns import UNKNOWN

BOOTSTRAP_SEED = 0
"""Always the same draws: two models that are judged on the same patients can be compared."""
MAX_WEIGHTS = 2**27
"""Of the bootstrap, 2 bytes each. More ECGs have fewer draws, and need fewer."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """ECGs with labels and answers; NaN where a value is not known.

    Attributes:
        patients: (n,) str.
        outcomes: (n, outcomes of the layout) 0 or 1.
        probabilities: (n, 5) in the order of `DISEASES`.
        female, age_years: (n,).
        places: where the ECG was taken: (n,) int8 1, 0, or `UNKNOWN` by words for the place.
    """

    patients: NDArray[np.str_]
    outcomes: Floats
    probabilities: Floats
    female: Floats
    age_years: Floats
    places: dict[str, NDArray[np.int8]]

    def __len__(self) -> int:
        return len(self.patients)

    def draw(self, draws: int = DRAWS, most: int = MAX_WEIGHTS) -> NDArray[np.uint16]:
        """Return the weights (draws, n) of a bootstrap over patients, of fewer draws where there were too many."""
        bounded = min(draws, max(1, most // max(1, len(self))))
        return draw_patients(self.patients, bounded, BOOTSTRAP_SEED)


def rows_to_judge(labels: LabelTable, answers: Answers, folds: tuple[int, ...]) -> NDArray[np.intp]:
    """Return the rows of some folds that were screened and have labels."""
    return np.flatnonzero(np.isin(labels.fold, folds) & (answers.states == SCREENED) & labels.labelled)


def first_of_each_patient(labels: LabelTable, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the row of each patient's first ECG in time; of the lower id, where two have one time or none."""
    order = rows[np.lexsort((labels.keys[rows], labels.seconds[rows], labels.patients[rows]))]
    patients = labels.patients[order]
    is_first = np.concatenate([[True], patients[1:] != patients[:-1]])[: len(order)]
    return np.sort(order[is_first])


def take_sample(labels: LabelTable, answers: Answers, rows: NDArray[np.intp]) -> Sample:
    """Return the sample of some rows."""
    return Sample(
        patients=labels.patients[rows].astype(np.str_),
        outcomes=_floats(labels.outcomes[rows]),
        probabilities=answers.probabilities[rows],
        female=_floats(labels.female[rows]),
        age_years=labels.age_years[rows].astype(np.float64),
        places={words: flags[rows] for words, flags in labels.places.items()},
    )


def _floats(codes: NDArray[np.int8]) -> Floats:
    return np.where(codes == UNKNOWN, np.nan, codes.astype(np.float64))
