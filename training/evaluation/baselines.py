"""The baselines that a model is compared with: the folder that the recipe writes beside its bundle.

```
classic/            logistic and ridge regression on what an electrocardiograph prints
without_alignment/  a bundle: the same encoder, labels and time, pretrained on ECGs alone
from_scratch/       a bundle: the same without any pretraining
cmr_oracle/         linear models on the CMR encoder's features of the scan: the ceiling
```
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from inference.bundle import Bundle, load_bundle
from training.arrays import Floats
from training.cohort.layout import Cohort

from .predictions import Predictions
from .retrieval import Retrieval, retrieve

if TYPE_CHECKING:
    from .cmr_oracle import CmrOracle

CLASSIC = "classic"
NETWORKS = ("without_alignment", "from_scratch")
ORACLE = "cmr_oracle"
READABLE = {
    CLASSIC: "Regression on classic ECG measurements",
    "without_alignment": "The same encoder without alignment",
    "from_scratch": "The same encoder from scratch",
    ORACLE: "CMR-side oracle (from the scan)",
}


@dataclass(frozen=True, slots=True)
class MissingBaseline:
    """A baseline that is not there, and the reason."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class ScanSide:
    """What the CMR side answers to the evaluated records.

    Attributes:
        predictions: of those that have a scan.
        retrieval: between ECG and CMR, by direction; empty where the model has no embeddings.
    """

    predictions: Predictions
    retrieval: dict[str, Retrieval]


def default_baselines() -> Path:
    """Return the folder of the baselines that are shipped with the package."""
    return Path(str(files("training") / "baselines"))


def find_network(folder: Path, name: str, trained_on: str) -> Bundle | MissingBaseline:
    """Return the bundle of a baseline network, if it learned from the same patients as the model.

    Raises:
        CorruptBundle: the bundle is broken.
    """
    place = folder / name
    if not place.is_dir():
        return _missing(place)
    network = load_bundle(place)
    theirs = network.manifest.trained_on
    if theirs == trained_on:
        return network
    return MissingBaseline(f"it learned from other patients than the model: {theirs}")


def learned_from(folder: Path) -> str | None:
    """Return what the networks in the folder were trained on; the other baselines there were trained on the same.

    Raises:
        CorruptBundle: a network is broken.
    """
    for name in NETWORKS:
        if (folder / name).is_dir():
            return load_bundle(folder / name).manifest.trained_on
    return None


def find_classic(folder: Path, cohort: Cohort, learned: str | None) -> Path | MissingBaseline:
    """Return the folder of the regressions, if they were trained on patients of the cohort's kind."""
    place = folder / CLASSIC
    return (_strange(learned, cohort) or place) if place.is_dir() else _missing(place)


def find_oracle(folder: Path, cohort: Cohort, learned: str | None) -> CmrOracle | MissingBaseline:
    """Return the CMR-side oracle, if the cohort has scans that it can read.

    Raises:
        InvalidSettings: the oracle's files are broken.
    """
    place = folder / ORACLE
    if not place.is_dir():
        return _missing(place)
    if strange := _strange(learned, cohort):
        return strange
    if cohort.cines is None:
        return MissingBaseline("the cohort has no four-chamber cines")
    if find_spec("torch") is None:
        return MissingBaseline("its encoder needs torch, which is not installed: pip install 'cardiacnets[train]'")
    from .cmr_oracle import load_oracle

    return load_oracle(place)


def read_scans(oracle: CmrOracle, cohort: Cohort, rows: NDArray[np.intp], embedding: Floats | None) -> ScanSide:
    """Return the oracle's answers to the scans of the rows, and how well ECGs and scans retrieve each other.

    Args:
        oracle: see `training.evaluation.cmr_oracle`.
        cohort: with cines.
        rows: of the cohort.
        embedding: (rows, 256) of their ECGs, by the model; None where it has none.
    """
    from training.networks.read_cines import read_cines

    assert cohort.cines is not None  # noqa: S101 - `find_oracle` found them
    scanned = cohort.cine[rows] >= 0
    features = read_cines(oracle.tower, cohort.cines, np.asarray(cohort.cine[rows][scanned], np.intp))
    predictions = Predictions(
        screened=scanned,
        refusals={},
        probabilities=_spread(expit(oracle.disease_logits(features)), scanned),
        phenotypes=_spread(oracle.phenotypes(features), scanned),
    )
    if embedding is None or not scanned.any():
        return ScanSide(predictions, {})
    return ScanSide(predictions, retrieve(embedding[scanned], oracle.embed(features)))


def _missing(place: Path) -> MissingBaseline:
    if place.parent == default_baselines():
        return MissingBaseline(
            "it is not in the wheel, for its size: a clone has it, --baselines CLONE/training/baselines"
        )
    return MissingBaseline(f"there is no {place}")


def _strange(learned: str | None, cohort: Cohort) -> MissingBaseline | None:
    if learned is None or learned.startswith(cohort.description.source):
        return None
    return MissingBaseline(f"it learned from patients of another kind: {learned}")


def _spread(values: Floats, rows: NDArray[np.bool_]) -> Floats:
    """Return values (k, m) placed in the k rows that are true, and NaN in the others."""
    spread = np.full((len(rows), values.shape[1]), np.nan)
    spread[rows] = values
    return spread
