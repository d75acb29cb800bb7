"""The body that all stages of learning share: open the folder, set the seed, learn or resume, write the result.

A new stage needs settings, a learner, and a function that calls `run_stage`: see `pretrain_ecg.py`, and
`examples/custom_stage.py` outside of this package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from torch.utils.data import Dataset  # noqa: TID253 - Lightning

from training.cohort.layout import Cohort

from .batches import Batch, Rows, load_development, load_training
from .devices import choose_device, choose_workers, has_room
from .fit import Fitted, Learner, fit
from .seeds import seed_stage
from .settings import Hardware, StageSettings
from .stage_folder import StageFolder, open_stage

AnyLearner = TypeVar("AnyLearner", bound=Learner)


@dataclass(frozen=True, slots=True)
class RunningStage:
    """A stage while it runs."""

    folder: StageFolder
    settings: StageSettings
    hardware: Hardware

    def fit(
        self,
        make_learner: Callable[[], AnyLearner],
        training: Dataset[Batch],
        development: Dataset[Batch],
        *,
        epoch_rows: int | None = None,
    ) -> Fitted[AnyLearner]:
        """Learn, or resume where an interrupted start stopped.

        Args:
            make_learner: makes the network. It is called after the seed is set, so that the first weights depend on the
                seed alone, and not on what the stage computed before.
            training: what is drawn from in every epoch.
            development: chooses the epoch.
            epoch_rows: rows of an epoch; None: each row of `training` once.

        Raises:
            InvalidSettings: the development loss is no longer a number.
        """
        seed_stage(self.settings.seed)
        size, device = self.settings.learning.batch_size, choose_device(self.hardware)
        workers = choose_workers(self.hardware, device)
        held = sum(data.size for data in (training, development) if isinstance(data, Rows))
        hold = has_room(self.hardware, device, held)
        learner = make_learner()
        return fit(
            learner,
            load_training(
                training,
                size,
                seed=self.settings.seed,
                workers=workers,
                length=epoch_rows,
                device=device,
                hold=hold,
            ),
            load_development(development, size, workers=workers, device=device, hold=hold),
            self.folder,
            self.hardware,
        )


Learn: TypeAlias = Callable[[RunningStage], dict[str, Any]]
"""Learns, writes what the next stage needs into the folder, and returns the result: `Fitted.result`, and more."""


def run_stage(
    out: Path,
    stage: str,
    settings: StageSettings,
    cohort: Cohort,
    hardware: Hardware,
    *,
    learn: Learn,
    **inputs: Path | None,
) -> StageFolder:
    """Run a stage in its folder, unless it is finished, and return the folder.

    Args:
        out: the folder; created if need be.
        stage: the name.
        settings: what decides the result, beside the cohort and the inputs.
        cohort: learned from.
        hardware: where to learn.
        learn: the part that no other stage has.
        inputs: files of earlier stages, by name.

    Raises:
        InvalidSettings: the folder holds other work, a fold is empty, or there is no such device.
    """
    choose_device(hardware)  # which refuses one that is not there, before anything is begun
    folder = open_stage(out, stage, settings, cohort, folds=("train", "development"), **inputs)
    if not folder.is_finished:
        folder.finish(**learn(RunningStage(folder, settings, hardware)))
    return folder
