"""Real, labelled ECGs that no model here has seen: do infarcts get a higher risk of CAD, and thick hearts more mass?"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from inference.bundle import Bundle
from inference.phenotypes import MEASUREMENTS
from schemas.errors import InvalidSettings
from schemas.messages import DISEASES
from training.instruments.rounding import Floats, rounded

from .bootstrap import DRAWS, Estimate, draw_patients
from .discrimination import discriminate
from .predictions import Predictions, predict_files

LABELS = "labels.csv"
SEED = 0
FEWEST = 5
"""Records of either kind for which a data set gets an AUROC of its own."""
COLUMNS = ("record", "file", "dataset", "patient", "NORM", "MI", "LVH")

Finding: TypeAlias = Literal["MI", "LVH"]


@dataclass(frozen=True, slots=True)
class LabelledEcg:
    """A line of `labels.csv`: the record's file, where it comes from, and what is said of it."""

    path: Path
    dataset: str
    patient: str
    labels: frozenset[str]


@dataclass(frozen=True, slots=True)
class Group:
    """Records with, and normal ones, of one data set or of all."""

    positives: int
    negatives: int
    auroc: Estimate


@dataclass(frozen=True, slots=True)
class Contrast:
    """How a score ranks records with a finding against normal ones.

    Attributes:
        score: what is ranked by, and its unit.
        median_positive, median_negative: of the score.
        datasets: the same by data set; the AUROC is NaN where there are too few of either kind.
    """

    score: str
    positives: int
    negatives: int
    auroc: Estimate
    median_positive: float
    median_negative: float
    datasets: dict[str, Group]


@dataclass(frozen=True, slots=True)
class RealEcgs:
    """The figures on real ECGs.

    Attributes:
        records: screened, one a patient where the patient is known.
        repeated: left out because their patient is in already.
        refusals: by code.
    """

    records: int
    repeated: int
    refusals: dict[str, int]
    mi_or_scar_by_cad_probability: Contrast
    lvh_by_predicted_lv_mass: Contrast


def evaluate_real_ecgs(bundle: Bundle, folder: Path, progress: Callable[[int], object] = lambda _: None) -> RealEcgs:
    """Screen the labelled records of a folder as `cardiacnets screen` does, and rank them.

    Args:
        bundle: verified.
        folder: of ECG files, with a `labels.csv` that names them: record, file, dataset, patient, NORM, MI, LVH.
        progress: called with the number of records done.

    Raises:
        InvalidSettings: there is no such table, or it lacks a column.
    """
    everything = read_labels(folder)
    ecgs = list(_one_a_patient(everything))
    answers = predict_files(bundle, [ecg.path for ecg in ecgs], progress=progress)
    screened = [ecg for ecg, done in zip(ecgs, answers.screened, strict=True) if done]
    answers = answers.take(answers.screened)
    return RealEcgs(
        records=len(screened),
        repeated=len(everything) - len(ecgs),
        refusals=answers.refusals,
        mi_or_scar_by_cad_probability=_contrast(
            screened, "MI", _cad(answers), "probability of coronary artery disease"
        ),
        lvh_by_predicted_lv_mass=_contrast(screened, "LVH", _lv_mass(answers), "predicted LV mass, g"),
    )


def read_labels(folder: Path) -> list[LabelledEcg]:
    """Return the lines of a folder's `labels.csv`.

    Raises:
        InvalidSettings: there is none, or it lacks a column.
    """
    path = folder / LABELS
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except OSError as error:
        raise InvalidSettings(
            f"{path} cannot be read ({error.strerror}): it must name the ECGs and their labels"
        ) from error
    if not lines or (missing := [name for name in COLUMNS if name not in lines[0]]):
        raise InvalidSettings(f"{path} has no lines, or lacks columns: {', '.join(missing if lines else COLUMNS)}")
    return [
        LabelledEcg(
            path=folder / line["file"],
            dataset=line["dataset"],
            patient=line["patient"] or line["record"],
            labels=frozenset(name for name in ("NORM", "MI", "LVH") if line[name] == "1"),
        )
        for line in lines
    ]


def _one_a_patient(ecgs: list[LabelledEcg]) -> Iterator[LabelledEcg]:
    seen: set[str] = set()
    for ecg in ecgs:
        if ecg.patient not in seen:
            seen.add(ecg.patient)
            yield ecg


def _cad(answers: Predictions) -> Floats:
    return answers.probabilities[:, DISEASES.index("coronary_artery_disease")]


def _lv_mass(answers: Predictions) -> Floats:
    return answers.phenotypes[:, [measurement.name for measurement in MEASUREMENTS].index("LVM")]


def _contrast(ecgs: list[LabelledEcg], finding: Finding, scores: Floats, name: str) -> Contrast:
    positive = np.array([finding in ecg.labels for ecg in ecgs], bool)
    negative = np.array(["NORM" in ecg.labels and finding not in ecg.labels for ecg in ecgs], bool)
    datasets = np.array([ecg.dataset for ecg in ecgs], np.str_)
    patients = np.array([ecg.patient for ecg in ecgs], np.str_)
    whole = _group(positive, negative, scores, patients, fewest=1)
    counts = Counter(datasets[positive | negative].tolist())
    return Contrast(
        score=name,
        positives=whole.positives,
        negatives=whole.negatives,
        auroc=whole.auroc,
        median_positive=_median(scores[positive]),
        median_negative=_median(scores[negative]),
        datasets={
            dataset: _group(positive & (datasets == dataset), negative & (datasets == dataset), scores, patients)
            for dataset, _ in counts.most_common()
        },
    )


def _group(
    positive: NDArray[np.bool_],
    negative: NDArray[np.bool_],
    scores: Floats,
    patients: NDArray[np.str_],
    fewest: int = FEWEST,
) -> Group:
    counts = int(positive.sum()), int(negative.sum())
    if min(counts) < fewest:
        return Group(*counts, Estimate(float("nan"), float("nan"), float("nan")))
    members = positive | negative
    weights = draw_patients(patients[members], DRAWS, SEED)
    found, _ = discriminate(scores[members], positive[members].astype(np.float64), weights)
    return Group(*counts, found.auroc)


def _median(values: Floats) -> float:
    return rounded(np.median(values)) if len(values) else float("nan")
