"""The settings that stages share: how to learn, and on which hardware."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(gt=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]


class SavedStruct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """SavedStruct that are saved beside what was learned with them."""


class Learning(SavedStruct, frozen=True, kw_only=True):
    """AdamW with a linear warm-up and half a cosine down to nothing.

    Attributes:
        epochs: at most.
        batch_size: of each device.
        learning_rate: at the end of the warm-up.
        patience: epochs without a better development loss before it ends.
    """

    epochs: Count
    batch_size: Count
    learning_rate: Positive
    weight_decay: NotNegative = 0.05
    warm_up_epochs: NotNegative = 1
    patience: Count = 10


class Hardware(SavedStruct, frozen=True, kw_only=True):
    """Where to learn: handed to Lightning as it is, and not a part of what decides the result.

    Attributes:
        devices: a number, a list as '0,1', or 'auto'.
        strategy: how several devices share the work.
        workers: processes that prepare batches; none is right for two cores.
    """

    accelerator: str = "auto"
    devices: str = "1"
    strategy: str = "auto"
    precision: str = "32-true"
    workers: Annotated[int, Meta(ge=0)] = 0
