"""`cardiacnets train pretrain-cmr`: the CMR encoder learns to fill in what is hidden of a cine; no labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch  # noqa: TID253 - Lightning
from numpy.typing import NDArray
from torch import Tensor  # noqa: TID253

from schemas.errors import InvalidSettings
from training.cohort.layout import Cohort, Fold
from training.networks.cmr_encoder import CMR_PRESETS, CmrEncoder, scale_cines
from training.networks.masked_cmr import MaskedCmr

from .data import Batch, Cines, load_development, load_training
from .fitting import Learner, fit
from .folder import StageFolder, above, below, open_stage, save_weights
from .seeds import seed_stage
from .settings import Hardware, Learning, Settings, Share

STAGE = "pretrain-cmr"
FEATURES = "features.npy"
FEATURE_BATCH = 64


class PretrainCmr(Settings, frozen=True, kw_only=True):
    """What decides the result.

    Attributes:
        drawn: share of the hidden patches that is drawn in a step.
    """

    preset: str = "reference"
    seed: int = 0
    mask: Share = 0.75
    drawn: Share = 1 / 3
    learning: Learning = Learning(epochs=10, batch_size=32, learning_rate=1e-3)


class CmrMasker(Learner):
    """Masked modelling of cines."""

    def __init__(self, settings: PretrainCmr) -> None:
        super().__init__(settings.learning, settings.seed)
        self.network = MaskedCmr(CMR_PRESETS[settings.preset], settings.mask, settings.drawn)

    def losses(self, batch: Batch, *, training: bool) -> dict[str, Tensor]:  # noqa: ARG002 - masks are drawn in both
        """Return the error of what was drawn."""
        return {"loss": self.network(batch["cines"]).loss}


def pretrain_cmr(cohort: Cohort, out: Path, settings: PretrainCmr, hardware: Hardware) -> StageFolder:
    """Pretrain on the training fold's cines; leave the encoder's weights, `encoder.*`, and the scans' features.

    `features.npy` (scans, width) float32 holds the frozen encoder's answers to the cines of the training and the
    development fold; those of other scans are NaN.

    Raises:
        InvalidSettings: the cohort has no cines.
    """
    if cohort.cines is None:
        raise InvalidSettings(f"{cohort.folder} has no cines: the CMR encoder needs a cohort with cardiac MR")
    folder = open_stage(out, STAGE, settings, cohort)
    if folder.is_finished:
        return folder
    seed_stage(settings.seed)
    size, workers = settings.learning.batch_size, hardware.workers
    fitted = fit(
        CmrMasker(settings),
        load_training(Cines(cohort.cines, scans_of(cohort, "train")), size, seed=settings.seed, workers=workers),
        load_development(Cines(cohort.cines, scans_of(cohort, "development")), size, workers=workers),
        folder,
        hardware,
    )
    weights = below("network.encoder.", fitted.weights)
    save_weights(folder.weights, above("encoder.", weights))
    encoder = CmrEncoder(CMR_PRESETS[settings.preset])
    encoder.load_state_dict(weights)
    scans = np.union1d(scans_of(cohort, "train"), scans_of(cohort, "development"))
    features = np.full((len(cohort.cines), encoder.width), np.nan, np.float32)
    features[scans] = encode_cines(encoder, cohort.cines, scans)
    np.save(folder.path / FEATURES, features)
    folder.finish(development_loss=fitted.best_loss, epochs=fitted.epochs)
    return folder


def scans_of(cohort: Cohort, fold: Fold) -> NDArray[np.intp]:
    """Return the scans of a fold, each once, in order."""
    scans = cohort.cine[cohort.select(fold)]
    return np.unique(scans[scans >= 0]).astype(np.intp)


def encode_cines(encoder: CmrEncoder, cines: NDArray[np.uint8], scans: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return the features (k, width) of the scans of `cines` (m, 50, 96, 96)."""
    encoder.eval()
    features = np.empty((len(scans), encoder.width), np.float32)
    with torch.inference_mode():
        for start in range(0, len(scans), FEATURE_BATCH):
            batch = torch.from_numpy(cines[scans[start : start + FEATURE_BATCH]])
            features[start : start + FEATURE_BATCH] = encoder(scale_cines(batch)).numpy()
    return features
