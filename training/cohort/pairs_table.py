"""Reads the table of one's own pairs: a row an ECG, with its cine, its patient, and what is known of both.

A fault of the table is a fault of whoever wrote it, who can mend it at once. So all rows are checked before the first
ECG is read, and one faulty row refuses the table.
"""

from __future__ import annotations

import difflib
import posixpath
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TypeVar

import numpy as np

from inference.phenotypes import MEASUREMENTS
from inference.reading.content import printable
from inference.reading.file_note import FileNote, Status
from schemas.errors import InvalidSettings, UnreadableCohort
from schemas.messages import DISEASES, SUBTYPES, CardiomyopathySubtype
from schemas.record_limits import MAX_ID_CHARACTERS
from training.arrays import Floats

from .layout import FOLDS, PHENOTYPES, SHARES, Fold, Row, assign_fold
from .plausible import BOUNDS, find_other_unit
from .text_table import Cells, TextTable, as_name, is_unknown

ECG, CINE, PATIENT, ID, FOLD, AGE, SEX = "ecg", "cine", "patient", "id", "fold", "age", "sex"
FIBRILLATION, SUBTYPE = "atrial_fibrillation", "cardiomyopathy_subtype"
REQUIRED = (ECG, PATIENT)
DESCRIBING = (ECG, PATIENT, CINE, ID, FOLD, AGE, SEX, FIBRILLATION, *DISEASES, SUBTYPE)
COLUMNS = (*DESCRIBING, *PHENOTYPES)

IMPLAUSIBLE, UNKNOWN_COLUMN, FAULTY_ROW = "implausible_value", "unknown_column", "faulty_row"
SHOWN_FAULTS = 5
OTHER_NAMES = {
    "record": ECG,
    "path": ECG,
    "file": ECG,
    "patient_id": PATIENT,
    "subject_id": PATIENT,
    "record_id": ID,
    "age_years": AGE,
    "gender": SEX,
    "female": SEX,
    "split": FOLD,
}
"""What others, and our own files, call these columns."""
ALIKE = 0.8
"""From this likeness on, a name may be a slip."""
CHECKED_VALUES = 10_000
"""Of a column: so many say which unit it is in."""
OLDEST_YEARS = 120.0

_YES_NO = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
_SEXES = {"f": True, "female": True, "w": True, "m": False, "male": False}
_FOLDS: dict[str, Fold] = {fold: fold for fold in FOLDS}
_SUBTYPES: dict[str, CardiomyopathySubtype] = {subtype: subtype for subtype in SUBTYPES}

Value = TypeVar("Value")


class FaultyRow(Exception):  # noqa: N818 -- it names the condition, as the others do
    """A row of the table cannot be understood. Its text says what to do."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A row of the table.

    Attributes:
        place: the table and the row's number, in words.
        ecg, cine: paths below the root; None where there is no cine.
        row: the line of the cohort's index, without a scan.
        implausible: a sentence on each value that cannot be, and that counts as unknown.
    """

    place: str
    ecg: str
    cine: str | None
    row: Row
    implausible: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PairsTable:
    """A table that was checked.

    Attributes:
        used: the columns that are read.
        left_out: the columns that nobody reads.
        rows: how many there are.
        scans: how many different cines they name.
    """

    table: TextTable
    used: tuple[str, ...]
    left_out: tuple[str, ...]
    rows: int
    scans: int
    folds: tuple[float, float]

    def pairs(self) -> Iterator[Pair]:
        """Yield the rows."""
        for number, cells in self.table.rows(self.used):
            yield _pair(self.table, number, cells, self.folds)


def check_pairs(
    table: TextTable,
    *,
    ignored: Collection[str] = (),
    folds: tuple[float, float] = SHARES,
    tell: Callable[[FileNote], object] = lambda _note: None,
) -> PairsTable:
    """Return the table after all of its rows were checked.

    Args:
        table: as it was opened.
        ignored: columns that are left out, whatever they are called.
        folds: shares of the patients for training and for development, where the table has no folds.
        tell: is told of every faulty row, and of every column that is left out.

    Raises:
        InvalidSettings: an ignored column is not there.
        UnreadableCohort: a column is missing, has a name that is almost right, or is in another unit; or a row is
            faulty.
    """
    used = _used_columns(table, ignored)
    left_out = tuple(name for name in table.columns if name and name not in used)
    for name in left_out:
        tell(_note(printable(table.path), "taken", UNKNOWN_COLUMN, f"the column {name} is left out"))
    checked, columns = _Checks(), _Columns(table, used)
    faults: list[str] = []
    rows = 0
    for number, cells in table.rows(used):
        rows += 1
        try:
            checked.add(_pair(table, number, cells, folds))
            columns.add(cells)
        except FaultyRow as fault:
            faults.append(f"row {number}: {fault}")
            tell(_note(f"{table.path}, row {number}", "refused", FAULTY_ROW, str(fault)))
    _refuse(table.path, faults, rows)
    columns.refuse_other_units()
    return PairsTable(table, used, left_out, rows, len(checked.cines), folds)


