"""What a cohort knows of the evaluated patients, and table 1 of the report."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from inference.phenotypes import MEASUREMENTS
from schemas.errors import InvalidSettings
from schemas.messages import DISEASES
from training.arrays import Floats
from training.cohort.layout import Cohort
from training.instruments.rounding import rounded

SHOWN_MEASUREMENTS = ("LVEDV", "LVEF", "LVM", "RVEF")


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The truth of n records; NaN, or -1 for the subtype, where it is not known.

    Attributes:
        patient_ids: (n,) str.
        diseases: (n, 5) 0 or 1.
        subtypes: (n,) places in `SUBTYPES`.
        phenotypes: (n, 82) by CMR.
        age_years, female, atrial_fibrillation, noise: (n,).
    """

    patient_ids: NDArray[np.str_]
    diseases: Floats
    subtypes: NDArray[np.int8]
    phenotypes: Floats
    age_years: Floats
    female: Floats
    atrial_fibrillation: Floats
    noise: Floats

    def __len__(self) -> int:
        return len(self.patient_ids)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Truth:
        """Return the truth of some of the records."""
        return Truth(**{part.name: getattr(self, part.name)[rows] for part in fields(self)})


@dataclass(frozen=True, slots=True)
class Column:
    """One column of table 1: counts with shares, means with deviations; NaN where not known."""

    records: int
    patients: int
    age_years: tuple[float, float]
    female: tuple[int, float]
    atrial_fibrillation: tuple[int, float]
    diseases: dict[str, tuple[int, float]]
    measurements: dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Participants:
    """Table 1 of the report.

    Attributes:
        missing: number of records in which a value is not known, by the kind of value.
    """

    everybody: Column
    healthy: Column
    ill: Column
    missing: dict[str, int]


def read_truth(cohort: Cohort, rows: NDArray[np.intp]) -> Truth:
    """Return what a cohort knows of some of its rows.

    Raises:
        InvalidSettings: the rows are empty.
    """
    if not len(rows):
        raise InvalidSettings(
            f"{cohort.folder} has no patients in its test fold: simulate one with `cardiacnets simulate --test-only`"
        )
    columns = {part.name: getattr(cohort, part.name)[rows] for part in fields(Truth)}
    columns["diseases"] = columns["diseases"].astype(np.float64)
    return Truth(**columns)


def describe_participants(truth: Truth) -> Participants:
    """Return table 1: all patients, those known to have no disease of the five, and those with at least one."""
    ill, healthy = (truth.diseases == 1).any(axis=1), (truth.diseases == 0).all(axis=1)
    missing = {
        "age": truth.age_years,
        "sex": truth.female,
        "diseases": truth.diseases,
        "CMR measurements": truth.phenotypes,
    }
    return Participants(
        everybody=_column(truth),
        healthy=_column(truth.take(healthy)),
        ill=_column(truth.take(ill)),
        missing={
            name: int(np.isnan(values.reshape(len(truth), -1)).any(axis=1).sum()) for name, values in missing.items()
        },
    )


def _column(truth: Truth) -> Column:
    places = {measurement.name: place for place, measurement in enumerate(MEASUREMENTS)}
    return Column(
        records=len(truth),
        patients=len(np.unique(truth.patient_ids)),
        age_years=mean_known(truth.age_years),
        female=count_known(truth.female),
        atrial_fibrillation=count_known(truth.atrial_fibrillation),
        diseases={disease: count_known(truth.diseases[:, place]) for place, disease in enumerate(DISEASES)},
        measurements={name: mean_known(truth.phenotypes[:, places[name]]) for name in SHOWN_MEASUREMENTS},
    )


def mean_known(values: Floats) -> tuple[float, float]:
    """Return mean and standard deviation of the values that are known; NaN where none is."""
    known = values[np.isfinite(values)]
    return (rounded(known.mean()), rounded(known.std())) if len(known) else (float("nan"), float("nan"))


def count_known(flags: Floats) -> tuple[int, float]:
    """Return how many flags are 1, and their share of those that are known; NaN where none is."""
    known = flags[np.isfinite(flags)]
    return int(known.sum()), rounded(known.mean()) if len(known) else float("nan")
