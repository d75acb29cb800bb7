"""Reads the imaging visits of UK Biobank into a cohort: ECG, four-chamber cine, the 82 phenotypes and the diagnoses.

What is expected under `ROOT`, wherever in it: the bulk files by their names,

```
1234567_20205_2_0.xml     ECG at rest, field 20205, by CardioSoft; participant, field, visit, place
1234567_20208_2_0.zip     long-axis scans, field 20208, DICOM
```

and a main table, CSV or Parquet, with a row a participant: `eid`, `31-0.0` (sex), `21003-2.0` (age at the visit),
`24100-2.0` … `24181-2.0` (phenotypes), `41270-0.0`, `41270-0.1`, … (ICD-10 codes of hospital stays, without the dot).
Visits 2 and 3 are the imaging ones. A participant who is not in the table is left out: so are those who withdrew.

A participant without a code of a disease counts as without it: hospital records are linked for all of them. Where the
table has no column of codes, nobody's diseases are known. The codes' dates are not looked at, so a disease may have
been diagnosed after the scan.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.file_account import FileAccount
from inference.phenotypes import MEASUREMENTS
from inference.reading.content import printable
from inference.reading.file_note import FileNote, passed_over
from schemas.errors import EngineUnavailable, InvalidSettings, RecordError, UnreadableCohort, UnreadableFile
from training.arrays import Floats

from .cardiosoft import read_cardiosoft
from .layout import SHARES, Cohort, Row, assign_fold, open_cohort
from .process_pool import each_in_order
from .source_tables import as_kept, as_number, label_diseases, name_subtype, read_rows, table_columns
from .ukb_cines import read_four_chamber
from .writer import CohortWriter, write_cohort

SOURCE = "uk-biobank"
VISITS = ("2", "3")
AGE, SEX, ECG, LONG_AXIS = "21003", "31", "20205", "20208"
SHOWN_COLUMNS = 6
NOT_IN_TABLE, UNREADABLE_SCAN = "not_in_table", "unreadable_scan"
DOUBLED_ROW, DOUBLED_FILE, NO_ECG = "doubled_row", "doubled_file", "no_ecg"

_BULK = re.compile(rf"(\d+)_({ECG}|{LONG_AXIS})_([{''.join(VISITS)}])_0\.(?:xml|zip)", re.IGNORECASE)
_CODE_COLUMN = re.compile(r"41270-0\.\d+")

Texts = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Visit:
    """The bulk files of one participant's visit."""

    number: str
    ecg: Path
    scan: Path | None


class KeptEcg(NamedTuple):
    """An ECG as a cohort keeps it, and what the device said and measured."""

    steps: NDArray[np.int16]
    atrial_fibrillation: bool | None
    measurements: dict[str, float]


class ReadVisit(NamedTuple):
    """A visit after its files were read.

    Attributes:
        texts: the participant's row of the table.
        ecg: or why there is none.
        cine: (50, 96, 96), or why there is none; None where there is no scan.
    """

    texts: Texts
    visit: Visit
    ecg: KeptEcg | RecordError
    cine: NDArray[np.uint8] | UnreadableFile | None


def import_ukb(
    root: Path,
    destination: Path,
    *,
    table: Path | None = None,
    account: FileAccount | None = None,
    progress: Callable[[int, int], object] = lambda _done, _total: None,
    folds: tuple[float, float] = SHARES,
    processes: int | None = None,
) -> Cohort:
    """Write the cohort of a UK Biobank delivery and return it opened; what cannot be used is counted by code.

    Args:
        root: of the bulk files.
        destination: the cohort's folder.
        table: the main table; the only CSV or Parquet file in the root by default.
        account: of the files and rows that are not used.
        progress: called with the number of ECGs done, and of all.
        folds: shares of the participants for training and for development.
        processes: that read ECGs and scans; one a core by default. A program that asks for several must guard its own
            entry by `if __name__ == "__main__"`.

    Raises:
        InvalidSettings: a path is wrong.
        EngineUnavailable: there are scans, and no pydicom.
        UnreadableCohort: the table is not as delivered, or no ECG can be used.
    """
    table = table or _only_table(root)
    account = account or FileAccount()
    visits = find_visits(root, account)
    total = sum(map(len, visits.values()))
    scans = sum(visit.scan is not None for of_one in visits.values() for visit in of_one)
    if not total:
        raise InvalidSettings(f"{root} holds no ECG: no file has a name like 1234567_{ECG}_2_0.xml")
    if scans and find_spec("pydicom") is None:
        raise EngineUnavailable("reading the scans needs pydicom: pip install 'cardiacnets[train]'")
    names = table_columns(table)
    measured = {f"{field}-{visit}.0" for visit in VISITS for field in _phenotype_fields()}
    wanted = measured | {f"{SEX}-0.0", *(f"{AGE}-{visit}.0" for visit in VISITS)}
    optional = [name for name in names if name in wanted or _CODE_COLUMN.fullmatch(name)]
    if "eid" in names and not any(name in measured or _CODE_COLUMN.fullmatch(name) for name in names):
        raise UnreadableCohort(
            f"{table} has neither diagnoses (41270-0.0, …) nor measurements (24100-2.0, …); its columns are "
            f"{', '.join(names[:SHOWN_COLUMNS])}, …: name them as the showcase does"
        )
    with write_cohort(destination, source=SOURCE, rows=total, scans=scans, account=account) as writer:
        listed = _listed(table, read_rows(table, ("eid",), optional), visits, writer)
        for done, read in enumerate(each_in_order(read_visits, listed, total, processes), start=1):
            _take(writer, read, folds)
            progress(done, total)
        for visit in (visit for of_one in visits.values() for visit in of_one):
            writer.skip(NOT_IN_TABLE, printable(visit.ecg), "the table has no row of this participant")
    progress(total, total)
    return open_cohort(destination)


