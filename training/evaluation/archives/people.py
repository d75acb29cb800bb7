"""Table 1 of a report on an archive: who the patients are, and who of them is ill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluation.truth import count_known, mean_known

from .sample import Sample


@dataclass(frozen=True, slots=True)
class Column:
    """One column of table 1: counts with shares, means with deviations; NaN where not known."""

    records: int
    patients: int
    age_years: tuple[float, float]
    female: tuple[int, float]
    outcomes: dict[str, tuple[int, float]]
    places: dict[str, tuple[int, float]]


@dataclass(frozen=True, slots=True)
class People:
    """Table 1.

    Attributes:
        healthy, ill: those without any of the outcomes but the normal ECG, and the others.
        unknown: number of ECGs in which a value is not known, by the kind of value.
    """

    everybody: Column
    healthy: Column
    ill: Column
    unknown: dict[str, int]


def describe_people(sample: Sample, names: Sequence[str]) -> People:
    """Return table 1.

    Args:
        sample: of which the labels are known.
        names: of the first columns of its outcomes.
    """
    diseases = [place for place, name in enumerate(names) if name != "NORM"]
    ill = (sample.outcomes[:, diseases] == 1).any(axis=1)
    return People(
        everybody=_column(sample, names, np.ones(len(sample), bool)),
        healthy=_column(sample, names, ~ill),
        ill=_column(sample, names, ill),
        unknown={
            "age": int(np.isnan(sample.age_years).sum()),
            "sex": int(np.isnan(sample.female).sum()),
        },
    )


def _column(sample: Sample, names: Sequence[str], rows: NDArray[np.bool_]) -> Column:
    return Column(
        records=int(rows.sum()),
        patients=len(np.unique(sample.patients[rows])),
        age_years=mean_known(sample.age_years[rows]),
        female=count_known(sample.female[rows]),
        outcomes={name: count_known(sample.outcomes[rows, place]) for place, name in enumerate(names)},
        places={words: count_known((flags[rows] == 1).astype(np.float64)) for words, flags in sample.places.items()},
    )
