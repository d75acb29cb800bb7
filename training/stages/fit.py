"""How every stage learns: Lightning's trainer, our optimiser, logs, checkpoints. Development chooses the epoch."""

from __future__ import annotations

import gc
import logging
import math
import multiprocessing
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch  # noqa: TID253 - Lightning
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn  # noqa: TID253

from engines.whole_file import whole_file
from schemas.errors import InvalidSettings

from .batches import Batch, Batches, with_crops
from .settings import Hardware, Learning
from .stage_folder import StageFolder

DEVELOPMENT_LOSS = "development_loss"
"""What chooses the epoch."""
ADAM_BETAS = (0.9, 0.95)
GRADIENT_NORM = 1.0
SEEDS_APART = 1_000_003


class Learner(LightningModule):
    """A network with its loss. Subclasses define `losses`."""

    def __init__(self, learning: Learning, seed: int) -> None:
        super().__init__()
        self.learning = learning
        self.seed = seed

    def losses(self, batch: Batch, *, training: bool) -> dict[str, Tensor]:
        """Return scalars by name. `loss` is minimised; the others are logged.

        On a GPU, a step that asks for a number (`float`, `if`, a boolean index) waits until all is computed.
        """
        raise NotImplementedError

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Lightning: return the loss of a batch."""
        return self._logged(batch, "training", training=True)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Lightning: log the losses of a batch of the development fold."""
        self._logged(batch, "development", training=False)

    def on_train_batch_start(self, *_: Any) -> None:
        """Make masks depend on seed and step alone, so that a resumed stage ends with the same weights."""
        torch.manual_seed(self.seed * SEEDS_APART + 1 + self.global_step)

    def on_validation_epoch_start(self) -> None:
        """Draw the same masks for every epoch, so that epochs can be compared."""
        torch.manual_seed(self.seed * SEEDS_APART)

    def configure_optimizers(self) -> Any:
        """Lightning: AdamW, decaying matrices alone; warm-up and cosine by steps."""
        optimizer = torch.optim.AdamW(self.parameter_groups(), lr=self.learning.learning_rate, betas=ADAM_BETAS)
        steps = int(self.trainer.estimated_stepping_batches)
        warm_up = round(steps * self.learning.warm_up_epochs / self.learning.epochs)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_cosine(step, warm_up, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters that are learned, in groups of one rate and one decay."""
        return decayed_groups(self, self.learning.weight_decay)

    def _logged(self, batch: Batch, fold: str, *, training: bool) -> Tensor:
        batch = with_crops(batch)
        losses = self.losses(batch, training=training)
        rows = len(next(iter(batch.values())))
        named = {f"{fold}_{name}": value.detach() for name, value in losses.items()}
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=rows, sync_dist=not training)
        return losses["loss"]


def decayed_groups(module: nn.Module, weight_decay: float, **options: Any) -> list[dict[str, Any]]:
    """Return the module's parameters in two groups: matrices decay; biases, norms and vectors do not."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups = [(matrices, weight_decay), (others, 0.0)]
    return [{"params": group, "weight_decay": decay, **options} for group, decay in groups if group]


def warm_cosine(step: int, warm_up: int, steps: int) -> float:
    """Return the share of the learning rate at a step: a linear rise, then half a cosine down."""
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1, (step - warm_up) / max(1, steps - warm_up))))


AnyLearner = TypeVar("AnyLearner", bound=Learner)


@dataclass(frozen=True, slots=True)
class Fitted(Generic[AnyLearner]):
    """What was learned.

    Attributes:
        learner: with the weights of the best epoch.
        weights: of the best epoch, by their names in the learner; on the CPU.
        best_loss: the development loss of that epoch.
        epochs: how many there were.
    """

    learner: AnyLearner
    weights: dict[str, Tensor]
    best_loss: float
    epochs: int

    @property
    def result(self) -> dict[str, Any]:
        """The figures that the result of every stage has."""
        return {"development_loss": self.best_loss, "epochs": self.epochs}


