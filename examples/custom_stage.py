"""A stage of learning of one's own: `python examples/custom_stage.py COHORT OUT` pretrains the ECG encoder on the sex.

Its weights can begin another stage, as those of `pretrain-ecg` can: `cardiacnets train finetune --cohort COHORT --out …
--encoder OUT/weights.safetensors`. Needs `pip install 'cardiacnets[train]'`.

A stage is three things: settings that decide the result, a learner that says its losses, and a function that opens the
stage's folder, learns, and leaves weights. The folder refuses other settings; an interrupted stage resumes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from inference.models.encoder import EcgEncoder
from inference.models.presets import find_preset
from training.cohort.layout import Cohort, open_cohort
from training.networks.weights_files import above, below, save_weights
from training.stages.batches import Batch, MiddleCrops, TrainingCrops, load_development, load_training
from training.stages.crops import open_resampled
from training.stages.fit import Learner, fit
from training.stages.seeds import seed_stage
from training.stages.settings import Hardware, Learning, SavedStruct
from training.stages.stage_folder import StageFolder, open_stage

STAGE = "pretrain-sex"


class PretrainSex(SavedStruct, frozen=True, kw_only=True):
    """What decides the result."""

    preset: str = "reference"
    seed: int = 0
    learning: Learning = Learning(epochs=4, batch_size=32, learning_rate=1e-3)


class SexLearner(Learner):
    """The ECG encoder under one logit: is the patient female?"""

    def __init__(self, settings: PretrainSex) -> None:
        super().__init__(settings.learning, settings.seed)
        preset = find_preset(settings.preset)
        self.encoder = EcgEncoder(preset)
        self.head = nn.Linear(preset.width, 1)

    def losses(self, batch: Batch, *, training: bool) -> dict[str, Tensor]:  # noqa: ARG002 - the same in both
        """Return the cross-entropy, by name; `loss` is the one that is minimised."""
        logits = self.head(self.encoder(batch["crops"]))[:, 0]
        return {"loss": nn.functional.binary_cross_entropy_with_logits(logits, batch["female"])}


def pretrain_sex(cohort: Cohort, out: Path, settings: PretrainSex, hardware: Hardware) -> StageFolder:
    """Learn on the training fold, choose the epoch on the development fold, leave `encoder.*`."""
    folder = open_stage(out, STAGE, settings, cohort)
    if folder.is_finished:
        return folder
    seed_stage(settings.seed)
    signals, size, seed = open_resampled(cohort), settings.learning.batch_size, settings.seed
    female = {"female": torch.tensor(cohort.female, dtype=torch.float32)}
    drawn = TrainingCrops(signals, cohort.select("train"), female, augmentation=None, seed=seed)
    fixed = MiddleCrops(signals, cohort.select("development"), female)
    fitted = fit(
        SexLearner(settings),
        load_training(drawn, size, seed=seed, workers=hardware.workers),
        load_development(fixed, size, workers=hardware.workers),
        folder,
        hardware,
    )
    save_weights(folder.weights, above("encoder.", below("encoder.", fitted.weights)))
    folder.finish(development_loss=fitted.best_loss, epochs=fitted.epochs)
    return folder


if __name__ == "__main__":
    cohort_folder, out_folder = map(Path, sys.argv[1:])
    finished = pretrain_sex(open_cohort(cohort_folder), out_folder, PretrainSex(), Hardware())
    print(f"the encoder lies in {finished.weights}")
