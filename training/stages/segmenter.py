"""`cardiacnets train segmenter`: a small network learns to outline the left ventricle on simulated cines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: TID253 - Lightning
from numpy.typing import NDArray
from torch import Tensor  # noqa: TID253
from torch.nn import functional  # noqa: TID253

from schemas.errors import InvalidSettings
from training.cohort.layout import PHENOTYPES, Cohort, Fold
from training.instruments.left_ventricle import INSIDE
from training.instruments.rounding import rounded
from training.instruments.segmenter import CineSegmenter, SegmenterCard, write_card
from training.networks.segmenter import Segmenter
from training.networks.weights_files import below, save_weights
from training.simulation.cine_picture import PIXEL_MM

from .batches import Batch
from .fit import Learner
from .outlined_frames import OutlinedFrames, disturb, outline_frames
from .run_stage import RunningStage, run_stage
from .settings import Hardware, TrainSegmenter
from .stage_folder import StageFolder

STAGE = "segmenter"


class Outliner(Learner):
    """Learns shares by cross-entropy: the expected share is right even where a border is blurred."""

    def __init__(self, settings: TrainSegmenter) -> None:
        super().__init__(settings.learning, settings.seed)
        self.network = Segmenter()

    def losses(self, batch: Batch, *, training: bool) -> dict[str, Tensor]:  # noqa: ARG002 - both are disturbed
        """Return the error on disturbed frames."""
        frames, shares = disturb(batch["frames"], batch["shares"])
        known = shares / 255
        target = torch.cat([1 - known.sum(dim=1, keepdim=True), known], dim=1)
        return {"loss": functional.cross_entropy(self.network(frames), target)}


def train_segmenter(cohort: Cohort, out: Path, settings: TrainSegmenter, hardware: Hardware) -> StageFolder:
    """Learn on the training fold; write the weights and `segmenter.json`, which `load_segmenter` reads.

    Raises:
        InvalidSettings: the cohort was not simulated, has no cines, or has no measured scan in one of the two folds.
    """

    def learn(stage: RunningStage) -> dict[str, Any]:
        rows, others = measured(cohort, "train"), measured(cohort, "development")
        if not len(rows) or not len(others):
            raise InvalidSettings(f"{cohort.folder} needs measured scans in both its training and its development fold")
        held_out = outline_frames(cohort, others, settings.frames)
        drawn = OutlinedFrames(*outline_frames(cohort, rows, settings.frames))
        fitted = stage.fit(lambda: Outliner(settings), drawn, OutlinedFrames(*held_out))
        weights = below("network.", fitted.weights)
        save_weights(stage.folder.weights, weights)
        figures = judge_segmenter(_rebuild(weights), cohort, others, *held_out)
        write_card(stage.folder.path, _describe(cohort, len(rows)), figures)
        return fitted.result | figures

    return run_stage(out, STAGE, settings, cohort, hardware, learn=learn)


def measured(cohort: Cohort, fold: Fold) -> NDArray[np.intp]:
    """Return the rows of a fold with a measured scan: their outlines can be drawn again and checked."""
    rows = cohort.select(fold)
    return rows[(cohort.cine[rows] >= 0) & np.isfinite(cohort.phenotypes[rows]).all(axis=1)]


def judge_segmenter(
    segmenter: CineSegmenter,
    cohort: Cohort,
    rows: NDArray[np.intp],
    frames: NDArray[np.uint8],
    shares: NDArray[np.uint8],
) -> dict[str, float]:
    """Return Dice of cavity and wall, and correlation and errors of LVEF (%), LVEDV (mL) and wall thickness (mm).

    Args:
        segmenter: that is judged.
        cohort: simulated, with cines.
        rows: of the cohort.
        frames, shares: of `outline_frames`.
    """
    found = segmenter.outline(frames[None])[0] > INSIDE
    known = shares > 255 * INSIDE
    figures = {f"dice_{name}": rounded(_dice(found[:, i], known[:, i])) for i, name in enumerate(("cavity", "wall"))}
    assert cohort.cines is not None  # noqa: S101 - their frames were outlined
    measured = segmenter.measure(cohort.cines[cohort.cine[rows]], PIXEL_MM)
    for name, values in (
        ("LVEF", measured.lvef_percent),
        ("LVEDV", measured.lvedv_ml),
        ("LV_wall_thickness_global", measured.thickness_mm),
    ):
        truth = cohort.phenotypes[rows, PHENOTYPES.index(name)]
        figures |= {
            f"{name}_r": rounded(np.corrcoef(values, truth)[0, 1]),
            f"{name}_mae": rounded(np.abs(values - truth).mean()),
            f"{name}_bias": rounded((values - truth).mean()),
        }
    return figures


def _dice(found: NDArray[np.bool_], known: NDArray[np.bool_]) -> float:
    return float(2 * (found & known).sum() / (found.sum() + known.sum()))


def _rebuild(weights: dict[str, Tensor]) -> CineSegmenter:
    network = Segmenter()
    network.load_state_dict(weights)
    return CineSegmenter(network.eval(), SegmenterCard(sha256="", trained_on="", development={}))


def _describe(cohort: Cohort, patients: int) -> str:
    return f"{patients} simulated patients of seed {cohort.description.seed}"