def _used_columns(table: TextTable, ignored: Collection[str]) -> tuple[str, ...]:
    """Return the columns that are read, in order.

    A name that is not known is left out, unless it is almost that of a column that is not there: it may be a slip.
    """
    if absent := [name for name in ignored if name not in table.columns]:
        raise InvalidSettings(f"{table.path} has no column {', '.join(absent)} to ignore")
    there = [name for name in table.columns if name and name not in ignored]
    unused = [name for name in COLUMNS if name not in there]
    if slips := {name: near for name in there if name not in COLUMNS and (near := _near(name, unused))}:
        named = ", ".join(f"{name} (is it {_in_words(near)}?)" for name, near in slips.items())
        options = " ".join(f"--ignore {name}" for name in slips)
        raise UnreadableCohort(f"{table.path} has columns whose names are almost known: {named}. Rename, or {options}")
    if missing := [name for name in REQUIRED if name not in there]:
        raise UnreadableCohort(
            f"{table.path} lacks the columns {', '.join(missing)}; it has {', '.join(table.columns[:12])}. Columns may "
            f"be {', '.join(DESCRIBING)}, and the measurements"
        )
    return tuple(name for name in there if name in COLUMNS)


def _near(name: str, unused: Sequence[str]) -> str | None:
    """Return the column that a name may stand for, of those that the table does not have."""
    other = OTHER_NAMES.get(name.lower())
    if other in unused:
        return other
    alike = {_plain(known): known for known in unused}
    close = difflib.get_close_matches(_plain(name), alike, n=1, cutoff=ALIKE)
    return alike[close[0]] if close else None


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "")


def _in_words(name: str) -> str:
    unit = next((measurement.unit for measurement in MEASUREMENTS if measurement.name == name), None)
    return f"{name}, in {unit}" if unit else name


def _note(path: str, status: Status, code: str, detail: str) -> FileNote:
    return FileNote(path=path, status=status, code=code, detail=detail)


