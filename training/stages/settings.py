"""The settings of the stages: what decides their results, how to learn, and on which hardware.

A description here is also the help of the option that the field becomes: `cardiacnets train` makes one of each field.
"""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

AS_SUITS = -1
"""A number of workers that the device decides."""
Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(gt=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
PresetName = Annotated[Literal["reference", "paper"], Meta(description="Sizes of the networks.")]
Seed = Annotated[int, Meta(ge=0, le=2**32 - 1, description="Seed of the weights, crops, masks and order.")]
MaskedShare = Annotated[Share, Meta(description="Share of the patches that is hidden.")]
KeptShare = Annotated[Share, Meta(description="Share of the ECG's patches that the encoder sees in a training step.")]


class SavedStruct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A struct that is saved as JSON: settings and results. A field that it does not know is refused."""


class Learning(SavedStruct, frozen=True, kw_only=True):
    """AdamW with a linear warm-up and half a cosine down to nothing."""

    epochs: Annotated[Count, Meta(description="Epochs at most.")]
    batch_size: Annotated[int, Meta(ge=2, description="Batch size of each device.")]
    learning_rate: Annotated[Positive, Meta(description="Learning rate at the end of the warm-up.")]
    weight_decay: Annotated[NotNegative, Meta(description="Weight decay of AdamW.")] = 0.05
    warm_up_epochs: Annotated[NotNegative, Meta(description="Epochs until the learning rate is reached.")] = 1
    patience: Annotated[
        Count, Meta(description="Epochs without a better development loss after which learning ends.")
    ] = 10


class StageSettings(Protocol):
    """What the settings of every stage of learning have."""

    @property
    def seed(self) -> int:
        """Of the first weights, of the order of the rows, and of all that is drawn while learning."""

    @property
    def learning(self) -> Learning:
        """How to learn."""


class Hardware(SavedStruct, frozen=True, kw_only=True):
    """Where to learn. It is not a part of what decides the result: a stage may be resumed on another device."""

    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Meta(description="auto takes a GPU where there is one; cuda refuses to do without."),
    ] = "auto"
    devices: Annotated[str, Meta(description="How many: a number, a list such as 0,1, or auto (Lightning).")] = "1"
    strategy: Annotated[str, Meta(description="How several devices share the work: ddp, … (Lightning).")] = "auto"
    precision: Annotated[str, Meta(description="32-true, bf16-mixed, … (Lightning).")] = "32-true"
    workers: Annotated[
        int,
        Meta(
            ge=AS_SUITS,
            description="Processes that read batches. -1: as suits the device, which is none for a processor.",
        ),
    ] = AS_SUITS


class PretrainEcg(SavedStruct, frozen=True, kw_only=True):
    """What decides the result of `pretrain-ecg`."""

    preset: PresetName = "reference"
    seed: Seed = 0
    mask: MaskedShare = 0.75
    learning: Learning = Learning(epochs=8, batch_size=32, learning_rate=1e-3)


class PretrainCmr(SavedStruct, frozen=True, kw_only=True):
    """What decides the result of `pretrain-cmr`."""

    preset: PresetName = "reference"
    seed: Seed = 0
    mask: MaskedShare = 0.75
    components: Annotated[
        Count, Meta(description="Principal components of a patch that the encoder reads and draws.")
    ] = 192
    features: Annotated[Count, Meta(description="Principal components that describe a heart.")] = 256
    learning: Learning = Learning(epochs=12, batch_size=64, learning_rate=1e-3)


class Align(SavedStruct, frozen=True, kw_only=True):
    """What decides the result of `align`."""

    preset: PresetName = "reference"
    seed: Seed = 0
    keep: KeptShare = 0.25
    learning: Learning = Learning(epochs=12, batch_size=128, learning_rate=1e-3)


class Finetune(SavedStruct, frozen=True, kw_only=True):
    """What decides the result of `finetune`.

    Attributes:
        min_epoch_rows: few labels get as many steps between two looks at the development fold as many labels do.
        max_positive_weight: the weight of a positive case is the ratio of negative to positive cases, up to this cap.
            Without the weight, rare diseases are learned last; without the cap, a few cases decide. The weight shifts
            the logits; calibration at natural prevalence takes the shift back.
        alignment_weight: keeps the embedding aligned with CMR while the encoder moves.
    """

    preset: PresetName = "reference"
    seed: Seed = 0
    label_fraction: Annotated[Share, Meta(description="Share of the training patients whose labels are used.")] = 1.0
    keep: KeptShare = 0.25
    encoder_rate: Annotated[
        Share, Meta(description="Learning rate of the encoder, as a share of the learning rate of the heads.")
    ] = 0.5
    min_epoch_rows: Annotated[
        Count, Meta(description="ECGs that an epoch draws at least: fewer labelled ECGs are drawn several times.")
    ] = 2048
    max_positive_weight: Annotated[
        Positive, Meta(description="Largest weight of a disease's positive cases in the loss.")
    ] = 5.0
    disease_weight: Annotated[NotNegative, Meta(description="Weight of the diseases' loss.")] = 1.0
    phenotype_weight: Annotated[NotNegative, Meta(description="Weight of the measurements' loss.")] = 1.0
    subtype_weight: Annotated[NotNegative, Meta(description="Weight of the subtype's loss.")] = 0.1
    alignment_weight: Annotated[NotNegative, Meta(description="Weight of the alignment's loss.")] = 0.05
    learning: Learning = Learning(epochs=8, batch_size=32, learning_rate=2e-3, patience=10)


class TrainVae(SavedStruct, frozen=True, kw_only=True):
    """What decides the result of `train-vae`."""

    preset: Annotated[str, Meta(description="Sizes of the networks: reference or paper.")] = "reference"
    seed: Seed = 0
    edge_weight: Annotated[NotNegative, Meta(description="Weight of the edges' loss beside the pixels' loss.")] = 0.5
    divergence_weight: Annotated[
        NotNegative, Meta(description="Weight of the divergence, which is in nats a cine.")
    ] = 1e-6
    learning: Learning = Learning(epochs=2, batch_size=16, learning_rate=1e-3, weight_decay=0.0, warm_up_epochs=0.2)


class TrainGenerator(SavedStruct, frozen=True, kw_only=True):
    """What decides the result of `train-generator`; the sizes are those of the autoencoder's preset.

    Attributes:
        dropped: without an embedding, the generator learns what it is guided away from.
        noises: the denoiser is cheap, and the transformer's answer is the same for all of them.
        shrinkage: see `fit_expectation`.
    """

    seed: Seed = 0
    least_mask: Annotated[Share, Meta(description="Least share of the tokens that is hidden.")] = 0.7
    dropped: Annotated[Share, Meta(description="Share of the ECGs whose embedding is dropped.")] = 0.1
    noises: Annotated[Count, Meta(description="Noises that a hidden token is disturbed by in a step.")] = 2
    shrinkage: Annotated[
        NotNegative, Meta(description="How strongly the expected cine is drawn towards the mean of all cines.")
    ] = 300.0
    learning: Learning = Learning(epochs=3, batch_size=32, learning_rate=1e-3)


class TrainSegmenter(SavedStruct, frozen=True, kw_only=True):
    """What decides the result of `segmenter`."""

    seed: Seed = 0
    frames: Annotated[int, Meta(ge=2, le=50, description="Frames of each beat that are learned from.")] = 10
    learning: Learning = Learning(epochs=4, batch_size=64, learning_rate=3e-3, warm_up_epochs=0.5)
