"""A model's answers to an archive, beside its table of labels: which ECGs were screened, refused, or never seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InvalidSettings
from schemas.messages import DISEASES
from training.arrays import Floats

from .label_table import LabelTable
from .text_columns import UNKNOWN

ABSENT, SCREENED, REFUSED, OPEN, OTHER_PATIENT = range(5)
"""States of a row of labels: no ECG of the tables has its key; it was screened; it was refused; its shard is not done;
its file names another patient."""


@dataclass(frozen=True, slots=True, eq=False)
class ScreenedBatch:
    """ECGs that a model answered to.

    Attributes:
        keys: (n,) int64 ids, `UNKNOWN` where an ECG has none that fits.
        patients: (n,) int64 as the files name them, `UNKNOWN` where they name none.
        probabilities: (n, 5) in the order of `DISEASES`.
    """

    keys: NDArray[np.int64]
    patients: NDArray[np.int64]
    probabilities: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The answers, a row for each row of the labels.

    Attributes:
        probabilities: (n, 5), NaN where the ECG was not screened.
        states: (n,) int8.
        codes: (n,) int16 places in `code_names`, `UNKNOWN` where the ECG was not refused.
        unlisted: ECGs of the archive that the labels do not list.
    """

    probabilities: Floats
    states: NDArray[np.int8]
    codes: NDArray[np.int16]
    code_names: tuple[str, ...]
    unlisted: int


class Matching:
    """Puts answers beside the labels, a batch at a time."""

    def __init__(self, labels: LabelTable) -> None:
        self._labels = labels
        self._probabilities = np.full((len(labels), len(DISEASES)), np.nan)
        self._states = np.full(len(labels), ABSENT, np.int8)
        self._codes = np.full(len(labels), UNKNOWN, np.int16)
        self._names: dict[str, int] = {}
        self._unlisted = 0

    def screened(self, batch: ScreenedBatch) -> None:
        """Take answers.

        Raises:
            InvalidSettings: an ECG has two answers.
        """
        rows, of_batch = self._find(batch.keys)
        named = batch.patients[of_batch]
        strange = (named != UNKNOWN) & (named != self._labels.patients[rows])
        self._set(rows, np.where(strange, OTHER_PATIENT, SCREENED))
        self._probabilities[rows[~strange]] = batch.probabilities[of_batch[~strange]]

    def refused(self, keys: NDArray[np.int64], codes: list[str]) -> None:
        """Take refusals, each with its code.

        Raises:
            InvalidSettings: an ECG has two answers.
        """
        rows, of_batch = self._find(keys)
        self._set(rows, np.full(len(rows), REFUSED))
        places = np.array([self._names.setdefault(code, len(self._names)) for code in codes], np.int16)
        self._codes[rows] = places[of_batch]

    def still_open(self, keys: NDArray[np.int64]) -> None:
        """Take ECGs that nobody has screened yet.

        Raises:
            InvalidSettings: one of them has an answer.
        """
        rows, _ = self._find(keys)
        self._set(rows, np.full(len(rows), OPEN))

    def done(self) -> Answers:
        """Return the answers.

        Raises:
            InvalidSettings: no ECG of the tables is in the labels.
        """
        if not (self._states != ABSENT).any():
            key, first = self._labels.layout.key, self._labels.keys[0]
            raise InvalidSettings(
                f"none of the archive's {self._unlisted} ECGs is in {self._labels.path}, whose first {key} is {first}: "
                "name the labels of the archive that was screened"
            )
        return Answers(self._probabilities, self._states, self._codes, tuple(self._names), self._unlisted)

    def _find(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the rows of the labels that the keys have, and the places of those keys in the batch."""
        rows = np.searchsorted(self._labels.keys, keys)
        rows[rows == len(self._labels)] = 0
        listed = self._labels.keys[rows] == keys
        self._unlisted += int((~listed).sum())
        return rows[listed], np.flatnonzero(listed)

    def _set(self, rows: NDArray[np.intp], states: NDArray[np.int_]) -> None:
        again = rows[self._states[rows] != ABSENT]
        if not again.size:
            found, counts = np.unique(rows, return_counts=True)
            again = found[counts > 1]
        if again.size:
            key = f"{self._labels.layout.key} {self._labels.keys[again[0]]}"
            raise InvalidSettings(f"{key} has two answers: screen an archive in which each ECG has one file")
        self._states[rows] = states
