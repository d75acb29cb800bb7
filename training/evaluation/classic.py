"""The baseline that a network must beat: regressions on the measurements that an electrocardiograph prints.

`logistic.npz` answers the five diseases, `ridge.npz` the 82 measurements; both are fitted on the training fold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from inference.geometry import MICROVOLTS_PER_STEP, RECORDED_RATE_HZ
from schemas.errors import InvalidSettings
from schemas.messages import DISEASES
from training.arrays import Floats
from training.cohort.layout import PHENOTYPES, Cohort
from training.instruments.ecg_measurements import CLASSIC_MEASUREMENTS, measure_ecgs
from training.instruments.linear_model import fit_logistic, fit_ridge, load_linear

from .predictions import Predictions

LOGISTIC, RIDGE = "logistic.npz", "ridge.npz"
TURNS = ("p_axis_deg", "qrs_axis_deg", "t_axis_deg")
"""Angles. As 179° and -179° are neighbours, the regressions get sine and cosine."""
FEATURES = (*CLASSIC_MEASUREMENTS, *(f"{part}_{name}" for name in TURNS for part in ("sin", "cos")))

CHUNK_RECORDS = 64

Progress: TypeAlias = Callable[[int], object]


def fit_classic(cohort: Cohort, folder: Path, *, progress: Progress = lambda _: None) -> None:
    """Fit the baseline on the training fold of the cohort and write it, unless it is there.

    Args:
        cohort: with labels. Each regression leaves out the rows in which its target is not known.
        folder: for the two models.
        progress: called with the number of ECGs measured.
    """
    if (folder / LOGISTIC).is_file() and (folder / RIDGE).is_file():
        return
    rows = cohort.select("train")
    features = classic_features(cohort.ecgs, rows, progress=progress)
    fit_logistic(features, cohort.diseases[rows], FEATURES, DISEASES).save(folder / LOGISTIC)
    fit_ridge(features, cohort.phenotypes[rows], FEATURES, PHENOTYPES).save(folder / RIDGE)


def predict_classic(
    folder: Path, ecgs: NDArray[np.int16], rows: NDArray[np.intp], *, progress: Progress = lambda _: None
) -> Predictions:
    """Return the baseline's answers to n rows of ECGs (…, 12, 5000) int16. It answers to every ECG.

    Raises:
        InvalidSettings: the models in the folder are broken, or were fitted on other measurements.
    """
    logistic, ridge = load_linear(folder / LOGISTIC), load_linear(folder / RIDGE)
    for model, outputs in ((logistic, DISEASES), (ridge, PHENOTYPES)):
        if tuple(model.inputs) != FEATURES or tuple(model.outputs) != outputs:
            raise InvalidSettings(f"{folder} was fitted on other measurements: fit it again with `cardiacnets train`")
    features = classic_features(ecgs, rows, progress=progress)
    logits = logistic.predict(features)
    return Predictions(
        screened=np.ones(len(rows), bool),
        refusals={},
        probabilities=np.asarray(expit(logits)),
        phenotypes=ridge.predict(features),
        logits=logits,
    )


def classic_features(ecgs: NDArray[np.int16], rows: NDArray[np.intp], *, progress: Progress = lambda _: None) -> Floats:
    """Return (n, len(FEATURES)) of n rows; NaN where a measurement cannot be taken."""
    measured = np.concatenate([np.empty((0, len(CLASSIC_MEASUREMENTS))), *_measured_chunks(ecgs, rows, progress)])
    angles = np.radians(measured[:, [CLASSIC_MEASUREMENTS.index(name) for name in TURNS]])
    turns = np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(len(measured), -1)
    return np.concatenate([measured, turns], axis=1)


def _measured_chunks(ecgs: NDArray[np.int16], rows: NDArray[np.intp], progress: Progress) -> Iterator[Floats]:
    for start in range(0, len(rows), CHUNK_RECORDS):
        chunk = np.asarray(ecgs[rows[start : start + CHUNK_RECORDS]], np.float32)
        yield measure_ecgs(chunk * np.float32(MICROVOLTS_PER_STEP / 1e3), RECORDED_RATE_HZ)
        progress(start + len(chunk))
