"""A folder of tables that a command begins and goes on with: what all such folders have in common."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from engines.whole_file import whole_file
from schemas.errors import InvalidSettings

COMPRESSION = "zstd"


def write_table(path: Path, table: pa.Table, row_group_size: int | None = None) -> None:
    """Write a table, whole or not at all."""
    with whole_file(path) as unfinished:
        pq.write_table(table, unfinished, compression=COMPRESSION, row_group_size=row_group_size)


def refuse_anything_else(folder: Path, ours: Collection[str], lacks: str) -> None:
    """Refuse a folder without a manifest if it holds anything but what a run that was killed at its start leaves.

    Args:
        folder: which need not be there.
        ours: the names of what such a run leaves. A hidden file may be anybody's.
        lacks: what the folder does not hold, for the sentence: 'no backfill'.

    Raises:
        InvalidSettings: something else lies there.
    """
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    others = [entry for entry in entries if entry.name not in ours and not entry.name.startswith(".")]
    if others:
        sentence = f"{folder} holds {others[0].name} and {lacks}: name a new folder with --out"
        raise InvalidSettings(sentence) from None  # that there is no manifest is how the caller came here


def refuse_differences(
    folder: Path,
    there: msgspec.Struct,
    wanted: msgspec.Struct,
    may_differ: Collection[str],
    shown: Callable[[Any], str] = repr,
) -> None:
    """Refuse to go on with a folder that was begun with other settings.

    Args:
        folder: for the sentence.
        there: the folder's manifest.
        wanted: the manifest that this command would write.
        may_differ: the fields that need not agree.
        shown: how the sentence shows a value.

    Raises:
        InvalidSettings: they differ; says in what.
    """
    old, new = msgspec.structs.asdict(there), msgspec.structs.asdict(wanted)
    for name in sorted(old.keys() - set(may_differ)):
        if old[name] != new[name]:
            sentence = f"{folder} was begun with {name} {shown(old[name])}, and this command has {shown(new[name])}"
            raise InvalidSettings(f"{sentence}: say the same, or name a new folder with --out")
