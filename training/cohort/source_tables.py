"""What the readers of real cohorts share: ICD-10 lists, ECGs as a cohort keeps them, tables read in pieces."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample

from inference.geometry import MICROVOLTS_PER_STEP, RECORDED_RATE_HZ
from inference.intake import usable_signals
from schemas.ecg_record import MAX_STEP, EcgRecord
from schemas.errors import InvalidSettings, UnreadableCohort, UnusableSignal
from schemas.messages import CardiomyopathySubtype, Disease

from .layout import ECG_SHAPE, Fold

DISEASE_CODES: dict[Disease, tuple[str, ...]] = {
    "coronary_artery_disease": ("I20", "I21", "I22", "I23", "I24", "I25"),
    "cardiomyopathy": ("I42", "I43", "I255"),
    "heart_failure": ("I50",),
    "pulmonary_hypertension": ("I27",),
    "pericarditis": ("I30", "I31", "I32"),
}
"""Beginnings of the ICD-10 codes, without the dot: the closest lists that were published (MODEL.md)."""
SUBTYPE_CODES: dict[CardiomyopathySubtype, tuple[str, ...]] = {
    "restrictive": ("I425",),
    "dilated": ("I420",),
    "hypertrophic": ("I421", "I422"),
}


def label_diseases(codes: Iterable[str]) -> dict[Disease, bool]:
    """Return the five labels of a patient who has these ICD-10 codes, written without the dot."""
    listed = tuple(codes)
    return {disease: any(code.startswith(start) for code in listed) for disease, start in DISEASE_CODES.items()}


def name_subtype(codes: Iterable[str]) -> CardiomyopathySubtype | None:
    """Return the subtype of the cardiomyopathy, or None where the codes name none, or more than one."""
    listed = tuple(codes)
    named = [subtype for subtype, start in SUBTYPE_CODES.items() if any(code.startswith(start) for code in listed)]
    return named[0] if len(named) == 1 else None


def name_folds(numbers: Iterable[int]) -> dict[int, Fold]:
    """Return what the folds of a release are for: the last for the test, the one before for development.

    MIMIC-IV-ECG-Ext-ICD (0 to 19) and PTB-XL (1 to 10) are published so. A single fold is for the test.
    """
    rising = sorted(set(numbers))
    folds: dict[int, Fold] = dict.fromkeys(rising, "train")
    return folds | dict(zip(rising[::-1], ("test", "development"), strict=False))


def as_kept(record: EcgRecord) -> NDArray[np.int16]:
    """Return an ECG as a cohort keeps it: (12, 5000) int16 of 5 µV, 10 s at 500 Hz, leads by name.

    An ECG of another rate is resampled, by the FFT as for screening.

    Raises:
        RecordError: the gate refuses it, or it is shorter than 10 s; its code says which.
    """
    signals = _at_recorded_rate(usable_signals(record), record.sample_rate_hz)
    if signals.shape[1] < ECG_SHAPE[1]:
        duration_s = signals.shape[1] / RECORDED_RATE_HZ
        raise UnusableSignal(f"{duration_s:g} s: a cohort keeps 10 s", code="too_short", duration_s=duration_s)
    steps = np.round(signals[:, : ECG_SHAPE[1]] * (1e3 / MICROVOLTS_PER_STEP))
    return steps.clip(-MAX_STEP, MAX_STEP).astype(np.int16)


def _at_recorded_rate(signals: NDArray[np.float32], sample_rate_hz: float) -> NDArray[np.float32]:
    if sample_rate_hz == RECORDED_RATE_HZ:
        return signals
    samples = round(signals.shape[1] * RECORDED_RATE_HZ / sample_rate_hz)
    resampled: NDArray[np.float32] = resample(signals, samples, axis=1)
    return resampled


def read_rows(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> Iterator[dict[str, str | None]]:
    """Yield the rows of a table, CSV or Parquet, as text by column, None where it is empty; in pieces, never whole.

    Args:
        path: of the table.
        required: columns that must be there.
        optional: columns that may be; those that are not are not in the rows either.

    Raises:
        InvalidSettings: there is no such file.
        UnreadableCohort: it is no table, or a column is missing.
    """
    for batch in read_batches(path, required, optional):
        yield from batch.to_pylist()


def read_batches(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> Iterator[Any]:
    """Yield what `read_rows` yields as record batches of Arrow, whose columns are text.

    Raises:
        InvalidSettings, UnreadableCohort: as for `read_rows`.
    """
    import pyarrow as pa

    columns = table_columns(path)
    if missing := [name for name in required if name not in columns]:
        raise UnreadableCohort(f"{path} lacks the columns {', '.join(missing)}")
    wanted = [*required, *(name for name in optional if name in columns)]
    try:
        yield from _batches(path, wanted)
    except (OSError, pa.ArrowException) as error:
        raise UnreadableCohort(f"{path} cannot be read: {error}") from error


def table_columns(path: Path) -> list[str]:
    """Return the names of a table's columns.

    Raises:
        InvalidSettings: there is no such file.
        UnreadableCohort: it is no table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise InvalidSettings(f"{path} is not there")
    try:
        if path.suffix == ".parquet":
            return [str(name) for name in pq.read_schema(path).names]
        with path.open(newline="", encoding="utf-8-sig") as file:
            return next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise UnreadableCohort(f"{path} is not a table: {error}") from error


def _batches(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    """Yield record batches of text."""
    import pyarrow as pa
    import pyarrow.csv as pacsv
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        for batch in pq.ParquetFile(path).iter_batches(columns=list(columns)):
            yield pa.record_batch([_as_text(batch.column(name)) for name in columns], names=list(columns))
        return
    options = pacsv.ConvertOptions(
        column_types=dict.fromkeys(columns, pa.string()),
        include_columns=list(columns),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )
    parse = pacsv.ParseOptions(newlines_in_values=True)
    with pacsv.open_csv(path, convert_options=options, parse_options=parse) as reader:
        yield from reader


def _as_text(column: Any) -> Any:
    """Return an Arrow column as text; lists as those of JSON."""
    import pyarrow as pa

    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        return column.cast(pa.string())
    return pa.array([None if items is None else json.dumps(items) for items in column.to_pylist()], pa.string())


def as_whole(text: str | None) -> str:
    """Return an id or a whole number as it is written without a fraction: pandas adds `.0` where a cell was empty."""
    return (text or "").strip().removesuffix(".0")


def as_number(text: str | None, *, missing: float | None = None) -> float:
    """Return a number, NaN where there is none, or where it is the one that stands for none."""
    try:
        number = float(text) if text else np.nan
    except ValueError:
        return np.nan
    return np.nan if number == missing else number