class _Checks:
    """What must hold between rows: one row an id, one an ECG, one fold a patient, one patient a cine."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._ecgs: set[str] = set()
        self._folds: dict[str, Fold] = {}
        self.cines: dict[str, str] = {}

    def add(self, pair: Pair) -> None:
        """Take a row, or refuse it.

        Raises:
            FaultyRow: it contradicts an earlier one.
        """
        row = pair.row
        if pair.ecg in self._ecgs:
            raise FaultyRow(f"a second row of the ECG {pair.ecg}: keep one")
        if row.record_id in self._ids:
            raise FaultyRow(f"a second row with the id {row.record_id}: give each ECG an id of its own")
        if (fold := self._folds.setdefault(row.patient_id, row.fold)) != row.fold:
            raise FaultyRow(
                f"patient {row.patient_id} is in the {row.fold} fold, and was in the {fold} fold: "
                "all ECGs of a patient belong in one fold"
            )
        if pair.cine and (owner := self.cines.setdefault(pair.cine, row.patient_id)) != row.patient_id:
            raise FaultyRow(f"the cine {pair.cine} is patient {row.patient_id}'s, and was patient {owner}'s")
        self._ecgs.add(pair.ecg)
        self._ids.add(row.record_id)


def _refuse(path: Path, faults: Sequence[str], rows: int) -> None:
    if not rows:
        raise UnreadableCohort(f"{path} has no row: it names no ECG")
    if faults:
        more = (
            f"; and {len(faults) - SHOWN_FAULTS} more: --errors FILE lists them" if len(faults) > SHOWN_FAULTS else ""
        )
        count = "1 faulty row" if len(faults) == 1 else f"{len(faults)} faulty rows"
        raise UnreadableCohort(f"{path} has {count}. {'; '.join(faults[:SHOWN_FAULTS])}{more}")


def _pair(table: TextTable, number: int, cells: Cells, folds: tuple[float, float]) -> Pair:
    """Return what a row says.

    Raises:
        FaultyRow: a cell cannot be understood.
    """
    reader = _Row(table, cells)
    ecg, patient = reader.path(ECG), reader.name(PATIENT)
    if ecg is None or patient is None:
        raise FaultyRow(f"the column {PATIENT if ecg else ECG} is empty")
    row = Row(
        record_id=reader.name(ID) or ecg,
        patient_id=patient,
        fold=reader.fold() or assign_fold(patient, folds),
        age_years=reader.measured(AGE, 0, OLDEST_YEARS),
        female=reader.one_of(SEX, _SEXES, "female or male"),
        atrial_fibrillation=reader.one_of(FIBRILLATION, _YES_NO, "1 or 0"),
        diseases={
            disease: known for disease in DISEASES if (known := reader.one_of(disease, _YES_NO, "1 or 0")) is not None
        },
        subtype=reader.one_of(SUBTYPE, _SUBTYPES, ", ".join(SUBTYPES)),
        phenotypes=reader.phenotypes(),
    )
    if len(row.record_id) > MAX_ID_CHARACTERS:
        raise FaultyRow(
            f"an id of more than {MAX_ID_CHARACTERS} characters: give the ECG a shorter one in a column {ID}"
        )
    return Pair(f"{table.path}, row {number}", ecg, reader.path(CINE), row, tuple(reader.implausible))


class _Row:
    """The cells of a row, each read as what its column is."""

    def __init__(self, table: TextTable, cells: Cells) -> None:
        self._table, self._cells = table, cells
        self.implausible: list[str] = []

    def _known(self, name: str) -> str | None:
        text = self._cells.get(name, "")
        return None if is_unknown(text) else text

    def name(self, column: str) -> str | None:
        text = self._cells.get(column, "")
        if not text.isprintable() or len(text) > MAX_ID_CHARACTERS:
            raise FaultyRow(f"the column {column} has control characters, or more than {MAX_ID_CHARACTERS} characters")
        return as_name(text) or None

    def path(self, column: str) -> str | None:
        """Return a path below the root, with slashes, whatever the system that wrote it."""
        text = self._cells.get(column, "")
        if not text:
            return None
        written = PureWindowsPath(text)
        path = posixpath.normpath(written.as_posix())
        if written.drive or path.startswith(("/", "../")) or path in {".", ".."}:
            raise FaultyRow(f"the column {column} has {text}, which is not below ROOT: write the path from ROOT on")
        return path

    def fold(self) -> Fold | None:
        if FOLD not in self._cells:
            return None
        fold = self.one_of(FOLD, _FOLDS, ", ".join(FOLDS))
        if fold is None:
            raise FaultyRow(f"the column {FOLD} is empty: fill it in all rows, or leave the column out")
        return fold

    def one_of(self, column: str, meanings: Mapping[str, Value], words: str) -> Value | None:
        text = self._known(column)
        if text is None:
            return None
        if (meant := meanings.get(text.lower())) is None:
            raise FaultyRow(f"the column {column} has {text!r}: write {words}, or nothing where it is not known")
        return meant

    def phenotypes(self) -> Floats | None:
        """Return (82,), or None where the table measures nothing."""
        if self._cells.keys().isdisjoint(PHENOTYPES):
            return None
        return np.array([self.measured(name, BOUNDS[name].low, BOUNDS[name].high) for name in PHENOTYPES])

    def measured(self, column: str, low: float, high: float) -> float:
        """Return a number, NaN where it is not known or cannot be."""
        text = self._known(column)
        if text is None:
            return np.nan
        number = self._table.number(text)
        if number is None:
            raise FaultyRow(f"the column {column} has {text!r}, which is no number")
        if low <= number <= high:
            return number
        self.implausible.append(
            f"{column} of {number:g}: it lies between {low:g} and {high:g}, so it counts as unknown"
        )
        return np.nan


class _Columns:
    """The values of the measurements, by column."""

    def __init__(self, table: TextTable, used: Collection[str]) -> None:
        self._table = table
        self._measured = [measurement for measurement in MEASUREMENTS if measurement.name in used]
        self._values = {measurement.name: array("d") for measurement in self._measured}

    def add(self, cells: Cells) -> None:
        for name, values in self._values.items():
            text = cells[name]
            if (
                not is_unknown(text)
                and len(values) < CHECKED_VALUES
                and (number := self._table.number(text)) is not None
            ):
                values.append(number)

    def refuse_other_units(self) -> None:
        """Refuse a column in another unit: its values would be unknown one by one, or be learned.

        Raises:
            UnreadableCohort: there is one.
        """
        found = [said for each in self._measured if (said := find_other_unit(each, self._values[each.name]))]
        if found:
            raise UnreadableCohort(f"{self._table.path} has columns in another unit. {'. '.join(found)}")
