"""`cardiacnets train pretrain-ecg`: the ECG encoder learns to fill in what is hidden of an ECG; no labels."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor  # noqa: TID253 - Lightning

from inference.models.presets import find_preset
from training.cohort.layout import Cohort
from training.networks.masked_ecg import MaskedEcg
from training.networks.weights_files import above, below, save_weights

from .batches import Batch, MiddleCrops, TrainingCrops, load_development, load_training
from .crops import open_resampled
from .fit import Learner, fit
from .seeds import seed_stage
from .settings import Hardware, PretrainEcg
from .stage_folder import StageFolder, open_stage

STAGE = "pretrain-ecg"


class EcgMasker(Learner):
    """Masked modelling of crops."""

    def __init__(self, settings: PretrainEcg) -> None:
        super().__init__(settings.learning, settings.seed)
        self.network = MaskedEcg(find_preset(settings.preset), settings.mask)

    def losses(self, batch: Batch, *, training: bool) -> dict[str, Tensor]:  # noqa: ARG002 - masks are drawn in both
        """Return the error of what was drawn."""
        return {"loss": self.network(batch["crops"]).loss}


def pretrain_ecg(cohort: Cohort, out: Path, settings: PretrainEcg, hardware: Hardware) -> StageFolder:
    """Pretrain on the training fold; leave the encoder's weights, `encoder.*`."""
    folder = open_stage(out, STAGE, settings, cohort)
    if folder.is_finished:
        return folder
    seed_stage(settings.seed)
    signals = open_resampled(cohort)
    size, seed, workers = settings.learning.batch_size, settings.seed, hardware.workers
    drawn = TrainingCrops(signals, cohort.select("train"), {}, augmentation=None, seed=seed)
    fixed = MiddleCrops(signals, cohort.select("development"), {})
    fitted = fit(
        EcgMasker(settings),
        load_training(drawn, size, seed=seed, workers=workers),
        load_development(fixed, size, workers=workers),
        folder,
        hardware,
    )
    save_weights(folder.weights, above("encoder.", below("network.encoder.", fitted.weights)))
    folder.finish(development_loss=fitted.best_loss, epochs=fitted.epochs)
    return folder
