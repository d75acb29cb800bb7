"""Reads an archive's table of labels into arrays, and finds what would make its figures wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InvalidSettings, MalformedRecord
from training.cohort.mimic import OLDEST_YEARS
from training.cohort.source_tables import name_folds, read_batches, table_columns

from .layouts import FLAGS, Layout, Meaning, layout_of, meaning_of
from .text_columns import UNKNOWN, coded, numbers, required_numbers, seconds

OLDEST_KNOWN = 90.0
"""What an age stands for that is only known to be above 89."""
_FOLDS = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")


@dataclass(frozen=True, slots=True)
class Folds:
    """The folds of a table.

    Attributes:
        column: of the table.
        judged: their numbers.
        development: the fold that the shift of prevalence is fitted on; None if it is judged or is not there.
        are_test: whether the test fold of the column is judged, and no other.
        are_cohorts: whether the column is the one by which a cohort of this archive is split.
        count: of all folds in the table.
    """

    column: str
    judged: tuple[int, ...]
    development: int | None
    are_test: bool
    are_cohorts: bool
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class LabelTable:
    """What a table of labels says, a row an ECG, by rising key.

    Attributes:
        torn_patients: how many patients have ECGs in several folds.
        keys: (n,) int64 ids of the ECGs.
        patients: (n,) int64.
        fold: (n,) int64.
        seconds: (n,) int64, only good for their order; `NEVER` where the time is not known.
        female: (n,) int8 1, 0, or `UNKNOWN`.
        age_years: (n,) float32, NaN where it is not known.
        places: where the ECG was taken: (n,) int8 1, 0, or `UNKNOWN` by words for the place.
        outcomes: (n, outcomes of the layout) int8 1, 0, or `UNKNOWN`; read in the judged folds and for development.
        unreadable: (n,) whether the cell of labels could not be read.
    """

    path: Path
    layout: Layout
    folds: Folds
    torn_patients: int
    keys: NDArray[np.int64]
    patients: NDArray[np.int64]
    fold: NDArray[np.int64]
    seconds: NDArray[np.int64]
    female: NDArray[np.int8]
    age_years: NDArray[np.float32]
    places: dict[str, NDArray[np.int8]]
    outcomes: NDArray[np.int8]
    unreadable: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Which rows lie in the judged folds (n,)."""
        return np.isin(self.fold, self.folds.judged)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Which rows have labels (n,)."""
        known: NDArray[np.bool_] = self.outcomes[:, 0] != UNKNOWN
        return known


def read_labels(path: Path, asked: str | None = None, fold_column: str | None = None) -> LabelTable:
    """Return a table of labels.

    Args:
        path: CSV or Parquet.
        asked: the folds to judge, such as `19` or `0-17,19`; the published test fold by default.
        fold_column: of the table; the one by which a cohort of this archive is split by default.

    Raises:
        InvalidSettings: there is no such file, it is no such table, it lists an ECG twice, or has no such fold.
        UnreadableCohort: it cannot be read, or a row has no id or no fold.
    """
    layout = layout_of(path)
    there = table_columns(path)
    if fold_column is not None and fold_column not in there:
        raise InvalidSettings(f"{path} has no column {fold_column}: --fold-column names one of {', '.join(there)}")
    usual = next(name for name in layout.folds if name in there)
    code_column = next(name for name in layout.codes if name in there)
    columns = _read_columns(path, layout, fold_column or usual)
    _refuse_doubled(columns["key"], path, layout)
    folds = _choose(columns["fold"], fold_column or usual, asked, path, are_cohorts=fold_column in {None, usual})
    wanted = np.isin(columns["fold"], [*folds.judged, *([] if folds.development is None else [folds.development])])
    outcomes, unreadable = _read_outcomes(path, code_column, wanted, meaning_of(layout, path), len(layout.outcomes))
    order = np.argsort(columns["key"], kind="stable")
    return LabelTable(
        path=path,
        layout=layout,
        folds=folds,
        torn_patients=_count_torn(columns["patient"], columns["fold"]),
        keys=columns["key"][order],
        patients=columns["patient"][order],
        fold=columns["fold"][order],
        seconds=columns["time"][order],
        female=columns["female"][order],
        age_years=_years(columns["age"][order], layout),
        places={words: columns[name][order] for name, words in layout.places.items() if name in columns},
        outcomes=outcomes[order],
        unreadable=unreadable[order],
    )


def parse_folds(asked: str, there: Sequence[int], where: str) -> tuple[int, ...]:
    """Return the numbers of folds such as `19` or `0-17,19`.

    Raises:
        InvalidSettings: it is no such list, or names a fold that is not there.
    """
    found: set[int] = set()
    for part in asked.split(","):
        numbers_of = _FOLDS.fullmatch(part.strip())
        if numbers_of is None:
            raise InvalidSettings(f"--folds {asked}: write numbers and ranges, such as 19 or 0-17,19")
        first = int(numbers_of[1])
        found.update(range(first, int(numbers_of[2] or first) + 1))
    if strange := sorted(found.difference(there)):
        raise InvalidSettings(f"{where} has no fold {strange[0]}: it has {there[0]} to {there[-1]}")
    if not found:
        raise InvalidSettings(f"--folds {asked} names no fold: write a range from the lower number to the higher one")
    return tuple(sorted(found))


def _read_columns(path: Path, layout: Layout, fold_column: str) -> dict[str, NDArray[Any]]:
    """Return all columns but the labels, in the order of the table, by what they mean; places by their own name."""
    required = (layout.key, layout.patient, fold_column, layout.time)
    optional = ("age", layout.sex, *layout.places)
    parts: dict[str, list[NDArray[Any]]] = {}
    rows = 0
    for batch in read_batches(path, required, optional):
        for name, values in _arrays(batch, path, layout, fold_column, rows):
            parts.setdefault(name, []).append(values)
        rows += batch.num_rows
    if not rows:
        raise InvalidSettings(f"{path} lists no ECG")
    return {name: np.concatenate(values) for name, values in parts.items()}


def _arrays(batch: Any, path: Path, layout: Layout, fold_column: str, rows: int) -> Iterator[tuple[str, NDArray[Any]]]:
    there = batch.schema.names
    for meaning, name in (("key", layout.key), ("patient", layout.patient), ("fold", fold_column)):
        yield meaning, required_numbers(batch.column(name), f"{path}, column {name}", rows)
    yield "time", seconds(batch.column(layout.time))
    unknown = batch.num_rows
    yield "age", numbers(batch.column("age")) if "age" in there else np.full(unknown, np.nan, np.float32)
    sex = layout.sex
    yield "female", coded(batch.column(sex), layout.sexes) if sex in there else np.full(unknown, UNKNOWN, np.int8)
    for name in layout.places:
        if name in there:
            yield name, coded(batch.column(name), FLAGS)


def _read_outcomes(
    path: Path, column: str, wanted: NDArray[np.bool_], meaning: Meaning, count: int
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Return the outcomes of the wanted rows and which cells are unreadable, in the order of the table."""
    outcomes = np.full((len(wanted), count), UNKNOWN, np.int8)
    unreadable = np.zeros(len(wanted), bool)
    start = 0
    for batch in read_batches(path, (column,)):
        rows = start + np.flatnonzero(wanted[start : start + batch.num_rows])
        cells = batch.column(column).take(rows - start).dictionary_encode()  # an ECG's stay has many ECGs
        meanings = [_read_cell(text, meaning, count) for text in [*cells.dictionary.to_pylist(), None]]
        places = np.asarray(cells.indices.fill_null(len(meanings) - 1))
        outcomes[rows] = np.array([found for found, _ in meanings], np.int8)[places]
        unreadable[rows] = np.array([damaged for _, damaged in meanings], bool)[places]
        start += batch.num_rows
    return outcomes, unreadable


