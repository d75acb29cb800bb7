"""A stage of learning of one's own: `python examples/custom_stage.py COHORT OUT` pretrains the ECG encoder on the sex.

Its weights can begin another stage, as those of `pretrain-ecg` can: `cardiacnets train finetune --cohort COHORT --out …
--encoder OUT/weights.safetensors`. Needs `pip install 'cardiacnets[train]'`.

A stage is three things: settings that decide the result, a learner that says its losses, and a function that learns and
leaves weights. `run_stage` does the rest: it opens the stage's folder, which refuses other settings, sets the seed,
resumes a stage that was interrupted, and writes the result.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inference.models.encoder import EcgEncoder
from inference.models.presets import find_preset
from training.cohort.layout import Cohort, open_cohort
from training.networks.weights_files import above, below, save_weights
from training.stages.batches import Batch, MiddleCrops, TrainingCrops
from training.stages.crops import open_resampled
from training.stages.fit import Learner
from training.stages.run_stage import RunningStage, run_stage
from training.stages.settings import Hardware, Learning, SavedStruct
from training.stages.stage_folder import StageFolder

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

    def learn(stage: RunningStage) -> dict[str, Any]:
        signals, female = open_resampled(cohort), {"female": torch.tensor(cohort.female, dtype=torch.float32)}
        drawn = TrainingCrops(signals, cohort.select("train"), female, augmentation=None, seed=settings.seed)
        fixed = MiddleCrops(signals, cohort.select("development"), female)
        fitted = stage.fit(lambda: SexLearner(settings), drawn, fixed)
        save_weights(stage.folder.weights, above("encoder.", below("encoder.", fitted.weights)))
        return fitted.result

    return run_stage(out, STAGE, settings, cohort, hardware, learn=learn)


if __name__ == "__main__":
    cohort_folder, out_folder = map(Path, sys.argv[1:])
    finished = pretrain_sex(open_cohort(cohort_folder), out_folder, PretrainSex(), Hardware())
    print(f"the encoder lies in {finished.weights}")
