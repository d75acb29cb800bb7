"""Writes a cohort into a hidden folder, which gets the cohort's name when it is complete. A torn cohort never opens."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from inference.file_account import FileAccount
from inference.reading.file_note import FileNote
from schemas.errors import MalformedRecord, UnreadableCohort
from schemas.messages import DISEASES

from .layout import (
    CINE_SHAPE,
    CINES,
    DESCRIPTION,
    ECG_SHAPE,
    ECGS,
    FOLDS,
    INDEX,
    MACHINE_MEASUREMENTS,
    PERSON,
    PHENOTYPES,
    SHORT_AXIS,
    Description,
    Fold,
    Row,
    index_columns,
    is_cohort,
)
from .staged_folder import staged_folder
from .whole_file import check_room

if TYPE_CHECKING:
    import pyarrow as pa

ECG_BYTES = 2 * math.prod(ECG_SHAPE)
CINE_BYTES = math.prod(CINE_SHAPE)
ROWS_A_GROUP = 4096
"""Rows that are written to the index at a time. It bounds memory."""


class CohortWriter:
    """A cohort while it is written.

    Attributes:
        folder: holds the unfinished cohort. Other processes map its arrays by `map_array`.
        rows: the number of rows so far, which is the next row's place in the arrays.
        scans: the number of scans that the rows so far name.
        skipped: the number of records that were skipped, by code.
    """

    def __init__(self, folder: Path, account: FileAccount) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.folder = folder
        self.rows = self.scans = 0
        self.skipped: Counter[str] = Counter()
        self._account = account
        self._patients: dict[str, Fold] = {}
        self._record_ids: set[str] = set()
        self._ecgs, self._cines = map_array(folder / ECGS), map_array(folder / CINES)
        self._waiting: list[dict[str, Any]] = []
        self._schema = pa.schema([(name, _arrow_type(kind)) for name, kind in index_columns().items()])
        self._index = pq.ParquetWriter(folder / INDEX, self._schema)

    def add(self, row: Row, ecg: NDArray[np.int16] | None = None) -> None:
        """Add the next row to the index, and its ECG (12, 5000) to the array unless other processes fill the array.

        Raises:
            MalformedRecord: `doubled_id`: a row with this record id is there already.
            UnreadableCohort: the row's patient is already in another fold.
        """
        if row.record_id in self._record_ids:
            raise MalformedRecord(f"a second row of the record {row.record_id}", code="doubled_id")
        if self._patients.setdefault(row.patient_id, row.fold) != row.fold:
            raise UnreadableCohort(f"patient {row.patient_id} lies in two folds: the source's split leaks")
        if ecg is not None and self._ecgs is not None:
            self._ecgs[self.rows] = ecg
        self._record_ids.add(row.record_id)
        self.scans = max(self.scans, row.cine + 1)
        self._waiting.append(_as_columns(row))
        self.rows += 1
        if len(self._waiting) == ROWS_A_GROUP:
            self._write_group()

    def add_scan(self, cine: NDArray[np.uint8]) -> int:
        """Add a four-chamber cine (50, 96, 96). Return its place, which the rows of its ECGs name."""
        if self._cines is None:
            raise ValueError("the cohort was laid out without cines")
        self._cines[self.scans] = cine
        self.scans += 1
        return self.scans - 1

    def skip(self, code: str, source: str | None = None, detail: str = "") -> None:
        """Count a record that is skipped. Where its source is named, the account is told: a path, or a table's row."""
        self.skipped[code] += 1
        if source is not None:
            self._account.tell(FileNote(path=source, status="refused", code=code, detail=detail))

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    def finish(self, source: str, seed: int | None) -> None:
        """Write the last rows, cut the arrays to the rows that were filled, and write the description."""
        if not self.rows:
            raise UnreadableCohort(f"no record of the source could be taken; skipped: {dict(self.skipped)}")
        self._write_group()
        self.close()
        cut_array(self.folder / ECGS, self.rows)
        for name in (CINES, SHORT_AXIS):
            if (self.folder / name).exists():
                cut_array(self.folder / name, self.scans)
        folds = Counter(self._patients.values())
        description = Description(
            source=source,
            rows=self.rows,
            patients=len(self._patients),
            scans=self.scans,
            seed=seed,
            fold_patients={fold: folds[fold] for fold in FOLDS},
            skipped=dict(sorted(self.skipped.items())),
        )
        (self.folder / DESCRIPTION).write_bytes(msgspec.json.format(msgspec.json.encode(description)) + b"\n")

    def _write_group(self) -> None:
        import pyarrow as pa

        if self._waiting:
            self._index.write_batch(pa.RecordBatch.from_pylist(self._waiting, self._schema))
            self._waiting.clear()


