"""`cardiacnets train finetune`: the encoder and its heads learn diseases, measurements and subtype from labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch  # noqa: TID253 - Lightning
from numpy.typing import NDArray
from torch import Tensor, nn  # noqa: TID253
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy  # noqa: TID253

from engines.whole_file import write_whole
from inference.models.network import EcgNetwork
from inference.models.presets import find_preset
from schemas.errors import InvalidSettings
from training.arrays import Floats
from training.cohort.layout import Cohort
from training.networks.alignment import contrast, masked_mean, weigh_negatives
from training.networks.kept_patches import encode_pooled
from training.networks.weights_files import WEIGHTS, below, load_weights, save_weights

from .align import COMPONENTS, EMBEDDINGS, by_row, load_encoder
from .batches import Batch, MiddleCrops, TrainingCrops
from .crops import Augmentation, open_resampled
from .fit import Learner, decayed_groups
from .run_stage import RunningStage, run_stage
from .settings import Finetune, Hardware, SavedStruct
from .stage_folder import StageFolder, check_cohort

STAGE = "finetune"
SCALER = "scaler.json"
SEED_OF_SUBSET, SEED_OF_ORDER = 17, 19


class Scaler(SavedStruct, frozen=True, kw_only=True):
    """Means and deviations of the 82 phenotypes, in their units: value = mean + deviation × z."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


class Finetuner(Learner):
    """Learns all heads at once on the shared encoder."""

    positive_weights: Tensor

    def __init__(self, settings: Finetune, positive_weights: NDArray[np.float32], *, aligns: bool) -> None:
        super().__init__(settings.learning, settings.seed)
        self.settings = settings
        self.network = EcgNetwork(find_preset(settings.preset))
        self.network.alignment.requires_grad_(aligns)  # with no scan to be held against, it would only decay
        self.register_buffer("positive_weights", torch.from_numpy(positive_weights), persistent=False)

    def losses(self, batch: Batch, *, training: bool) -> dict[str, Tensor]:
        """Return the loss of each head and their weighted sum. Unknown labels count in no loss."""
        network, settings = self.network, self.settings
        pooled = encode_pooled(network.encoder, batch["crops"], settings.keep if training else 1)
        losses = {
            "disease": disease_loss(network.disease(pooled), batch["diseases"], self.positive_weights),
            "phenotype": phenotype_loss(network.phenotypes(pooled), batch["phenotypes"]),
            "subtype": subtype_loss(network.subtype(pooled), batch["subtypes"]),
        }
        if "embeddings" in batch:
            losses["alignment"] = alignment_loss(network.alignment(pooled), batch["embeddings"], batch["components"])
        weights = msgspec.structs.asdict(settings)
        total = torch.stack([loss * weights[f"{name}_weight"] for name, loss in losses.items()]).sum()
        return {"loss": total, **losses}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return groups in which the encoder learns more slowly than the heads, which begin untrained."""
        rate, decay = self.learning.learning_rate, self.learning.weight_decay
        heads = nn.ModuleList(part for name, part in self.network.named_children() if name != "encoder")
        encoder = decayed_groups(self.network.encoder, decay, lr=rate * self.settings.encoder_rate)
        return [*encoder, *decayed_groups(heads, decay, lr=rate)]


def finetune(
    cohort: Cohort,
    out: Path,
    settings: Finetune,
    hardware: Hardware,
    *,
    encoder: Path | None = None,
    aligned: Path | None = None,
) -> StageFolder:
    """Learn from labels; write the weights of the whole network and the scaler of the phenotypes.

    Args:
        cohort: its training fold gives the labels, its development fold chooses the epoch.
        out: the folder.
        settings: what decides the result.
        hardware: where to learn.
        encoder: weights to begin with: of `pretrain-ecg`, or others with `encoder.*`.
        aligned: instead of `encoder`, the folder of `align`: weights to begin with, and the embeddings of the scans to
            stay aligned with. On a cohort without scans the alignment head does not change.

    Raises:
        InvalidSettings: both were given, a fold has no labels, or the scans belong to another cohort.
    """
    if encoder and aligned:
        raise InvalidSettings("give --encoder or --aligned, not both")
    if aligned and cohort.description.scans:
        check_cohort(aligned, cohort)
    rows = labelled_rows(cohort, settings)
    check_development(cohort)
    beginning = aligned / WEIGHTS if aligned else encoder

    def learn(stage: RunningStage) -> dict[str, Any]:
        scaler = fit_scaler(cohort.phenotypes[rows])
        known = known_labels(cohort, scaler) | (known_scans(cohort, aligned) if aligned else {})
        signals = open_resampled(cohort)
        fitted = stage.fit(
            lambda: begin_finetuner(cohort, rows, settings, beginning, aligned=aligned is not None),
            TrainingCrops(signals, rows, known, augmentation=Augmentation(), seed=settings.seed),
            MiddleCrops(signals, mixed_development(cohort, settings.seed), known),
            epoch_rows=max(len(rows), settings.min_epoch_rows),
        )
        save_weights(stage.folder.weights, below("network.", fitted.weights))
        write_whole(stage.folder.path / SCALER, msgspec.json.encode(scaler))
        return fitted.result | {"labelled_rows": len(rows)}

    embeddings = aligned / EMBEDDINGS if aligned else None
    return run_stage(out, STAGE, settings, cohort, hardware, learn=learn, encoder=beginning, embeddings=embeddings)


def begin_finetuner(
    cohort: Cohort, rows: NDArray[np.intp], settings: Finetune, beginning: Path | None, *, aligned: bool
) -> Finetuner:
    """Return a learner for the labels of the rows.

    Args:
        cohort: learned from.
        rows: whose labels are used.
        settings: what decides the result.
        beginning: the weights to begin with; None: from scratch.
        aligned: whether those weights are aligned with scans.
    """
    weights = positive_weights(cohort.diseases[rows], settings.max_positive_weight)
    learner = Finetuner(settings, weights, aligns=aligned and bool((cohort.cine[rows] >= 0).any()))
    if beginning:
        begin_with(learner.network, load_weights(beginning))
    return learner


def labelled_rows(cohort: Cohort, settings: Finetune) -> NDArray[np.intp]:
    """Return the training rows of the patients whose labels are used: a share of the patients, chosen by the seed.

    Raises:
        InvalidSettings: no row of them has a label.
    """
    rows = cohort.select("train")
    patients = np.unique(cohort.patient_ids[rows])
    order = np.random.default_rng([settings.seed, SEED_OF_SUBSET]).permutation(patients)
    chosen = order[: max(1, round(settings.label_fraction * len(patients)))]
    rows = rows[np.isin(cohort.patient_ids[rows], chosen)]
    known = _labelled(cohort, rows)
    if not known.any():
        raise InvalidSettings(f"the training fold of {cohort.folder} has no labels to learn from")
    return rows[known]


def check_development(cohort: Cohort) -> None:
    """Refuse a cohort whose development fold could neither choose an epoch nor calibrate.

    Raises:
        InvalidSettings: no row of it has a label.
    """
    if not _labelled(cohort, cohort.select("development")).any():
        raise InvalidSettings(
            f"the development fold of {cohort.folder} has no labels: it needs some to choose an epoch and to calibrate"
        )


def _labelled(cohort: Cohort, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(cohort.diseases[rows]).any(axis=1) | np.isfinite(cohort.phenotypes[rows]).any(axis=1))


def mixed_development(cohort: Cohort, seed: int) -> NDArray[np.intp]:
    """Return the rows of the development fold, mixed: a batch without any measurement would count as free of error."""
    return np.random.default_rng([seed, SEED_OF_ORDER]).permutation(cohort.select("development"))


def fit_scaler(phenotypes: Floats) -> Scaler:
    """Return the mean and deviation of each column of (rows, 82), NaN left out; 0 and 1 where nothing is known."""
    known = np.isfinite(phenotypes)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, phenotypes, 0).sum(axis=0) / count
    variance = np.square(np.where(known, phenotypes - mean, 0)).sum(axis=0) / count
    deviation = np.where(variance > 0, np.sqrt(variance), 1)
    return Scaler(mean=tuple(mean.tolist()), deviation=tuple(deviation.tolist()))


def positive_weights(diseases: NDArray[np.float32], cap: float) -> NDArray[np.float32]:
    """Return the weight of each disease's positive cases, given labels (rows, 5) of 0, 1 and NaN."""
    positive = np.maximum((diseases == 1).sum(axis=0), 1)
    ratios = (diseases == 0).sum(axis=0) / positive
    return np.asarray(np.clip(ratios, 1, cap), np.float32)


