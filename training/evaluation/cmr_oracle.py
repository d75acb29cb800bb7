"""The CMR-side oracle: linear models on the features that the frozen CMR encoder reads off the scan.

No model of the ECG is expected to do better, so the evaluation shows the oracle as the ceiling.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engines.whole_file import whole_file
from schemas.messages import DISEASES
from training.arrays import Floats
from training.cohort.layout import PHENOTYPES, Cohort
from training.instruments.linear_model import LinearModel, fit_logistic, fit_ridge, load_linear
from training.networks.weights_files import below, load_weights

if TYPE_CHECKING:
    from training.networks.alignment import CmrProjection
    from training.networks.cmr_encoder import CmrTower

LOGISTIC, RIDGE = "logistic.npz", "ridge.npz"
TOWER = "cmr_tower.safetensors"


@dataclass(frozen=True, slots=True)
class CmrOracle:
    """The frozen CMR tower with linear models on its features."""

    tower: CmrTower
    projection: CmrProjection
    logistic: LinearModel
    ridge: LinearModel

    def encode(self, cines: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features (n, k) of cines (n, 50, 96, 96)."""
        from training.networks.read_cines import read_cines

        return read_cines(self.tower, cines, np.arange(len(cines)))

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the embeddings (n, 256) of length 1 on the sphere that ECGs share."""
        import torch

        with torch.inference_mode():
            embeddings: NDArray[np.float32] = self.projection(torch.from_numpy(features)).numpy()
        return embeddings

    def disease_logits(self, features: NDArray[np.float32]) -> Floats:
        """Return (n, 5) at the training fold's prevalence, for features (n, k)."""
        return self.logistic.predict(features)

    def phenotypes(self, features: NDArray[np.float32]) -> Floats:
        """Return (n, 82), in the measurements' units, for features (n, k)."""
        return self.ridge.predict(features)


def fit_oracle(cohort: Cohort, out: Path, cmr: Path, aligned: Path) -> None:
    """Fit on the training fold and write the folder of the oracle, unless it is there.

    Args:
        cohort: with labels and scans.
        out: the folder.
        cmr: the folder of `pretrain-cmr`, whose features are used.
        aligned: the folder of `align`, whose tower is copied.
    """
    from training.stages.pretrain_cmr import FEATURES, scanned

    if (out / TOWER).is_file():
        return
    rows = scanned(cohort, "train")
    features = np.load(cmr / FEATURES, allow_pickle=False)[cohort.cine[rows]]
    names = [f"feature_{place}" for place in range(features.shape[1])]
    fit_logistic(features, cohort.diseases[rows], names, DISEASES).save(out / LOGISTIC)
    fit_ridge(features, cohort.phenotypes[rows], names, PHENOTYPES).save(out / RIDGE)
    with whole_file(out / TOWER) as partial:  # last: with it, the folder is whole
        shutil.copyfile(aligned / TOWER, partial)


def load_oracle(folder: Path) -> CmrOracle:
    """Return the oracle of a folder.

    Raises:
        InvalidSettings: the folder holds no oracle.
    """
    from training.networks.alignment import CmrProjection
    from training.networks.cmr_encoder import CMR_PRESETS, N_PATCHES, CmrEncoder, CmrTower
    from training.networks.principal_axes import PrincipalAxes

    weights = load_weights(folder / TOWER)
    projection_weights = below("projection.", weights)
    widths = {preset.width: preset for preset in CMR_PRESETS.values()}
    n_features = len(projection_weights["mean"])
    encoder = CmrEncoder(widths[len(weights["encoder.summary"])])
    readout = PrincipalAxes((1 + N_PATCHES) * encoder.width, n_features)
    tower, projection = CmrTower(encoder, readout), CmrProjection(n_features)
    tower.load_state_dict({name: value for name, value in weights.items() if not name.startswith("projection.")})
    projection.load_state_dict(projection_weights)
    return CmrOracle(tower.eval(), projection, load_linear(folder / LOGISTIC), load_linear(folder / RIDGE))
