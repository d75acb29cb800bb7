"""Batches for learning. Their order and their crops depend on the seed and the epoch alone.

So a stage that resumes after epoch k sees in epoch k + 1 the batches that an uninterrupted stage sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch  # noqa: TID253 - batches are tensors
from numpy.typing import NDArray
from torch import Tensor  # noqa: TID253
from torch.utils.data import DataLoader, Dataset, Sampler  # noqa: TID253

from .crops import Augmentation, draw_crops, middle_crops

Batch: TypeAlias = dict[str, Tensor]
Item = TypeVar("Item")


class Draw(NamedTuple):
    """A place in a data set, and the epoch in which it is drawn."""

    epoch: int
    place: int


class EpochSampler(Sampler[Draw]):
    """Draws every place once an epoch, in a new order. An epoch longer than the data set draws places several times."""

    def __init__(self, places: int, *, seed: int, length: int | None = None) -> None:
        self._places = places
        self._seed = seed
        self._length = length or places
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning says which epoch begins."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng([self._seed, self._epoch])
        rounds = -(-self._length // self._places)
        order = np.concatenate([rng.permutation(self._places) for _ in range(rounds)])[: self._length]
        return (Draw(self._epoch, place) for place in order.tolist())


class TrainingCrops(Dataset[Batch]):
    """Random crops of ECGs, with labels and other tensors of the same rows.

    Args:
        signals_mv: (n, 12, 2500), of the whole cohort.
        rows: of the cohort, from which is drawn.
        known: tensors (n, …) by name, of the whole cohort.
        augmentation: disturbs the crops.
        seed: of the places of the crops, and of the disturbances.
    """

    def __init__(
        self,
        signals_mv: NDArray[np.float16],
        rows: NDArray[np.intp],
        known: Mapping[str, Tensor],
        *,
        augmentation: Augmentation | None,
        seed: int,
    ) -> None:
        self._signals_mv = signals_mv
        self._rows = rows
        self._known = known
        self._augmentation = augmentation
        self._seed = seed

    def __len__(self) -> int:
        return len(self._rows)

    def __getitems__(self, draws: Sequence[Draw]) -> Batch:
        rows = self._rows[[draw.place for draw in draws]]
        rng = np.random.default_rng([self._seed, draws[0].epoch, *rows.tolist()])
        crops = draw_crops(self._signals_mv[rows], rng, self._augmentation)
        return _batch(crops, rows, self._known)


class MiddleCrops(Dataset[Batch]):
    """The crop in the middle of each ECG, with tensors of the same rows: for the development fold."""

    def __init__(self, signals_mv: NDArray[np.float16], rows: NDArray[np.intp], known: Mapping[str, Tensor]) -> None:
        self._signals_mv = signals_mv
        self._rows = rows
        self._known = known

    def __len__(self) -> int:
        return len(self._rows)

    def __getitems__(self, places: Sequence[int]) -> Batch:
        rows = self._rows[list(places)]
        return _batch(middle_crops(self._signals_mv[rows]), rows, self._known)


class Scans(Dataset[Batch]):
    """Values of scans, drawn by the places of the scans in the cohort's array.

    Args:
        name: of the values in a batch.
        values: (m, …), of all scans.
        scans: places from which is drawn.
    """

    def __init__(self, name: str, values: NDArray[Any], scans: NDArray[np.intp]) -> None:
        self._name = name
        self._values = values
        self._scans = scans

    def __len__(self) -> int:
        return len(self._scans)

    def __getitems__(self, draws: Sequence[Draw] | Sequence[int]) -> Batch:
        places = [draw.place if isinstance(draw, Draw) else draw for draw in draws]
        return {self._name: torch.from_numpy(self._values[self._scans[places]])}


def load_training(
    data: Dataset[Batch], batch_size: int, *, seed: int, workers: int, length: int | None = None
) -> DataLoader[Batch]:
    """Return batches in random order. A last batch that would be smaller is left out."""
    places = len(data)  # type: ignore[arg-type]  # torch leaves the length out of the type
    length = length or places
    return DataLoader(
        data,
        batch_size=min(batch_size, length),
        sampler=EpochSampler(places, seed=seed, length=length),
        num_workers=workers,
        collate_fn=_as_it_is,
        drop_last=True,
    )


def load_development(data: Dataset[Batch], batch_size: int, *, workers: int) -> DataLoader[Batch]:
    """Return all batches in order."""
    return DataLoader(data, batch_size=batch_size, num_workers=workers, collate_fn=_as_it_is)


def _batch(crops: NDArray[np.float32], rows: NDArray[np.intp], known: Mapping[str, Tensor]) -> Batch:
    places = torch.from_numpy(rows)
    return {"crops": torch.from_numpy(crops), **{name: values[places] for name, values in known.items()}}


def _as_it_is(batch: Item) -> Item:
    return batch
