"""`cardiacnets train pretrain-cmr`: the CMR encoder learns to reconstruct hidden parts of cines; no labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: TID253 - Lightning
from numpy.typing import NDArray
from torch import Tensor  # noqa: TID253

from inference.models.presets import choose
from schemas.errors import InvalidSettings
from training.cohort.layout import Cohort, Fold
from training.cohort.whole_file import save_array
from training.networks.cmr_encoder import CMR_PRESETS, N_PATCHES, CmrEncoder, CmrTower
from training.networks.masked_cmr import MaskedCmr
from training.networks.patch_components import fit_components, read_components
from training.networks.principal_axes import find_axes
from training.networks.weights_files import save_weights

from .batches import Batch, Scans
from .devices import choose_device
from .fit import Learner
from .run_stage import RunningStage, run_stage
from .settings import Hardware, PretrainCmr
from .stage_folder import StageFolder

STAGE = "pretrain-cmr"
FEATURES = "features.npy"
CINES_AT_ONCE = 64


class CmrMasker(Learner):
    """Learns by masked modelling of cines."""

    def __init__(self, settings: PretrainCmr, n_components: int) -> None:
        super().__init__(settings.learning, settings.seed)
        self.network = MaskedCmr(choose(CMR_PRESETS, settings.preset), n_components, settings.mask)

    def losses(self, batch: Batch, *, training: bool) -> dict[str, Tensor]:  # noqa: ARG002 - masks are drawn in both
        """Return the error of the reconstruction."""
        return {"loss": self.network(batch["patches"]).loss}


def pretrain_cmr(cohort: Cohort, out: Path, settings: PretrainCmr, hardware: Hardware) -> StageFolder:
    """Pretrain on the cines of the training fold; write the weights of the frozen tower, and the features of the scans.

    The weights are `encoder.*`, which reads pixels, and `readout.*`. `features.npy` (scans, feature) float32 holds the
    features of the scans of the training and the development fold; the other scans have NaN.

    Raises:
        InvalidSettings: the cohort has no cines, or a fold has none.
    """
    if cohort.cines is None:
        raise InvalidSettings(f"{cohort.folder} has no cines: the CMR encoder needs a cohort with cardiac MR")
    training, development = scans_of(cohort, "train"), scans_of(cohort, "development")
    cines, scans = cohort.cines, np.union1d(training, development)

    def learn(stage: RunningStage) -> dict[str, Any]:
        device = choose_device(hardware)
        components = fit_components(cines, training, settings.components, settings.seed)
        patches = read_components(components, cines, scans, device)
        fitted = stage.fit(
            lambda: CmrMasker(settings, patches.shape[2]),
            Scans("patches", patches, training),
            Scans("patches", patches, development),
        )
        encoder = fitted.learner.network.encoder.eval()
        tokens = encode_patches(encoder, patches[scans], device).flatten(1)
        readout, _ = find_axes(tokens[np.isin(scans, training)], settings.features, settings.seed)
        features = np.full((len(patches), readout.count), np.nan, np.float32)
        features[scans] = readout(tokens).numpy()
        save_array(stage.folder.path / FEATURES, features)
        encoder.cpu().patch_embedding = components.embed_pixels(encoder.patch_embedding)
        save_weights(stage.folder.weights, CmrTower(encoder, readout).state_dict())
        return fitted.result

    return run_stage(out, STAGE, settings, cohort, hardware, learn=learn)


def scans_of(cohort: Cohort, fold: Fold) -> NDArray[np.intp]:
    """Return the scans of a fold, each once, in order.

    Raises:
        InvalidSettings: the fold has no scan.
    """
    return np.unique(cohort.cine[scanned(cohort, fold)]).astype(np.intp)


def scanned(cohort: Cohort, fold: Fold) -> NDArray[np.intp]:
    """Return the rows of a fold whose heart was scanned.

    Raises:
        InvalidSettings: the fold has no such row.
    """
    rows = cohort.select(fold)
    if not (cohort.cine[rows] >= 0).any():
        raise InvalidSettings(f"nobody in the {fold} fold of {cohort.folder} was scanned")
    return rows[cohort.cine[rows] >= 0]


@torch.no_grad()
def encode_patches(encoder: CmrEncoder, patches: NDArray[np.float32], device: torch.device) -> Tensor:
    """Return the tokens (scan, 37, width) of all patches (scan, 36, component); computed on the device."""
    encoder.to(device)
    tokens = torch.empty(len(patches), 1 + N_PATCHES, encoder.width)
    for start in range(0, len(patches), CINES_AT_ONCE):
        some = torch.from_numpy(patches[start : start + CINES_AT_ONCE]).to(device)
        tokens[start : start + CINES_AT_ONCE] = encoder.encode_all(some)
    return tokens