def fit(
    learner: AnyLearner,
    training: Batches,
    development: Batches,
    folder: StageFolder,
    hardware: Hardware,
) -> Fitted[AnyLearner]:
    """Learn until the epochs or the patience end. Resume from the last checkpoint, if there is one.

    Every epoch leaves `last.ckpt` and, if it was the best on the development fold, `best.ckpt`. Logs: `csv/version_k`
    (one a start) and `tensorboard`.

    Raises:
        InvalidSettings: the development loss is no longer a number, so that the weights are worth nothing.
    """
    gc.collect()  # an earlier learner and its trainer hold each other
    best = _checkpoint(folder.checkpoints, "best", DEVELOPMENT_LOSS)
    last = _checkpoint(folder.checkpoints, "last", None)
    on_terminal = sys.stderr.isatty() and multiprocessing.parent_process() is None  # two bars would fight
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # or every new tensor is filled, which is slow
    with _quiet_lightning():
        trainer = Trainer(
            accelerator="gpu" if hardware.device == "cuda" else hardware.device,
            devices=hardware.devices,
            strategy=hardware.strategy,
            precision=hardware.precision,  # type: ignore[arg-type]  # Lightning checks the name
            max_epochs=learner.learning.epochs,
            gradient_clip_val=GRADIENT_NORM,
            deterministic=True,
            num_sanity_val_steps=0,
            log_every_n_steps=min(10, len(training)),
            plugins=[StreamedCheckpoints()],
            enable_model_summary=False,
            enable_progress_bar=on_terminal,
            logger=[CSVLogger(folder.path, "csv"), TensorBoardLogger(folder.path, "tensorboard", "")],
            callbacks=[
                best,
                EarlyStopping(DEVELOPMENT_LOSS, patience=learner.learning.patience),
                LearningRateMonitor("epoch"),
                TQDMProgressBar() if on_terminal else EpochLines(f"{folder.path.parent.name}/{folder.path.name}"),
                last,  # after the others, whose states it keeps
            ],
        )
        resumed = folder.checkpoints / "last.ckpt"
        trainer.fit(
            learner, training, development, ckpt_path=str(resumed) if resumed.exists() else None, weights_only=True
        )
    best_loss = math.nan if best.best_model_score is None else float(best.best_model_score)
    last_loss = float(trainer.callback_metrics.get(DEVELOPMENT_LOSS, best_loss))  # none, where no epoch was left
    if not math.isfinite(best_loss + last_loss):
        raise InvalidSettings(
            f"after epoch {trainer.current_epoch} the development loss is no longer a number: "
            f"remove {folder.path} and start again with a lower learning rate or another precision"
        )
    weights = torch.load(folder.checkpoints / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    learner.load_state_dict(weights)
    return Fitted(learner, weights, best_loss, trainer.current_epoch)


class EpochLines(Callback):
    """Prints a line an epoch, where there is no terminal for a bar, or where another step runs beside."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Lightning: print the development losses."""
        values = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("dev")}
        text = " ".join(f"{name.removeprefix('development_')} {value:.4f}" for name, value in values.items())
        print(
            f"{self._stage}: epoch {trainer.current_epoch + 1}/{trainer.max_epochs} {text}", file=sys.stderr, flush=True
        )


class StreamedCheckpoints(TorchCheckpointIO):
    """Writes checkpoints straight to disk, whole. Lightning would build the file in memory first."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:  # noqa: ARG002
        """Lightning: write a checkpoint."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            torch.save(checkpoint, partial)


class MovableCheckpoint(ModelCheckpoint):
    """Keeps the best epoch when the stage's folder was moved. Lightning would forget it."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning: load the state of an earlier start."""
        paths = {
            name: self._here(state_dict[name]) for name in ("best_model_path", "last_model_path", "kth_best_model_path")
        }
        best = {self._here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | paths | {"best_k_models": best, "dirpath": self.dirpath})

    def _here(self, path: str) -> str:
        return str(Path(self.dirpath or "") / Path(path).name) if path else path


def _checkpoint(folder: Path, name: str, monitor: str | None) -> MovableCheckpoint:
    return MovableCheckpoint(
        folder,
        name,
        monitor=monitor,
        save_top_k=1,
        save_weights_only=monitor is not None,  # the optimiser goes on from the last epoch, not from the best
        enable_version_counter=False,
        save_on_train_epoch_end=True,  # after validation; Lightning resumes from the end of an epoch alone
    )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence advice that does not apply here: on workers, loggers and unused GPUs."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", module="torch")
            yield
    finally:
        logger.setLevel(level)
