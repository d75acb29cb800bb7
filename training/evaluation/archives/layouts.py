"""The published tables of labels that a model is judged by: their columns, and what a cell of labels means.

`records_w_diag_icd10.csv` of MIMIC-IV-ECG-Ext-ICD (Strodthoff et al., PhysioNet 2024), and `ptbxl_database.csv` of
PTB-XL with `scp_statements.csv` beside it (Wagner et al., Scientific Data 2020).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from schemas.errors import InvalidSettings, MalformedRecord
from schemas.messages import DISEASES
from training.cohort.mimic import CODE_COLUMNS, FOLD_COLUMNS, LABELS, SEXES, SOURCE, parse_codes
from training.cohort.source_tables import label_diseases, read_rows, table_columns

from .anchors import ANCHORS

ArchiveName: TypeAlias = Literal["mimic-iv-ecg", "ptb-xl"]
Meaning: TypeAlias = Callable[[str | None], tuple[bool, ...]]
"""From a cell of labels to the outcomes, none where nothing is known; raises `MalformedRecord` for a damaged cell."""

DATABASE, STATEMENTS = "ptbxl_database.csv", "scp_statements.csv"
SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
MAX_STATEMENTS_CHARS = 2000

_STATEMENTS = re.compile(r"\{(?:\s*'[^'{}]{1,20}'\s*:\s*[0-9]+(?:\.[0-9]+)?\s*(?:,|(?=\})))*\s*\}")
_STATEMENT = re.compile(r"'([^'{}]{1,20})'\s*:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A published table of labels.

    Attributes:
        title: of the data set that publishes it.
        file: as it is published.
        key: the column of the ECG's id.
        folds, codes: columns of which the first that is there is used.
        sexes: words for female (true) and male.
        fold_count: of the published table.
        oldest: stands for every age above the last one that is told.
        places: columns of flags that say where the ECG was taken, and words for them.
        outcomes: what a cell of labels is about.
    """

    archive: ArchiveName
    title: str
    file: str
    key: str
    patient: str
    time: str
    sex: str
    folds: tuple[str, ...]
    fold_count: int
    codes: tuple[str, ...]
    sexes: Mapping[str, bool]
    oldest: float
    places: Mapping[str, str] = field(default_factory=dict)
    outcomes: tuple[str, ...]

    def lacking(self, columns: set[str]) -> list[str]:
        """Return the columns that a table would need to have this layout."""
        needed = ((self.key,), (self.patient,), (self.time,), self.folds, self.codes)
        return [" or ".join(names) for names in needed if not columns.intersection(names)]


MIMIC = Layout(
    archive=SOURCE,
    title="MIMIC-IV-ECG-Ext-ICD",
    file=LABELS,
    key="study_id",
    patient="subject_id",
    time="ecg_time",
    sex="gender",
    folds=FOLD_COLUMNS,
    fold_count=20,
    codes=CODE_COLUMNS,
    sexes=SEXES,
    oldest=91,
    places={"ecg_taken_in_ed": "emergency department", "ecg_taken_in_hosp": "hospital"},
    outcomes=(*DISEASES, *(anchor.code for anchor in ANCHORS.values())),
)
PTB_XL = Layout(
    archive="ptb-xl",
    title="PTB-XL",
    file=DATABASE,
    key="ecg_id",
    patient="patient_id",
    time="recording_date",
    sex="sex",
    folds=("strat_fold",),
    fold_count=10,
    codes=("scp_codes",),
    sexes={"1": True, "1.0": True, "0": False, "0.0": False},
    oldest=300,
    outcomes=SUPERCLASSES,
)


def layout_of(table: Path) -> Layout:
    """Return the layout of a table of labels.

    Raises:
        InvalidSettings: there is no such file, or it is no such table; says which columns it lacks.
        UnreadableCohort: it cannot be read.
    """
    if table.is_dir():
        raise InvalidSettings(f"{table} is a folder: name the table in it, {MIMIC.file} or {PTB_XL.file}")
    columns = set(table_columns(table))
    lacks = {layout.archive: layout.lacking(columns) for layout in (MIMIC, PTB_XL)}
    for layout in (MIMIC, PTB_XL):
        if not lacks[layout.archive]:
            return layout
    told = "; ".join(
        f"to be {one.file} of {one.title} it lacks {', '.join(lacks[one.archive])}" for one in _likely(columns)
    )
    raise InvalidSettings(f"{table} is no table of labels: {told}")


def meaning_of(layout: Layout, table: Path) -> Meaning:
    """Return what a cell of labels means.

    Raises:
        InvalidSettings: PTB-XL's table of statements is not beside the table.
        UnreadableCohort: it has other columns.
    """
    if layout.archive == MIMIC.archive:
        return _diagnosed
    superclass_of = read_superclasses(table.parent / STATEMENTS)
    return lambda cell: _superclasses(cell, superclass_of)


def read_superclasses(table: Path) -> dict[str, str]:
    """Return the superclass of each diagnostic statement.

    Raises:
        InvalidSettings: the table is not there.
        UnreadableCohort: it has other columns.
    """
    if not table.is_file():
        raise InvalidSettings(f"{table} is not there: it says to which superclass a statement belongs")
    statement = next(iter(table_columns(table)), "")  # the column of the statements has no name
    rows = read_rows(table, (statement, "diagnostic", "diagnostic_class"))
    return {
        row[statement] or "": row["diagnostic_class"] or ""
        for row in rows
        if row["diagnostic"] in {"1", "1.0"} and row["diagnostic_class"] in SUPERCLASSES
    }


def parse_statements(cell: str | None) -> list[str]:
    """Return the statements of a cell such as `{'NORM': 100.0, 'SR': 0.0}`. It is not evaluated.

    A likelihood of 0 means that nobody told it, so that the statement counts.

    Raises:
        MalformedRecord: `unreadable_labels`: it is no such text.
    """
    text = (cell or "").strip()
    if len(text) > MAX_STATEMENTS_CHARS or not _STATEMENTS.fullmatch(text):
        raise MalformedRecord("statements that are not the text of a dictionary", code="unreadable_labels")
    return _STATEMENT.findall(text)


def _diagnosed(cell: str | None) -> tuple[bool, ...]:
    """Return the five diseases, and whether there is a code of each anchor; none for an ECG outside any stay."""
    codes = parse_codes(cell)
    if not codes:
        return ()
    anchored = (any(code.startswith(anchor.code) for code in codes) for anchor in ANCHORS.values())
    return (*label_diseases(codes).values(), *anchored)


def _superclasses(cell: str | None, superclass_of: Mapping[str, str]) -> tuple[bool, ...]:
    """Return whether the ECG is of each superclass; none for an ECG without a diagnostic statement."""
    found = {superclass_of[statement] for statement in parse_statements(cell) if statement in superclass_of}
    return tuple(name in found for name in SUPERCLASSES) if found else ()


def _likely(columns: set[str]) -> list[Layout]:
    """Return the layouts that a table may have been meant to have: that whose key it has, or both."""
    return [layout for layout in (MIMIC, PTB_XL) if layout.key in columns] or [MIMIC, PTB_XL]
