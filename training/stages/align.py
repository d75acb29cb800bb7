"""`cardiacnets train align`: the ECG encoder learns to embed an ECG beside the cine of the same heart; no labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: TID253 - Lightning
from numpy.typing import NDArray
from torch import Tensor  # noqa: TID253

from inference.models.encoder import EcgEncoder
from inference.models.heads import AlignmentHead
from inference.models.presets import find_preset
from schemas.errors import InvalidSettings
from training.cohort.layout import Cohort
from training.cohort.whole_file import save_array
from training.networks.alignment import N_COMPONENTS, CmrProjection, contrast, weigh_negatives
from training.networks.kept_patches import encode_pooled
from training.networks.weights_files import WEIGHTS, above, below, load_weights, save_weights

from .batches import Batch, MiddleCrops, TrainingCrops
from .crops import Augmentation, open_resampled
from .fit import Learner
from .pretrain_cmr import FEATURES, scanned, scans_of
from .run_stage import RunningStage, run_stage
from .settings import Align, Hardware
from .stage_folder import StageFolder, check_cohort

STAGE = "align"
TOWER = "cmr_tower.safetensors"
EMBEDDINGS = "embeddings.npy"
COMPONENTS = "components.npy"


class Aligner(Learner):
    """Learns by the weighted contrastive loss. The CMR encoder is frozen, so the batch brings its features."""

    def __init__(self, settings: Align, training_features: Tensor) -> None:
        super().__init__(settings.learning, settings.seed)
        self.keep = settings.keep
        preset = find_preset(settings.preset)
        self.encoder = EcgEncoder(preset)
        self.alignment = AlignmentHead(preset.width)
        self.projection = CmrProjection(training_features.shape[1])
        self.projection.fit_scale(training_features)

    def losses(self, batch: Batch, *, training: bool) -> dict[str, Tensor]:
        """Return the loss, and the share of the ECGs whose own cine is the nearest of the batch."""
        ecg = self.alignment(encode_pooled(self.encoder, batch["crops"], self.keep if training else 1))
        cmr = self.projection(batch["features"])
        loss = contrast(ecg, cmr, weigh_negatives(batch["components"]))
        found = (ecg @ cmr.T).argmax(dim=1) == torch.arange(len(ecg), device=ecg.device)
        return {"loss": loss, "found": found.float().mean()}


def align(
    cohort: Cohort, out: Path, settings: Align, hardware: Hardware, *, cmr: Path, encoder: Path | None = None
) -> StageFolder:
    """Align the ECG encoder with the frozen CMR encoder.

    Args:
        cohort: with cines.
        out: the folder for the weights `encoder.*` and `alignment.*`, for the CMR tower (encoder and projection), and
            for the embeddings (scans, 256) and the components φ (scans, k) of the scans of the training and the
            development fold.
        settings: what decides the result.
        hardware: where to learn.
        cmr: the folder of `pretrain-cmr`.
        encoder: weights of `pretrain-ecg`; None: from scratch.

    Raises:
        InvalidSettings: the CMR encoder was trained on another cohort, or a fold has no scan.
    """
    check_cohort(cmr, cohort)
    training, rows, development = scans_of(cohort, "train"), scanned(cohort, "train"), scanned(cohort, "development")

    def learn(stage: RunningStage) -> dict[str, Any]:
        features = np.load(cmr / FEATURES, allow_pickle=False)
        components = principal_components(features, training)
        known = {"features": by_row(features, cohort), "components": by_row(components, cohort)}
        signals = open_resampled(cohort)
        fitted = stage.fit(
            lambda: begin_aligner(settings, torch.from_numpy(features[training]), encoder),
            TrainingCrops(signals, rows, known, augmentation=Augmentation(), seed=settings.seed),
            MiddleCrops(signals, development, known),
        )
        folder, weights = stage.folder, fitted.weights
        save_weights(folder.weights, {n: t for n, t in weights.items() if not n.startswith("projection.")})
        tower = load_weights(cmr / WEIGHTS) | above("projection.", below("projection.", weights))
        save_weights(folder.path / TOWER, tower)
        with torch.inference_mode():
            embeddings = fitted.learner.projection.cpu()(torch.from_numpy(features)).numpy()
        save_array(folder.path / EMBEDDINGS, embeddings)
        save_array(folder.path / COMPONENTS, components)
        return fitted.result

    return run_stage(out, STAGE, settings, cohort, hardware, learn=learn, encoder=encoder, cmr=cmr / FEATURES)


def begin_aligner(settings: Align, training_features: Tensor, encoder: Path | None) -> Aligner:
    """Return a learner that begins with the weights of `pretrain-ecg`, or from scratch where there are none."""
    learner = Aligner(settings, training_features)
    if encoder:
        load_encoder(learner.encoder, load_weights(encoder))
    return learner


def principal_components(features: NDArray[np.float32], training_scans: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return φ (scans, k): the first 128 principal components, in units of the distance of two hearts.

    The paper does not tell the unit of σ = 0.5. Here φ is divided by the root mean square of the distance between
    two hearts of the training fold: strangers lie 1 apart and weigh 1 − exp(−1/σ²) = 0.98, twins at a
    third of that 0.36.

    Args:
        features: (scans, width); NaN for scans that are not used.
        training_scans: the scans that the components and the unit are fitted on.
    """
    from sklearn.decomposition import PCA

    count = min(N_COMPONENTS, features.shape[1], len(training_scans))
    fitted = PCA(count, svd_solver="full").fit(np.asarray(features[training_scans], np.float64))
    known = np.isfinite(features).all(axis=1)
    components = np.full((len(features), count), np.nan, np.float32)
    unit = np.sqrt(2 * fitted.transform(features[training_scans]).var(axis=0).sum())
    components[known] = fitted.transform(features[known]) / max(unit, np.finfo(np.float32).tiny)
    return components


def by_row(scans: NDArray[np.float32], cohort: Cohort) -> Tensor:
    """Return the values of the scan of each row, (rows, …); NaN for rows without a scan."""
    values = np.full((len(cohort), *scans.shape[1:]), np.nan, np.float32)
    has_scan = cohort.cine >= 0
    values[has_scan] = scans[cohort.cine[has_scan]]
    return torch.from_numpy(values)


def load_encoder(encoder: EcgEncoder, weights: dict[str, Tensor]) -> None:
    """Load the weights `encoder.*` into the encoder, all of them.

    Raises:
        InvalidSettings: the weights belong to another preset, or to something else than an ECG encoder.
    """
    try:
        encoder.load_state_dict(below("encoder.", weights), strict=True)
    except RuntimeError as error:
        raise InvalidSettings(f"the weights do not fit an encoder of this preset: {error}") from error
