"""Real, labelled ECGs that no model learned from: do infarcts get a higher risk of CAD, and thick hearts more mass?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from inference.bundle import Bundle
from inference.phenotypes import MEASUREMENTS
from schemas.messages import DISEASES
from training.arrays import Floats
from training.cohort.labelled_ecgs import LabelledEcg, one_a_patient, read_labelled_ecgs
from training.instruments.rounding import rounded

from .bootstrap import DRAWS, Estimate, draw_patients
from .discrimination import discriminate
from .predictions import Predictions, predict_files

SEED = 0
FEWEST = 5
"""A data set gets an AUROC of its own from this many records of either kind."""

Diagnosis: TypeAlias = Literal["MI", "LVH"]


@dataclass(frozen=True, slots=True)
class Group:
    """Records with a diagnosis and normal records, of one data set or of all."""

    positives: int
    negatives: int
    auroc: Estimate


@dataclass(frozen=True, slots=True)
class Contrast:
    """How a score ranks records with a diagnosis against normal records.

    Attributes:
        score: its name and unit.
        median_positive, median_negative: of the score.
        datasets: the same by data set. The AUROC is NaN where a data set has too few records of either kind.
    """

    score: str
    positives: int
    negatives: int
    auroc: Estimate
    median_positive: float
    median_negative: float
    datasets: dict[str, Group]


@dataclass(frozen=True, slots=True)
class RealEcgFigures:
    """The figures on real ECGs.

    Attributes:
        records: that were screened, one a patient where the patient is known.
        repeated: records left out because another record of the patient is in.
        refusals: by code.
    """

    records: int
    repeated: int
    refusals: dict[str, int]
    mi_or_scar_by_cad_probability: Contrast
    lvh_by_predicted_lv_mass: Contrast


def evaluate_real_ecgs(
    bundle: Bundle, folder: Path, progress: Callable[[int, int], object] = lambda *_: None
) -> RealEcgFigures:
    """Screen the labelled records of a folder as `cardiacnets screen` does, and rank them.

    Args:
        bundle: verified.
        folder: of ECG files, with a `labels.csv` that lists them; see `cohort.labelled_ecgs`.
        progress: called with the number of records done, and the number of all.

    Raises:
        InvalidSettings: there is no such table, or it lacks a column.
    """
    everything = read_labelled_ecgs(folder, "MI", "LVH")
    ecgs = list(one_a_patient(everything))
    answers = predict_files(bundle, [ecg.path for ecg in ecgs], progress=lambda done: progress(done, len(ecgs)))
    screened = [ecg for ecg, done in zip(ecgs, answers.screened, strict=True) if done]
    answers = answers.take(answers.screened)
    return RealEcgFigures(
        records=len(screened),
        repeated=len(everything) - len(ecgs),
        refusals=answers.refusals,
        mi_or_scar_by_cad_probability=_contrast(
            screened, "MI", _cad(answers), "probability of coronary artery disease"
        ),
        lvh_by_predicted_lv_mass=_contrast(screened, "LVH", _lv_mass(answers), "predicted LV mass, g"),
    )


def _cad(answers: Predictions) -> Floats:
    return answers.probabilities[:, DISEASES.index("coronary_artery_disease")]


def _lv_mass(answers: Predictions) -> Floats:
    return answers.phenotypes[:, [measurement.name for measurement in MEASUREMENTS].index("LVM")]


def _contrast(ecgs: list[LabelledEcg], diagnosis: Diagnosis, scores: Floats, name: str) -> Contrast:
    positive = np.array([diagnosis in ecg.diagnoses for ecg in ecgs], bool)
    negative = np.array(["NORM" in ecg.diagnoses and diagnosis not in ecg.diagnoses for ecg in ecgs], bool)
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
