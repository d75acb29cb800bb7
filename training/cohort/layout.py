"""A cohort on disk, simulated or real: an index in Parquet, and arrays that are mapped into memory, never loaded.

```
cohort.json       what it is: `Description`
index.parquet     one row an ECG, see `index_columns`
ecgs.npy          (rows, 12, 5000) int16 in steps of `MICROVOLTS_PER_STEP`, 500 Hz, leads in the order of `LEADS`
cines.npy         (scans, 50, 96, 96) uint8: four-chamber cines; absent where there are none
short_axis.npy    cines through the middle of the left ventricle, of the same shape; absent where there are none
```

The `cine` of a row is the place of its scan in `cines.npy`, or -1. A scan may belong to several ECGs. An unknown value
of a row is null: a label, a phenotype, the sex. All rows of a patient are in one fold.

`writer.py` writes a cohort, and `open_cohort` reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from inference.geometry import RECORDED_SAMPLES
from inference.phenotypes import MEASUREMENTS
from schemas.ecg_record import LEADS
from schemas.errors import InvalidSettings, UnreadableCohort
from schemas.messages import DISEASES, SUBTYPES, CardiomyopathySubtype, Disease
from training.arrays import Floats

if TYPE_CHECKING:
    import pyarrow as pa

Fold: TypeAlias = Literal["train", "development", "test"]

FOLDS: tuple[Fold, ...] = get_args(Fold)
SHARES = (0.8, 0.1)
"""Of the patients: for training, for development; the rest is for the test."""
FORMAT = 1
ECG_SHAPE = (len(LEADS), RECORDED_SAMPLES)
CINE_SHAPE = (50, 96, 96)

DESCRIPTION, INDEX, ECGS, CINES, SHORT_AXIS = "cohort.json", "index.parquet", "ecgs.npy", "cines.npy", "short_axis.npy"
PERSON = ("age_years", "female", "atrial_fibrillation", "noise")
"""Columns on patient and recording. `noise` is known of simulated recordings alone, and 1 in a typical one."""
MACHINE_MEASUREMENTS = ("heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "p_axis_deg", "qrs_axis_deg", "t_axis_deg")
"""What the recording device measured, where it did."""
PHENOTYPES = tuple(measurement.name for measurement in MEASUREMENTS)


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The description of a cohort: `cohort.json`.

    Attributes:
        source: 'simulated', 'mimic-iv-ecg', 'uk-biobank', 'own-pairs'.
        seed: of a simulated cohort.
        fold_patients: patients by fold.
        skipped: how many records of the source were left out, by code.
    """

    format: int = FORMAT
    source: str
    rows: int
    patients: int
    scans: int
    seed: int | None = None
    fold_patients: dict[Fold, int]
    skipped: dict[str, int] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The line of the index for one ECG; None and NaN where a value is not known.

    Attributes:
        machine: by name, some of `MACHINE_MEASUREMENTS`.
        phenotypes: (82,) in the order and units of `MEASUREMENTS`.
        cine: the scan's place in the arrays of cines, or -1.
    """

    record_id: str
    patient_id: str
    fold: Fold
    age_years: float | None = None
    female: bool | None = None
    atrial_fibrillation: bool | None = None
    noise: float | None = None
    diseases: dict[Disease, bool] = field(default_factory=dict)
    subtype: CardiomyopathySubtype | None = None
    machine: dict[str, float] = field(default_factory=dict)
    phenotypes: Floats | None = None
    cine: int = -1


@dataclass(frozen=True, slots=True)
class Cohort:
    """An open cohort: the index in memory, the arrays mapped.

    Attributes:
        record_ids, patient_ids, folds: (n,) str.
        female, atrial_fibrillation: (n,) 0, 1, or NaN.
        machine: (n, 7) in the order of `MACHINE_MEASUREMENTS`, NaN where not known.
        diseases: (n, 5) 0, 1, or NaN, in the order of `DISEASES`.
        subtypes: (n,) places in `SUBTYPES`, or -1.
        phenotypes: (n, 82) in the order and units of `MEASUREMENTS`, NaN where not known.
        cine: (n,) places in `cines` and `short_axis`, or -1.
        ecgs: (n, 12, 5000) int16 in steps of `MICROVOLTS_PER_STEP`.
        cines, short_axis: (scans, 50, 96, 96) uint8.
    """

    folder: Path
    description: Description
    record_ids: NDArray[np.str_]
    patient_ids: NDArray[np.str_]
    folds: NDArray[np.str_]
    age_years: Floats
    female: Floats
    atrial_fibrillation: Floats
    noise: Floats
    machine: Floats
    diseases: NDArray[np.float32]
    subtypes: NDArray[np.int8]
    phenotypes: Floats
    cine: NDArray[np.int32]
    ecgs: NDArray[np.int16]
    cines: NDArray[np.uint8] | None
    short_axis: NDArray[np.uint8] | None

    def __len__(self) -> int:
        return len(self.record_ids)

    def select(self, fold: Fold) -> NDArray[np.intp]:
        """Return the numbers of the rows of a fold."""
        return np.flatnonzero(self.folds == fold)


def assign_fold(patient_id: str, shares: tuple[float, float] = SHARES) -> Fold:
    """Return the fold of a patient. It depends on the identifier alone.

    Args:
        patient_id: so that all ECGs of a patient lie in one fold.
        shares: of the patients, for training and for development; (0, 0) puts all patients into the test fold.
    """
    digest = hashlib.blake2b(patient_id.encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    train, development = shares
    return "train" if place < train else "development" if place < train + development else "test"


def index_columns() -> dict[str, str]:
    """Return the columns of the index and their types, in order; all but the first three and the last may be null."""
    return {
        "record_id": "string",
        "patient_id": "string",
        "fold": "string",
        "age_years": "double",
        "female": "bool",
        "atrial_fibrillation": "bool",
        "noise": "double",
        **dict.fromkeys(DISEASES, "bool"),
        "cardiomyopathy_subtype": "string",
        **dict.fromkeys(MACHINE_MEASUREMENTS, "double"),
        **dict.fromkeys(PHENOTYPES, "double"),
        "cine": "int32",
    }


def is_cohort(folder: Path) -> bool:
    """Return whether a folder is a cohort, or a damaged one."""
    return (folder / DESCRIPTION).is_file()


def open_cohort(folder: Path) -> Cohort:
    """Return the cohort of a folder.

    Raises:
        InvalidSettings: the folder is not there, or is not a cohort.
        UnreadableCohort: a file is missing, of another version, or contradicts the others.
    """
    if not is_cohort(folder):
        raise InvalidSettings(
            f"{folder} is not a cohort: it has no {DESCRIPTION}. "
            "Make one with `cardiacnets simulate` or `cardiacnets cohort import`"
        )
    for path in (folder / INDEX, folder / ECGS, folder / CINES, folder / SHORT_AXIS):
        if path.exists() and not path.is_file():
            raise UnreadableCohort(f"{path} is no file, and is never opened: fetch the cohort again")
    description = _read_description(folder / DESCRIPTION)
    table = _read_index(folder / INDEX, description)
    cohort = Cohort(
        folder=folder,
        description=description,
        **_from_index(table),
        ecgs=_map_array(folder / ECGS, (description.rows, *ECG_SHAPE), np.int16),
        cines=_map_scans(folder / CINES, description),
        short_axis=_map_scans(folder / SHORT_AXIS, description),
    )
    _check(cohort)
    return cohort


def _read_description(path: Path) -> Description:
    try:
        raw = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        if raw.get("format") != FORMAT:
            raise UnreadableCohort(f"{path} is of format {raw.get('format')}; this version reads format {FORMAT}")
        return msgspec.convert(raw, Description)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise UnreadableCohort(f"{path} does not describe a cohort: {error}") from error


def _read_index(path: Path, description: Description) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UnreadableCohort(f"{path} cannot be read: {error}") from error
    found = {column.name: str(column.type) for column in table.schema}
    expected = index_columns()
    if found != expected:
        odd = sorted(set(found.items()) ^ set(expected.items()))[:4]
        raise UnreadableCohort(f"{path} has other columns than a cohort: {odd}")
    if table.num_rows != description.rows:
        raise UnreadableCohort(f"{path} has {table.num_rows} rows, and {DESCRIPTION} says {description.rows}")
    return table


def _from_index(table: pa.Table) -> dict[str, Any]:
    subtypes = {name: place for place, name in enumerate(SUBTYPES)}
    named = table["cardiomyopathy_subtype"].to_pylist()
    return {
        "record_ids": np.array(table["record_id"].to_pylist(), np.str_),
        "patient_ids": np.array(table["patient_id"].to_pylist(), np.str_),
        "folds": np.array(table["fold"].to_pylist(), np.str_),
        **{name: _numbers(table, (name,))[:, 0] for name in PERSON},
        "machine": _numbers(table, MACHINE_MEASUREMENTS),
        "diseases": _numbers(table, DISEASES).astype(np.float32),
        "subtypes": np.array([subtypes.get(name, -1) for name in named], np.int8),
        "phenotypes": _numbers(table, PHENOTYPES),
        "cine": table["cine"].to_numpy().astype(np.int32),
    }


def _numbers(table: pa.Table, names: Sequence[str]) -> Floats:
    """Return columns as (rows, names) float64, NaN where they are null. Columns of nulls take no memory."""
    if all(table[name].null_count == table.num_rows for name in names):
        return np.broadcast_to(np.nan, (table.num_rows, len(names)))
    columns = [table[name].cast("int8") if table[name].type == "bool" else table[name] for name in names]
    return np.stack([column.cast("double").to_numpy() for column in columns], axis=1)


def _map_scans(path: Path, description: Description) -> NDArray[np.uint8] | None:
    return _map_array(path, (description.scans, *CINE_SHAPE), np.uint8) if path.exists() else None


def _map_array(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UnreadableCohort(f"{path} cannot be read: {error}") from error
    if array.shape != shape or array.dtype != dtype:
        raise UnreadableCohort(
            f"{path} holds {array.dtype} {array.shape}, and should hold {np.dtype(dtype)} {shape}: an interrupted copy?"
        )
    return array


def _check(cohort: Cohort) -> None:
    """Refuse an index in which folds share a patient, or in which a scan does not exist."""
    if strange := sorted(set(cohort.folds.tolist()) - set(FOLDS)):
        raise UnreadableCohort(f"{cohort.folder} has folds of other names than {', '.join(FOLDS)}: {strange[:4]}")
    if torn := patients_in_several_folds(cohort.patient_ids.tolist(), cohort.folds.tolist()):
        raise UnreadableCohort(f"{cohort.folder} has patients in several folds: {', '.join(torn[:4])}")
    scans = 0 if cohort.cines is None and cohort.short_axis is None else cohort.description.scans
    if not -1 <= cohort.cine.min() <= cohort.cine.max() < scans:
        raise UnreadableCohort(f"{cohort.folder} has rows with a scan that is not there")


def patients_in_several_folds(patient_ids: Iterable[str], folds: Iterable[object]) -> list[str]:
    """Return the patients that have rows in more than one fold."""
    first: dict[str, object] = {}
    pairs = zip(patient_ids, folds, strict=True)
    return sorted({patient for patient, fold in pairs if first.setdefault(patient, fold) != fold})