def find_visits(root: Path, account: FileAccount) -> dict[str, list[Visit]]:
    """Return the visits that have an ECG, by participant, wherever their files lie under the root.

    The account is told of bulk files that are not used. It is not told of files that have other names: a delivery
    holds many fields.
    """
    files: dict[tuple[str, str], dict[str, Path]] = defaultdict(dict)
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        for found in filter(None, map(_BULK.fullmatch, sorted(names))):
            participant, field, visit = found.groups()
            path = Path(folder, found[0])
            if path != (first := files[participant, visit].setdefault(field, path)):
                detail = f"{printable(first)} has the same name, and is taken"
                account.tell(FileNote(path=printable(path), status="refused", code=DOUBLED_FILE, detail=detail))
    visits: dict[str, list[Visit]] = defaultdict(list)
    for (participant, number), of_visit in sorted(files.items()):
        if ECG in of_visit:
            visits[participant].append(Visit(number, of_visit[ECG], of_visit.get(LONG_AXIS)))
        else:
            account.tell(passed_over(of_visit[LONG_AXIS], code=NO_ECG, detail="a scan whose visit has no ECG"))
    return visits


def _only_table(root: Path) -> Path:
    if not root.is_dir():
        raise InvalidSettings(f"{root} is not a folder")
    tables = [path for path in sorted(root.iterdir()) if path.suffix in (".csv", ".parquet")]
    if len(tables) != 1:
        raise InvalidSettings(f"{root} has {len(tables)} tables, not one: name the main table with --table")
    return tables[0]


def _participant(texts: Texts) -> str:
    return (texts["eid"] or "").removesuffix(".0")


def _phenotype_fields() -> list[str]:
    return [str(measurement.field) for measurement in MEASUREMENTS]


def _listed(
    table: Path, rows: Iterator[Texts], visits: dict[str, list[Visit]], writer: CohortWriter
) -> Iterator[tuple[Texts, Visit]]:
    """Yield each visit whose participant is in the table, and take it away from the others."""
    taken = set[str]()
    for texts in rows:
        participant = _participant(texts)
        if participant in taken:
            writer.skip(DOUBLED_ROW, f"{table}, participant {participant}", "a second row of this participant")
        for visit in visits.pop(participant, ()):
            taken.add(participant)
            yield texts, visit


def read_visits(listed: Sequence[tuple[Texts, Visit]]) -> list[ReadVisit]:
    """Return visits after their files were read, in this process."""
    return [ReadVisit(texts, visit, *_read(visit)) for texts, visit in listed]


def _read(visit: Visit) -> tuple[KeptEcg | RecordError, NDArray[np.uint8] | UnreadableFile | None]:
    try:
        recorded = read_cardiosoft(visit.ecg)
        ecg = KeptEcg(as_kept(recorded.record), recorded.atrial_fibrillation, recorded.measurements)
    except RecordError as refusal:
        return refusal, None
    try:
        return ecg, read_four_chamber(visit.scan) if visit.scan else None
    except UnreadableFile as refusal:
        return ecg, refusal


def _take(writer: CohortWriter, read: ReadVisit, folds: tuple[float, float]) -> None:
    """Add one visit, without its scan where that cannot be read; count what is not taken."""
    texts, visit, ecg = read.texts, read.visit, read.ecg
    if isinstance(ecg, RecordError):
        writer.skip(ecg.wire_code, printable(visit.ecg), ecg.detail)
        return
    codes = [text.replace(".", "") for name, text in texts.items() if text and _CODE_COLUMN.fullmatch(name)]
    participant = _participant(texts)
    age = as_number(texts.get(f"{AGE}-{visit.number}.0"))
    row = Row(
        record_id=visit.ecg.stem,
        patient_id=participant,
        fold=assign_fold(participant, folds),
        age_years=age,
        female={0.0: True, 1.0: False}.get(as_number(texts.get(f"{SEX}-0.0"))),
        atrial_fibrillation=ecg.atrial_fibrillation,
        diseases=label_diseases(codes) if any(map(_CODE_COLUMN.fullmatch, texts)) else {},
        subtype=name_subtype(codes),
        machine=ecg.measurements,
        phenotypes=_phenotypes(texts, visit),
        cine=_take_scan(writer, read),
    )
    writer.add(row, ecg.steps)


def _take_scan(writer: CohortWriter, read: ReadVisit) -> int:
    """Return the place of the visit's cine in the cohort, or -1."""
    if isinstance(read.cine, UnreadableFile):
        writer.skip(UNREADABLE_SCAN, printable(read.visit.scan or read.visit.ecg), read.cine.detail)
        return -1
    return -1 if read.cine is None else writer.add_scan(read.cine)


def _phenotypes(texts: Texts, visit: Visit) -> Floats:
    """Return (82,) as delivered: the fields' units are those of `MEASUREMENTS`."""
    return np.array([as_number(texts.get(f"{field}-{visit.number}.0")) for field in _phenotype_fields()])