def known_labels(cohort: Cohort, scaler: Scaler) -> dict[str, Tensor]:
    """Return the labels of all rows: diseases (n, 5), z-scores (n, 82), subtypes (n,), NaN and -1 where not known."""
    z = (cohort.phenotypes - np.array(scaler.mean)) / np.array(scaler.deviation)
    return {
        "diseases": torch.from_numpy(np.ascontiguousarray(cohort.diseases, np.float32)),
        "phenotypes": torch.from_numpy(z.astype(np.float32)),
        "subtypes": torch.from_numpy(cohort.subtypes.astype(np.int64)),
    }


def known_scans(cohort: Cohort, aligned: Path) -> dict[str, Tensor]:
    """Return the frozen embeddings (n, 256) and components φ (n, k) of all rows' scans, NaN where there are none."""
    return {
        "embeddings": by_row(np.load(aligned / EMBEDDINGS, allow_pickle=False), cohort),
        "components": by_row(np.load(aligned / COMPONENTS, allow_pickle=False), cohort),
    }


def begin_with(network: EcgNetwork, weights: dict[str, Tensor]) -> None:
    """Load the encoder and, where the weights have one, the alignment head."""
    load_encoder(network.encoder, weights)
    if alignment := below("alignment.", weights):
        network.alignment.load_state_dict(alignment, strict=True)


def disease_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Return the mean cross-entropy over the known labels of (row, 5), positives weighted by disease."""
    known = labels.isfinite()
    losses = binary_cross_entropy_with_logits(logits, labels.nan_to_num(), pos_weight=weights, reduction="none")
    return masked_mean(losses, known)


def phenotype_loss(z: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error over the known z-scores of (row, 82)."""
    return masked_mean((z - targets.nan_to_num()).square(), targets.isfinite())


def subtype_loss(logits: Tensor, subtypes: Tensor) -> Tensor:
    """Return the mean cross-entropy over the rows (row, 3) whose subtype is known: cardiomyopathy patients."""
    losses = cross_entropy(logits, subtypes.clamp_min(0), reduction="none")
    return masked_mean(losses, subtypes >= 0)


def alignment_loss(ecg: Tensor, cmr: Tensor, components: Tensor) -> Tensor:
    """Return the contrastive loss over the rows that were scanned."""
    scanned = cmr.isfinite().all(dim=1)
    weights = weigh_negatives(components.nan_to_num())
    return contrast(ecg, cmr.nan_to_num(), weights, counted=scanned)
