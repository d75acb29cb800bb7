"""The CMR-side oracle: what the frozen CMR encoder's features say by linear models, from the scan instead of the ECG.

No ECG model can be expected to do better: it is the ceiling that the evaluation shows.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from inference.phenotypes import MEASUREMENTS
from schemas.messages import DISEASES

from .cohort.layout import Cohort
from .stages.folder import RESULT, below, load_weights

if TYPE_CHECKING:
    from torch import Tensor

    from .networks.alignment import CmrProjection
    from .networks.cmr_encoder import CmrEncoder

Floats: TypeAlias = NDArray[np.float64]

COEFFICIENTS = "oracle.npz"
TOWER = "cmr_tower.safetensors"
RIDGE_PENALTIES = tuple(np.logspace(-1, 4, 11))
LOGISTIC_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True, slots=True)
class CmrOracle:
    """The frozen CMR tower with linear models on it.

    Attributes:
        center, scale: (width,), of the features.
        disease_weights, disease_bias: (5, width) and (5,), to logits at the training fold's prevalence.
        phenotype_weights, phenotype_bias: (82, width) and (82,), to the measurements' units.
    """

    encoder: CmrEncoder
    projection: CmrProjection
    center: Floats
    scale: Floats
    disease_weights: Floats
    disease_bias: Floats
    phenotype_weights: Floats
    phenotype_bias: Floats

    def encode(self, cines: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features (n, width) of cines (n, 50, 96, 96)."""
        from .stages.pretrain_cmr import encode_cines

        return encode_cines(self.encoder, cines, np.arange(len(cines)))

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the embeddings (n, 256) of length 1 on the sphere that ECGs share."""
        import torch

        with torch.inference_mode():
            embeddings: NDArray[np.float32] = self.projection(torch.from_numpy(features)).numpy()
        return embeddings

    def disease_logits(self, features: NDArray[np.float32]) -> Floats:
        """Return (n, 5) for features (n, width)."""
        return self._standardised(features) @ self.disease_weights.T + self.disease_bias

    def phenotypes(self, features: NDArray[np.float32]) -> Floats:
        """Return (n, 82), in the measurements' units, for features (n, width)."""
        return self._standardised(features) @ self.phenotype_weights.T + self.phenotype_bias

    def _standardised(self, features: NDArray[np.float32]) -> Floats:
        return (features - self.center) / self.scale


def fit_oracle(cohort: Cohort, out: Path, cmr: Path, aligned: Path) -> None:
    """Fit on the training fold and write the oracle's folder; one that is finished is left as it is.

    Args:
        cohort: with labels and scans.
        out: the folder.
        cmr: the folder of `pretrain-cmr`, whose features are used.
        aligned: the folder of `align`, whose tower is copied.
    """
    from .stages.align import scanned
    from .stages.pretrain_cmr import FEATURES

    if (out / RESULT).is_file():
        return
    out.mkdir(parents=True, exist_ok=True)
    features = np.load(cmr / FEATURES, allow_pickle=False)
    rows, development = scanned(cohort, "train"), scanned(cohort, "development")
    x = np.asarray(features[cohort.cine[rows]], np.float64)
    center, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    x = (x - center) / scale
    held_out = (features[cohort.cine[development]] - center) / scale
    diseases = [
        _fit_logistic(x, cohort.diseases[rows, place], held_out, cohort.diseases[development, place])
        for place in range(len(DISEASES))
    ]
    phenotypes = [_fit_ridge(x, cohort.phenotypes[rows, place]) for place in range(len(MEASUREMENTS))]
    np.savez(
        out / COEFFICIENTS,
        center=center,
        scale=scale,
        disease_weights=np.stack([weights for weights, _ in diseases]),
        disease_bias=np.array([bias for _, bias in diseases]),
        phenotype_weights=np.stack([weights for weights, _ in phenotypes]),
        phenotype_bias=np.array([bias for _, bias in phenotypes]),
    )
    shutil.copyfile(aligned / TOWER, out / TOWER)
    (out / RESULT).write_text("{}\n")


def load_oracle(folder: Path) -> CmrOracle:
    """Return the oracle of a folder.

    Raises:
        InvalidSettings: the folder holds none.
    """
    from .networks.alignment import CmrProjection

    tower = load_weights(folder / TOWER)
    encoder = _rebuild_encoder(below("encoder.", tower))
    projection = CmrProjection(encoder.width)
    projection.load_state_dict(below("projection.", tower))
    with np.load(folder / COEFFICIENTS, allow_pickle=False) as coefficients:
        return CmrOracle(encoder, projection, **{name: coefficients[name] for name in coefficients.files})


def _rebuild_encoder(weights: dict[str, Tensor]) -> CmrEncoder:
    from .networks.cmr_encoder import CMR_PRESETS, CmrEncoder

    widths = {preset.width: preset for preset in CMR_PRESETS.values()}
    encoder = CmrEncoder(widths[weights["summary"].shape[0]])
    encoder.load_state_dict(weights)
    return encoder.eval()


def _fit_logistic(
    x: Floats, sick: NDArray[np.float32], held_out: Floats, held_out_sick: NDArray[np.float32]
) -> tuple[Floats, float]:
    """Return weights and bias, the penalty chosen by the development fold's log-loss."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    known, checked = np.isfinite(sick), np.isfinite(held_out_sick)
    fits = [
        LogisticRegression(C=strength, max_iter=1000).fit(x[known], sick[known] == 1) for strength in LOGISTIC_STRENGTHS
    ]
    losses = [
        log_loss(held_out_sick[checked] == 1, fit.predict_proba(held_out[checked])[:, 1], labels=[False, True])
        for fit in fits
    ]
    best = fits[int(np.argmin(losses))]
    return best.coef_[0], float(best.intercept_[0])


def _fit_ridge(x: Floats, values: Floats) -> tuple[Floats, float]:
    """Return weights and bias, the penalty chosen by leaving out one training row at a time."""
    from sklearn.linear_model import RidgeCV

    known = np.isfinite(values)
    fitted = RidgeCV(RIDGE_PENALTIES).fit(x[known], values[known])
    return fitted.coef_, float(fitted.intercept_)
