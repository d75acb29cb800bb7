"""Reads MIMIC-IV-ECG with the diagnoses of MIMIC-IV-ECG-Ext-ICD into a cohort, a record at a time.

The archive: `files/p1000/p10000032/s40689238/40689238.{hea,dat}` and `machine_measurements.csv`. The diagnoses:
`records_w_diag_icd10.csv`, one row a record, its ICD-10 codes as the text of a Python list, without the dot; an empty
list stands for "no stay is linked to this ECG", so the labels are unknown then, not negative. Whoever has passed the
table through pandas, NumPy or JSON has the list in other words; these are read too (`parse_codes`).

MIMIC-IV gives the age 91 to everyone who is older than 89, so 91 means "90 or more".

The split is the release's own, by patient: `strat_fold` (or `fold`), 0 to 19, the last for the test, the one before for
development. Version 1.0.1 or later: in 1.0.0 `strat_fold` was wrong, and a split that tears patients apart is refused.

Sources: Gow et al., PhysioNet 2023 (MIMIC-IV-ECG 1.0); Strodthoff et al., PhysioNet 2024 (Ext-ICD 1.0.1).
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.file_account import FileAccount
from inference.reading.read_ecg import read_ecg
from schemas.errors import InvalidSettings, MalformedRecord, RecordError, UnreadableCohort

from .layout import MACHINE_MEASUREMENTS, Cohort, Fold, Row, open_cohort
from .process_pool import each_in_order
from .source_tables import (
    as_kept,
    as_number,
    as_whole,
    label_diseases,
    name_folds,
    name_subtype,
    read_rows,
    table_columns,
)
from .writer import write_cohort

SOURCE: Final = "mimic-iv-ecg"
LABELS = "records_w_diag_icd10.csv"
MEASUREMENTS = "machine_measurements.csv"
FOLD_COLUMNS = ("strat_fold", "fold")
CODE_COLUMNS = ("all_diag_all", "all_diag_hosp")
"""The first that is there: `all_diag_all` is the hospital's diagnoses, else the emergency department's."""
MISSING_MEASUREMENT = 29999.0
RAW_MEASUREMENTS = ("rr_interval", "p_onset", "qrs_onset", "qrs_end", "t_end", "p_axis", "qrs_axis", "t_axis")
REPORTS = tuple(f"report_{line}" for line in range(18))

MAX_CODES_CHARS = 20_000
MAX_CODES = 500
OLDEST_YEARS = 120

_PATH = re.compile(r"files/p\d+(?:/p\d+)?/s\d+/\d+$")
_FIBRILLATION = re.compile(r"\s*atrial fibrillation\b(?!.*no longer)", re.IGNORECASE)

_LIST = re.compile(r"(?:array\(\s*)?\[([^\[\]]*)\](?:,?\s*dtype=[^\s()]+\)|\))?")
_ITEM = re.compile(
    r"(?P<before>np\.str_\(|[bu])?(?P<quote>['\"])?(?P<code>[A-Za-z][0-9][0-9A-Za-z](?:\.?[0-9A-Za-z]{1,6})?)"
    r"(?(quote)(?P=quote))(?(before)\)?)"
)
"""A code of ICD-10 as an item of a list: a letter, a digit, and at least one place more."""
SEXES = {"f": True, "female": True, "m": False, "male": False}

Texts = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Split:
    """The release's split.

    Attributes:
        column: of the fold.
        folds: by the number in that column.
        rows: of the table.
    """

    column: str
    folds: dict[str, Fold]
    rows: int


@dataclass(frozen=True, slots=True)
class MachineMeasurements:
    """What the ECG carts measured.

    Attributes:
        study_ids: (n,) ascending.
        values: (n, 7) float32 in the order of the layout's `MACHINE_MEASUREMENTS`, NaN where there is none.
        fibrillation: (n,) 1 where a line of the report begins with "Atrial fibrillation", 0 where none does, NaN where
            there is no report.
    """

    study_ids: NDArray[np.int64]
    values: NDArray[np.float32]
    fibrillation: NDArray[np.float32]

    def of_study(self, study_id: int) -> tuple[dict[str, float], bool | None]:
        """Return the measurements of a study by name, and whether its rhythm is atrial fibrillation."""
        place = int(np.searchsorted(self.study_ids, study_id))
        if place == len(self.study_ids) or self.study_ids[place] != study_id:
            return {}, None
        rhythm = self.fibrillation[place]
        named = dict(zip(MACHINE_MEASUREMENTS, self.values[place].tolist(), strict=True))
        return named, None if np.isnan(rhythm) else bool(rhythm)


def import_mimic(
    root: Path,
    destination: Path,
    *,
    labels: Path | None = None,
    account: FileAccount | None = None,
    progress: Callable[[int, int], object] = lambda _done, _total: None,
    processes: int | None = None,
) -> Cohort:
    """Write the cohort of an archive and return it opened; records that cannot be used are counted by code.

    Args:
        root: of MIMIC-IV-ECG.
        destination: the cohort's folder.
        labels: `records_w_diag_icd10.csv`; in the root by default.
        account: of the records that cannot be used.
        progress: called with the number of rows done, and of all.
        processes: that read ECGs; one a core by default. A program that asks for several must guard its own entry by
            `if __name__ == "__main__"`.

    Raises:
        InvalidSettings: a path is wrong.
        UnreadableCohort: a table is not as published, a patient lies in several folds, or no record can be used.
    """
    table = labels or root / LABELS
    if not (root / "files").is_dir():
        raise InvalidSettings(f"{root} is not a MIMIC-IV-ECG archive: it has no folder 'files'")
    if not table.is_file():
        raise InvalidSettings(f"{table} is not there: name the table of MIMIC-IV-ECG-Ext-ICD with --labels")
    archive = Archive(
        split=read_split(table),
        codes_column=_first_column(table, CODE_COLUMNS),
        measurements=read_machine_measurements(root / MEASUREMENTS),
    )
    columns = ("file_name", "study_id", "subject_id", archive.codes_column, archive.split.column)
    with write_cohort(destination, source=SOURCE, rows=archive.split.rows, account=account) as writer:
        rows = read_rows(table, columns, ("age", "gender"))
        every = each_in_order(partial(read_ecgs, root), rows, archive.split.rows, processes)
        for done, (texts, ecg) in enumerate(every, start=1):
            try:
                row = archive.row(texts)
                if isinstance(ecg, RecordError):
                    raise ecg
                writer.add(row, ecg)
            except RecordError as refusal:
                writer.skip(refusal.wire_code, texts["file_name"] or f"{table}, row {done}", refusal.detail)
            progress(done, archive.split.rows)
    return open_cohort(destination)


@dataclass(frozen=True, slots=True)
class Archive:
    """What the tables of an archive say.

    Attributes:
        codes_column: of the diagnoses that become labels.
    """

    split: Split
    codes_column: str
    measurements: MachineMeasurements

    def row(self, texts: Texts) -> Row:
        """Return what the index says of a row of the table of diagnoses.

        Raises:
            MalformedRecord: a cell cannot be read.
        """
        codes = parse_codes(texts[self.codes_column])
        study_id = as_whole(texts["study_id"])
        if not study_id.isdecimal():
            raise MalformedRecord(f"a study is called {study_id!r}")
        machine, fibrillation = self.measurements.of_study(int(study_id))
        age = as_number(texts.get("age"))
        return Row(
            record_id=study_id,
            patient_id=as_whole(texts["subject_id"]),
            fold=self.split.folds[as_whole(texts[self.split.column])],
            age_years=age if 0 <= age <= OLDEST_YEARS else None,
            female=SEXES.get((texts.get("gender") or "").strip().lower()),
            atrial_fibrillation=fibrillation,
            diseases=label_diseases(codes) if codes else {},
            subtype=name_subtype(codes),
            machine=machine,
        )


def read_ecgs(root: Path, rows: Sequence[Texts]) -> list[tuple[Texts, NDArray[np.int16] | RecordError]]:
    """Return rows of the table of diagnoses, each with its ECG as a cohort keeps it, or why there is none."""
    return [(texts, _read_ecg(root, texts)) for texts in rows]


def _read_ecg(root: Path, texts: Texts) -> NDArray[np.int16] | RecordError:
    place = _PATH.search(texts["file_name"] or "")  # the table puts the release's name before it
    if place is None:
        return MalformedRecord(f"{texts['file_name']!r} is not a path in the archive")
    try:
        record = read_ecg(root / f"{place[0]}.hea")
        if record.patient_id not in (None, as_whole(texts["subject_id"])):
            return MalformedRecord("the header names another patient", code="other_patient")
        return as_kept(record)
    except RecordError as refusal:
        return refusal


def parse_codes(text: str | None) -> list[str]:
    """Return the ICD-10 codes of a cell, in capitals and without dots.

    The cell is a list in the words of Python (`['I21', 'I50']`), JSON (`["I21"]`), NumPy (`['I21' 'I50']`,
    `array(['I21'], dtype=object)`, `[np.str_('I21')]`) or pandas (`[I21, I50]`). It is not evaluated: to Python, what
    NumPy writes is the one string `I21I50`.

    Raises:
        MalformedRecord: `unreadable_labels`: it is no such list, or an item is no code.
    """
    refusal = MalformedRecord("diagnoses that are not the text of a list of codes", code="unreadable_labels")
    if text is None or len(text) > MAX_CODES_CHARS:
        raise refusal
    listed = _LIST.fullmatch(text.strip())
    if listed is None:
        raise refusal
    inner = listed[1].strip()
    items = (inner.split(",") if "," in inner else inner.split()) if inner else []
    codes = [code for item in items if (code := _ITEM.fullmatch(item.strip()))]
    styles = {(code["before"], code["quote"]) for code in codes}
    if len(codes) < len(items) or len(items) > MAX_CODES or len(styles) > 1:
        raise refusal
    return [code["code"].replace(".", "").upper() for code in codes]


def read_split(table: Path) -> Split:
    """Return the release's split.

    Raises:
        UnreadableCohort: there is none, or it tears patients apart.
    """
    column = _first_column(table, FOLD_COLUMNS)
    fold_of: dict[str, str] = {}
    rows = 0
    for texts in read_rows(table, ("subject_id", column)):
        patient, number = as_whole(texts["subject_id"]), as_whole(texts[column])
        if not patient or not number.isdecimal():
            raise UnreadableCohort(f"{table}, row {rows + 1}: no patient, or no number in {column}")
        if fold_of.setdefault(patient, number) != number:
            raise UnreadableCohort(
                f"{table}: patient {patient} has records in several folds of {column}: "
                "take version 1.0.1 of MIMIC-IV-ECG-Ext-ICD, or remove the column"
            )
        rows += 1
    folds = name_folds(map(int, fold_of.values()))
    if len(folds) < 3:
        raise UnreadableCohort(f"{table}: {column} has fewer than three folds")
    return Split(column, {number: folds[int(number)] for number in set(fold_of.values())}, rows)


def _first_column(table: Path, names: tuple[str, ...]) -> str:
    columns = table_columns(table)
    found = next((name for name in names if name in columns), None)
    if found is None:
        raise UnreadableCohort(f"{table} has none of the columns {', '.join(names)}")
    return found


def read_machine_measurements(table: Path) -> MachineMeasurements:
    """Return what the carts measured; nothing where the archive lacks the table.

    Raises:
        UnreadableCohort: the table is not as published.
    """
    study_ids, values, fibrillation = array("q"), array("f"), array("f")
    rows = read_rows(table, ("study_id", *RAW_MEASUREMENTS), REPORTS) if table.is_file() else iter(())
    for texts in rows:
        study_id = as_whole(texts["study_id"])
        if not study_id.isdecimal():
            raise UnreadableCohort(f"{table}: a study is called {study_id!r}")
        study_ids.append(int(study_id))
        values.extend(
            _measured({name: as_number(texts[name], missing=MISSING_MEASUREMENT) for name in RAW_MEASUREMENTS})
        )
        fibrillation.append(_fibrillates([line for name in REPORTS if (line := texts.get(name))]))
    order = np.argsort(np.array(study_ids, np.int64), kind="stable")
    return MachineMeasurements(
        np.array(study_ids, np.int64)[order],
        np.array(values, np.float32).reshape(-1, len(MACHINE_MEASUREMENTS))[order],
        np.array(fibrillation, np.float32)[order],
    )


def _measured(raw: Mapping[str, float]) -> tuple[float, ...]:
    """Return the layout's measurements: intervals from the times of onsets and ends, in ms."""
    intervals = (
        raw["qrs_onset"] - raw["p_onset"],
        raw["qrs_end"] - raw["qrs_onset"],
        raw["t_end"] - raw["qrs_onset"],
    )
    rate = 60_000 / raw["rr_interval"] if raw["rr_interval"] > 0 else np.nan
    positive = (interval if interval > 0 else np.nan for interval in intervals)
    return (rate, *positive, raw["p_axis"], raw["qrs_axis"], raw["t_axis"])


def _fibrillates(report: list[str]) -> float:
    return float(any(_FIBRILLATION.match(line) for line in report)) if report else np.nan
