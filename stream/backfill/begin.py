"""Begins a dataset, or finds the one that an earlier run began: the same archive, model and settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from inference.bundle import Bundle, default_bundle, load_bundle
from inference.open_engine_for_bundle import measure_engines
from inference.reading.file_note import FileNote
from stream.settings import ModelSettings

from .archive import Archive, Ids
from .columns import SCHEMA_VERSION
from .dataset import Dataset, Made, create, find, refuse_other
from .readme import readme_of
from .stored_archive import StoredArchive

SHARD_RECORDS = 1000
"""ECGs of a shard where nobody says how many."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command asks for of a dataset."""

    model: ModelSettings
    archive: Archive | StoredArchive
    ids: Ids
    time_zone: str | None
    shard_records: int | None
    records_a_batch: int


def open_dataset(out: Path, asked: Asked, tell: Callable[[FileNote], object]) -> Dataset:
    """Return the dataset in the folder, which is begun if the folder is new.

    Args:
        out: the folder.
        asked: how the dataset is to be.
        tell: is told of the files of a folder that are no ECGs, while a new dataset is begun.

    Raises:
        InvalidSettings: another model or other settings began it; or there is no ECG.
        DeploymentError: the model cannot be loaded.
    """
    bundle, there = load_bundle(asked.model.bundle or default_bundle()), find(out)
    if there is not None:
        engine = asked.model.engine or there.made.engine
        shard_records = asked.shard_records or there.made.shard_records
        refuse_other(there, _made(asked, bundle, engine, records=there.made.records, shard_records=shard_records))
        return there
    plan = asked.archive.plan(tell)
    engine, shard_records = asked.model.engine or _fastest(asked, bundle), asked.shard_records or SHARD_RECORDS
    made = _made(asked, bundle, engine, records=plan.num_rows, shard_records=shard_records)
    return create(out, made, plan, readme_of(made.model))


def _made(asked: Asked, bundle: Bundle, engine: str, *, records: int, shard_records: int) -> Made:
    archive = asked.archive
    return Made(
        program_version=version("cardiacnets"),
        created_at=datetime.now(UTC),
        archive=archive.kind,
        root=archive.place,
        list_file=archive.list_place,
        path_column=archive.path_column,
        ids=asked.ids,
        time_zone=asked.time_zone,
        model=bundle.reference,
        engine=engine,
        records=records,
        shard_records=shard_records,
        schema=SCHEMA_VERSION,
    )


def _fastest(asked: Asked, bundle: Bundle) -> str:
    rows = asked.records_a_batch * bundle.manifest.input.n_crops
    return measure_engines(bundle, asked.model.engine_options(), rows=rows).name
