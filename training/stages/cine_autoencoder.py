"""`cardiacnets train train-vae`: an autoencoder learns to describe a cine by few numbers.

The publication adds a perceptual loss and, late, an adversary. Here a loss on edges replaces the perceptual loss, and
there is no adversary: on two cores an adversary would double the cost of a step.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: TID253 - Lightning
from numpy.typing import NDArray
from torch import Tensor  # noqa: TID253
from torch.nn.functional import l1_loss  # noqa: TID253

from inference.generator import reduce_cines
from inference.models.cine_presets import Box, find_cine_preset
from inference.models.cine_vae import CineVae
from schemas.errors import InvalidSettings
from training.cohort.layout import Cohort
from training.networks.cine_losses import edge_loss
from training.networks.cmr_encoder import scale_cines
from training.networks.weights_files import save_weights

from .batches import Batch, Scans
from .fit import Learner
from .pretrain_cmr import scans_of
from .run_stage import RunningStage, run_stage
from .settings import Hardware, TrainVae
from .stage_folder import StageFolder

STAGE = "train-vae"


class ReducedCines(Scans):
    """Cines in the generator's geometry."""

    def __init__(self, cines: NDArray[np.uint8], scans: NDArray[np.intp], reduction: Box) -> None:
        super().__init__("cines", cines, scans)
        self._reduction = reduction

    @property
    def size(self) -> int:
        """Bytes of all its cines."""
        return super().size // math.prod(self._reduction)

    def read(self, places: NDArray[np.intp]) -> Batch:
        """Return the cines at these places of the data set."""
        cines = super().read(places)["cines"]
        return {"cines": torch.from_numpy(reduce_cines(cines.numpy(), self._reduction))}


class VaeLearner(Learner):
    """Reconstruction from a drawn latent, and the latents' divergence from a normal distribution."""

    def __init__(self, settings: TrainVae) -> None:
        super().__init__(settings.learning, settings.seed)
        self.settings = settings
        self.vae = CineVae(find_cine_preset(settings.preset))

    def losses(self, batch: Batch, *, training: bool) -> dict[str, Tensor]:
        """Return the loss and its parts: of pixels in [-1, 1], of edges, and the divergence in nats a cine."""
        cines = scale_cines(batch["cines"])[:, None]
        posterior = self.vae.encode(cines)
        drawn = self.vae.decode(posterior.sample() if training else posterior.mean)
        pixels, edges = l1_loss(drawn, cines), edge_loss(drawn, cines)
        nats = posterior.divergence().mean()
        loss = pixels + self.settings.edge_weight * edges + self.settings.divergence_weight * nats
        return {"loss": loss, "pixels": pixels, "edges": edges, "nats": nats}


def train_vae(cohort: Cohort, out: Path, settings: TrainVae, hardware: Hardware) -> StageFolder:
    """Learn from the cines of the training fold, and write the weights of the autoencoder, `vae.*`.

    Raises:
        InvalidSettings: the cohort has no cines, or a fold has none.
    """
    if cohort.cines is None:
        raise InvalidSettings(f"{cohort.folder} has no cines: a cine generator needs a cohort with cardiac MR")
    reduction = find_cine_preset(settings.preset).reduction
    drawn, fixed = (ReducedCines(cohort.cines, scans_of(cohort, fold), reduction) for fold in ("train", "development"))

    def learn(stage: RunningStage) -> dict[str, Any]:
        fitted = stage.fit(lambda: VaeLearner(settings), drawn, fixed)
        save_weights(stage.folder.weights, fitted.weights)
        return fitted.result

    return run_stage(out, STAGE, settings, cohort, hardware, learn=learn)
