"""`cardiacnets train pretrain-ecg`: the ECG encoder learns to reconstruct hidden parts of ECGs; no labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor  # noqa: TID253 - Lightning

from inference.models.presets import find_preset
from training.cohort.layout import Cohort
from training.networks.masked_ecg import MaskedEcg
from training.networks.weights_files import above, below, save_weights

from .batches import Batch, MiddleCrops, TrainingCrops
from .crops import open_resampled
from .fit import Learner
from .run_stage import RunningStage, run_stage
from .settings import Hardware, PretrainEcg
from .stage_folder import StageFolder

STAGE = "pretrain-ecg"


class EcgMasker(Learner):
    """Learns by masked modelling of crops."""

    def __init__(self, settings: PretrainEcg) -> None:
        super().__init__(settings.learning, settings.seed)
        self.network = MaskedEcg(find_preset(settings.preset), settings.mask)

    def losses(self, batch: Batch, *, training: bool) -> dict[str, Tensor]:  # noqa: ARG002 - masks are drawn in both
        """Return the error of the reconstruction."""
        return {"loss": self.network(batch["crops"]).loss}


def pretrain_ecg(cohort: Cohort, out: Path, settings: PretrainEcg, hardware: Hardware) -> StageFolder:
    """Pretrain on the training fold, and write the weights of the encoder, `encoder.*`."""

    def learn(stage: RunningStage) -> dict[str, Any]:
        signals = open_resampled(cohort)
        drawn = TrainingCrops(signals, cohort.select("train"), {}, augmentation=None, seed=settings.seed)
        fixed = MiddleCrops(signals, cohort.select("development"), {})
        fitted = stage.fit(lambda: EcgMasker(settings), drawn, fixed)
        save_weights(stage.folder.weights, above("encoder.", below("network.encoder.", fitted.weights)))
        return fitted.result

    return run_stage(out, STAGE, settings, cohort, hardware, learn=learn)
