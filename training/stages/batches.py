"""Batches for learning. Their order and their crops depend on the seed and the epoch alone.

So a stage that resumes after epoch k sees in epoch k + 1 the batches that an uninterrupted stage sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch  # noqa: TID253 - batches are tensors
from numpy.typing import NDArray
from torch import Tensor  # noqa: TID253
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler  # noqa: TID253

from .crops import GAINS, NOISE, OFFSETS, Augmentation, draw_disturbances, make_crops

Batch: TypeAlias = dict[str, Tensor]
SIGNALS = "signals"
SENT_AT_ONCE = 1024
"""Rows that are sent to a device at a time: 60 MB of ECGs."""
PROCESSOR = torch.device("cpu")
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


class Rows(Dataset[Batch]):
    """Rows of arrays, by name. A batch is some of them, read on the processor or held on a GPU.

    Subclasses may compute what is read (`read`), and draw more for each row in each epoch (`draw`).

    Args:
        values: arrays or tensors (n, …) by name.
        rows: of the values, from which is drawn.
    """

    def __init__(self, values: Mapping[str, NDArray[Any] | Tensor], rows: NDArray[np.intp]) -> None:
        self._values = values
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitems__(self, draws: Sequence[Draw] | Sequence[int]) -> Batch:
        return self.read(places_of(draws)) | self.draw(draws)

    @property
    def size(self) -> int:
        """Bytes of all its rows."""
        arrays = [value.numpy() if isinstance(value, Tensor) else value for value in self._values.values()]
        return len(self) * sum(array.dtype.itemsize * int(np.prod(array.shape[1:])) for array in arrays)

    def read(self, places: NDArray[np.intp]) -> Batch:
        """Return the rows at these places of the data set."""
        rows = self._rows[places]
        return {name: torch.as_tensor(values[rows]) for name, values in self._values.items()}

    def draw(self, draws: Sequence[Draw] | Sequence[int]) -> Batch:  # noqa: ARG002 - for subclasses
        """Return what is drawn anew for the rows of a batch; few numbers, the same ones for every device."""
        return {}


class TrainingCrops(Rows):
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
        super().__init__({SIGNALS: signals_mv, **known}, rows)
        self._augmentation = augmentation
        self._seed = seed

    def draw(self, draws: Sequence[Draw] | Sequence[int]) -> Batch:
        """Return the places of the crops and their disturbances, as the seed, the epoch and the rows decide."""
        epoch = draws[0].epoch if isinstance(draws[0], Draw) else 0
        rng = np.random.default_rng([self._seed, epoch, *self._rows[places_of(draws)].tolist()])
        drawn = draw_disturbances(len(draws), rng, self._augmentation)
        return {name: torch.from_numpy(values) for name, values in drawn.items()}


class MiddleCrops(Rows):
    """The crop in the middle of each ECG, with tensors of the same rows: for the development fold."""

    def __init__(self, signals_mv: NDArray[np.float16], rows: NDArray[np.intp], known: Mapping[str, Tensor]) -> None:
        super().__init__({SIGNALS: signals_mv, **known}, rows)


class Scans(Rows):
    """Values of scans, drawn by the places of the scans in the cohort's array.

    Args:
        name: of the values in a batch.
        values: (m, …), of all scans.
        scans: places from which is drawn.
    """

    def __init__(self, name: str, values: NDArray[Any], scans: NDArray[np.intp]) -> None:
        super().__init__({name: values}, scans)


def with_crops(batch: Batch) -> Batch:
    """Return a batch with crops in place of its ECGs and of what was drawn for them. One without ECGs stays as it is.

    They are computed where the batch lies.
    """
    if SIGNALS not in batch:
        return batch
    drawn = {name: batch[name] for name in (OFFSETS, GAINS, NOISE) if name in batch}
    others = {name: values for name, values in batch.items() if name != SIGNALS and name not in drawn}
    return {"crops": make_crops(batch[SIGNALS], drawn), **others}


def places_of(draws: Sequence[Draw] | Sequence[int]) -> NDArray[np.intp]:
    """Return the places of draws in their data set."""
    return np.array([draw.place if isinstance(draw, Draw) else draw for draw in draws], np.intp)


class HeldBatches:
    """Batches of rows that lie on a device. A step copies nothing from the processor.

    What an epoch draws is sent there at its begin, all at once: the order of the rows, and what `Rows.draw` gives.
    They are the batches that a loader would give.
    """

    def __init__(
        self, data: Rows, sampler: Sampler[Any], batch_size: int, device: torch.device, *, whole: bool
    ) -> None:
        """Send the rows to the device, some at a time.

        Args:
            data: whose rows are held.
            sampler: draws them, in every epoch.
            batch_size: of rows.
            device: where they are held.
            whole: leave out a last batch that would be smaller.
        """
        self.sampler = sampler  # Lightning tells it the epoch
        self._data = data
        self._batch_size = batch_size
        self._device = device
        self._count = len(sampler) // batch_size if whole else -(-len(sampler) // batch_size)  # type: ignore[arg-type]  # as torch types it
        self._held = hold_rows(data, device)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Batch]:
        draws, size = list(self.sampler), self._batch_size
        parts = [draws[start : start + size] for start in range(0, self._count * size, size)]
        places = torch.from_numpy(places_of(draws)).to(self._device)
        drawn = join_batches(self._data.draw(part) for part in parts)
        drawn = {name: values.to(self._device) for name, values in drawn.items()}
        for start in range(0, self._count * size, size):
            some = slice(start, start + size)
            held = {name: values[places[some]] for name, values in self._held.items()}
            yield held | {name: values[some] for name, values in drawn.items()}


def hold_rows(data: Rows, device: torch.device) -> Batch:
    """Return all rows of a data set on a device."""
    held: Batch = {}
    for start in range(0, len(data), SENT_AT_ONCE):
        part = data.read(np.arange(start, min(start + SENT_AT_ONCE, len(data))))
        for name, values in part.items():
            held.setdefault(name, torch.empty((len(data), *values.shape[1:]), dtype=values.dtype, device=device))
            held[name][start : start + len(values)] = values.to(device)
    return held


def join_batches(batches: Iterable[Batch]) -> Batch:
    """Return the rows of all batches as one."""
    parts = list(batches)
    return {name: torch.cat([part[name] for part in parts]) for name in (parts[0] if parts else ())}


Batches: TypeAlias = DataLoader[Batch] | HeldBatches


def load_training(
    data: Dataset[Batch],
    batch_size: int,
    *,
    seed: int,
    workers: int,
    length: int | None = None,
    device: torch.device = PROCESSOR,
    hold: bool = False,
) -> Batches:
    """Return batches in random order. A last batch that would be smaller is left out.

    Args:
        data: that is drawn from.
        batch_size: of rows.
        seed: of the order.
        workers: processes that read batches.
        length: rows of an epoch; None: each once.
        device: that learns. For a GPU, batches come in memory from which it fetches them by itself.
        hold: the rows on the device, where there is room for them, and read nothing while learning.
    """
    places = len(data)  # type: ignore[arg-type]  # torch leaves the length out of the type
    length = length or places
    sampler, batch_size = EpochSampler(places, seed=seed, length=length), min(batch_size, length)
    if hold and isinstance(data, Rows):
        return HeldBatches(data, sampler, batch_size, device, whole=True)
    return DataLoader(data, batch_size=batch_size, sampler=sampler, drop_last=True, **_loading(workers, device))


def load_development(
    data: Dataset[Batch], batch_size: int, *, workers: int, device: torch.device = PROCESSOR, hold: bool = False
) -> Batches:
    """Return all batches in order. See `load_training`."""
    if hold and isinstance(data, Rows):
        return HeldBatches(data, SequentialSampler(data), batch_size, device, whole=False)
    return DataLoader(data, batch_size=batch_size, **_loading(workers, device))


def _loading(workers: int, device: torch.device) -> dict[str, Any]:
    return {
        "num_workers": workers,
        "persistent_workers": workers > 0,
        "pin_memory": device.type == "cuda",
        "collate_fn": _as_it_is,
    }


def _as_it_is(batch: Item) -> Item:
    return batch
