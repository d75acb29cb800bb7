"""Reads `labels.csv`: a table of real ECG files with their data set, their patient and their diagnoses."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

from engines.regular_file import open_regular
from schemas.errors import InvalidSettings

from .source_tables import as_number

LABELS = "labels.csv"
COLUMNS = ("record", "file", "dataset", "patient", "NORM")
"""Columns that every table must have; a reader may need more of them."""
DIAGNOSES = ("NORM", "MI", "LVH")
"""Columns that hold 1 where an ECG has the diagnosis; NORM: the ECG is normal."""


@dataclass(frozen=True, slots=True)
class LabelledEcg:
    """One line of the table.

    Attributes:
        path: of the ECG file.
        patient: the patient's identifier; where the table names no patient, the record's.
        age_years: NaN where it is not known.
        diagnoses: some of `DIAGNOSES`.
    """

    path: Path
    dataset: str
    patient: str
    age_years: float
    diagnoses: frozenset[str]


def read_labelled_ecgs(folder: Path, *needs: str) -> list[LabelledEcg]:
    """Return the lines of the `labels.csv` in a folder of ECG files.

    Args:
        folder: the table's paths are relative to it.
        needs: columns that the table must have beside `COLUMNS`.

    Raises:
        InvalidSettings: the table cannot be read, lacks a column, has no lines, or lists a file twice.
    """
    path = folder / LABELS
    try:
        with TextIOWrapper(open_regular(path), encoding="utf-8", newline="") as file:
            table = csv.DictReader(file, restval="")
            columns, lines = table.fieldnames or (), list(table)
    except (OSError, UnicodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidSettings(
            f"{folder} has no {LABELS} that can be read ({reason}): name a folder of ECG files with a table of them"
        ) from error
    if missing := [name for name in (*COLUMNS, *needs) if name not in columns]:
        raise InvalidSettings(f"{path} lacks the columns {', '.join(missing)}")
    if not lines:
        raise InvalidSettings(f"{path} lists no ECG")
    if twice := [file for file, count in Counter(line["file"] for line in lines).items() if count > 1]:
        raise InvalidSettings(
            f"{path} lists {len(twice)} files more than once, such as {twice[0]}: keep one line of each"
        )
    return [_labelled(folder, line) for line in lines]


def one_a_patient(ecgs: Iterable[LabelledEcg]) -> Iterator[LabelledEcg]:
    """Yield the first ECG of each patient."""
    seen: set[str] = set()
    for ecg in ecgs:
        if ecg.patient not in seen:
            seen.add(ecg.patient)
            yield ecg


def _labelled(folder: Path, line: dict[str, str]) -> LabelledEcg:
    return LabelledEcg(
        path=folder / line["file"],
        dataset=line["dataset"],
        patient=line["patient"] or line["record"],
        age_years=as_number(line.get("age")),
        diagnoses=frozenset(name for name in DIAGNOSES if line.get(name) == "1"),
    )
