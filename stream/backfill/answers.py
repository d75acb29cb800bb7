"""Reads of a dataset what a judge needs, a shard at a time: keys, probabilities, and codes of refusals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from schemas.errors import InvalidSettings
from schemas.messages import DISEASES
from training.evaluation.archives.answers import Answers, Matching, ScreenedBatch
from training.evaluation.archives.evaluation import Screened
from training.evaluation.archives.label_table import LabelTable
from training.evaluation.archives.text_columns import whole_numbers

from .archive import PATH
from .dataset import MANIFEST, REFUSED, SCREENED, Dataset, find

PROBABILITIES = [f"probability_{disease}" for disease in DISEASES]
PATIENT, CODE, VERSION = "patient_id", "code", "model_version"
_STUDY = r"(?:^|/)(?P<key>[0-9]{1,18})(?:_[hl]r)?(?:\.[A-Za-z0-9]+)*$"
"""A file's name in MIMIC-IV-ECG (40689238) and PTB-XL (00001_hr)."""


class _Collected(msgspec.Struct, frozen=True):
    """What tells the manifest of `cardiacnets collect` from ours."""

    collected: bool = False


def open_finished(folder: Path) -> Dataset:
    """Return the dataset in a folder, of which at least one shard is done.

    Raises:
        InvalidSettings: there is none, or there are several.
    """
    if not folder.is_dir():
        raise InvalidSettings(f"{folder} is no folder: name the folder that `cardiacnets backfill` wrote")
    if not (folder / MANIFEST).is_file():
        raise InvalidSettings(_why_no_dataset(folder))
    _refuse_collected(folder / MANIFEST)
    dataset = find(folder)
    if dataset is None or not any(dataset.is_done(number) for number in range(dataset.shards)):
        raise InvalidSettings(f"{folder} has no shard that is done: let `cardiacnets backfill` go on first")
    return dataset


def describe(dataset: Dataset) -> Screened:
    """Return what the report says of a dataset."""
    made = dataset.made
    return Screened(
        name=dataset.folder.resolve().name,
        archive=made.archive,
        engine=made.engine,
        program_version=made.program_version,
        ecgs=made.records,
        shards=dataset.shards,
        done=sum(dataset.is_done(number) for number in range(dataset.shards)),
    )


def read_answers(dataset: Dataset, labels: LabelTable, progress: Callable[[int], object] = lambda _: None) -> Answers:
    """Return the answers of a dataset beside the labels of its archive.

    Args:
        dataset: finished or not.
        labels: of the archive.
        progress: called with the number of shards done.

    Raises:
        InvalidSettings: a table cannot be read or is another model's, an ECG has two answers, or none is in the labels.
    """
    matching, key = Matching(labels), _key_column(dataset, labels)
    for number in range(dataset.shards):
        if dataset.is_done(number):
            matching.screened(_screened(dataset, number, key))
            refused = _read(dataset.file(REFUSED, number), [key, CODE])
            matching.refused(_keys(refused[key], key), refused[CODE].to_pylist())
        else:
            matching.still_open(_keys(dataset.plan(number)[key], key))
        progress(number + 1)
    return matching.done()


def _screened(dataset: Dataset, number: int, key: str) -> ScreenedBatch:
    path = dataset.file(SCREENED, number)
    table = _read(path, [key, PATIENT, VERSION, *PROBABILITIES])
    strange = [version for version in pc.unique(table[VERSION]).to_pylist() if version != dataset.made.model.version]
    if strange:
        raise InvalidSettings(
            f"{path} holds answers of model version {strange[0]}, and the folder is of {dataset.made.model.version}: "
            "remove the files of the other model, and let `cardiacnets backfill` go on"
        )
    return ScreenedBatch(
        keys=_keys(table[key], key),
        patients=whole_numbers(table[PATIENT].combine_chunks()),
        probabilities=np.column_stack([table[name].to_numpy() for name in PROBABILITIES]),
    )


def _read(path: Path, columns: Sequence[str]) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in columns if name not in file.schema_arrow.names]
            table = None if missing else file.read(list(columns))
    except (OSError, pa.ArrowException) as error:
        raise InvalidSettings(
            f"{path} cannot be read: {error}; remove it, and let `cardiacnets backfill` make it again"
        ) from error
    if table is None:
        raise InvalidSettings(f"{path} has no column {', '.join(missing)}: it is no table of `cardiacnets backfill`")
    return table


def _key_column(dataset: Dataset, labels: LabelTable) -> str:
    """Return the archive's own column of ids, where its list had one; else that of the paths."""
    name = labels.layout.key
    return name if name in dataset.plan_schema().names else PATH


def _keys(column: Any, name: str) -> NDArray[np.int64]:
    """Return the ids of a column (n,), `UNKNOWN` where there is none that fits."""
    whole = column.combine_chunks()
    if name == PATH:
        whole = pc.struct_field(pc.extract_regex(whole, _STUDY), "key")
    return whole_numbers(whole.cast(pa.string()))


def _refuse_collected(manifest: Path) -> None:
    """Refuse the tables of `cardiacnets collect`, which do not tell what of the archive is missing."""
    try:
        collected = msgspec.json.decode(manifest.read_bytes(), type=_Collected).collected
    except (OSError, msgspec.MsgspecError):
        return  # `find` says what is wrong with it
    if collected:
        raise InvalidSettings(
            f"{manifest.parent} was written by `cardiacnets collect`, which has no plan of the archive, so nobody can "
            "say who is missing: judge a folder that `cardiacnets backfill` wrote"
        )


def _why_no_dataset(folder: Path) -> str:
    inside = sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}"))
    if len(inside) > 1:
        return (
            f"{folder} holds {len(inside)} folders with a {MANIFEST}, {inside[0]} and {inside[1]} among them: name one"
        )
    if inside:
        return f"{folder} has no {MANIFEST}, and {folder / inside[0]} has one: name that folder"
    if (folder.parent / MANIFEST).is_file():
        return f"{folder} is a part of a dataset: name {folder.parent}"
    return f"{folder} has no {MANIFEST}, so `cardiacnets backfill` did not write it"