@contextmanager
def write_cohort(
    destination: Path,
    *,
    source: str,
    rows: int,
    scans: int = 0,
    cines: bool = True,
    short_axis: bool = False,
    seed: int | None = None,
    account: FileAccount | None = None,
) -> Iterator[CohortWriter]:
    """Yield a writer. The cohort is there when the block ends. If the block fails, nothing is.

    Args:
        destination: the cohort's folder. Another cohort in it is replaced.
        source: as in `Description`.
        rows: at most as many are written, and the arrays are cut to the written ones. Rows are added in order. Their
            places in the arrays may be filled in any order.
        scans: at most as many are written. Those that rows name must come first.
        cines: whether there are four-chamber cines.
        short_axis: whether there are short-axis cines.
        seed: of a simulated cohort.
        account: of the records that are skipped.

    Raises:
        InvalidSettings: the destination holds something else than a cohort, another process is writing it, or the disk
            has too little room for so many rows and scans.
    """
    with staged_folder(destination, replaces=is_cohort) as folder:
        check_room(folder, rows * ECG_BYTES + scans * (cines + short_axis) * CINE_BYTES)
        lay_out_array(folder / ECGS, (rows, *ECG_SHAPE), np.int16)
        for name, wanted in ((CINES, cines), (SHORT_AXIS, short_axis)):
            if wanted and scans:
                lay_out_array(folder / name, (scans, *CINE_SHAPE), np.uint8)
        writer = CohortWriter(folder, account or FileAccount())
        try:
            yield writer
            writer.finish(source, seed)
        finally:
            writer.close()


def lay_out_array(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    """Make an array of zeros on disk, to fill through `map_array`. Parts that are not filled take no room."""
    np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)


def map_array(path: Path) -> NDArray[Any] | None:
    """Return an array that is mapped to its file, or None without a file. Any process may map it."""
    return np.lib.format.open_memmap(path, "r+") if path.exists() else None


def cut_array(path: Path, length: int) -> None:
    """Cut an array on disk to its first rows, or remove it if no row is left."""
    if not length:
        path.unlink()
        return
    with path.open("r+b") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
        file.seek(0)
        header = {"shape": (length, *shape[1:]), "fortran_order": False, "descr": np.lib.format.dtype_to_descr(dtype)}
        np.lib.format.write_array_header_1_0(file, header)  # NumPy leaves room in it, so its length does not change
        file.truncate(start + length * math.prod(shape[1:]) * dtype.itemsize)


def _arrow_type(kind: str) -> pa.DataType:
    import pyarrow as pa

    return pa.type_for_alias(kind)


def _as_columns(row: Row) -> dict[str, Any]:
    phenotypes = [] if row.phenotypes is None else row.phenotypes.tolist()
    columns: dict[str, Any] = {
        "record_id": row.record_id,
        "patient_id": row.patient_id,
        "fold": row.fold,
        **{name: getattr(row, name) for name in PERSON},
        **{disease: row.diseases.get(disease) for disease in DISEASES},
        "cardiomyopathy_subtype": row.subtype,
        **{name: row.machine.get(name) for name in MACHINE_MEASUREMENTS},
        **dict(zip(PHENOTYPES, phenotypes, strict=bool(phenotypes))),
        "cine": row.cine,
    }
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in columns.items()}