def _read_cell(text: str | None, meaning: Meaning, count: int) -> tuple[tuple[int, ...], bool]:
    try:
        found = meaning(text)
    except MalformedRecord:
        return (UNKNOWN,) * count, True
    return tuple(map(int, found)) or (UNKNOWN,) * count, False


def _choose(numbers_of: NDArray[np.int64], column: str, asked: str | None, path: Path, *, are_cohorts: bool) -> Folds:
    names = name_folds(np.unique(numbers_of).tolist())
    of = {name: number for number, name in names.items()}  # the last one of its kind: there is one test fold
    test = of["test"]
    if asked is None and len(names) < 2:
        raise InvalidSettings(
            f"{path}: all ECGs lie in fold {test} of {column}, so nobody knows whether it is the test fold: "
            f"take the whole table, or say --folds {test}"
        )
    judged = (test,) if asked is None else parse_folds(asked, list(names), f"{column} of {path}")
    development = of.get("development")
    return Folds(
        column=column,
        judged=judged,
        development=None if development in judged else development,
        are_test=judged == (test,),
        are_cohorts=are_cohorts,
        count=len(names),
    )


def _refuse_doubled(keys: NDArray[np.int64], path: Path, layout: Layout) -> None:
    found, counts = np.unique(keys, return_counts=True)
    if len(found) < len(keys):
        doubled = found[counts > 1]
        raise InvalidSettings(
            f"{path} lists {len(doubled)} ECGs more than once, {layout.key} {doubled[0]} among them: "
            "keep one row of each"
        )


def _count_torn(patients: NDArray[np.int64], folds: NDArray[np.int64]) -> int:
    order = np.lexsort((folds, patients))
    patient, fold = patients[order], folds[order]
    torn = (patient[1:] == patient[:-1]) & (fold[1:] != fold[:-1])
    return len(np.unique(patient[1:][torn]))


def _years(ages: NDArray[np.float32], layout: Layout) -> NDArray[np.float32]:
    told = np.where(ages == layout.oldest, np.float32(OLDEST_KNOWN), ages)
    return np.where((told >= 0) & (told <= OLDEST_YEARS), told, np.float32(np.nan)).astype(np.float32)
