"""The folder of what was collected: two tables of files, and what they are made of.

```
OUT/manifest.json       topics and lane
OUT/screened/TOPIC-PARTITION-FIRST-LAST.parquet   a row for each report
OUT/refused/TOPIC-PARTITION-FIRST-LAST.parquet    a row for each rejection
OUT/summary.json        what the last run counted
```
The files' names say which offsets were read. There is no other position. Each file is whole or not there.
"""

from __future__ import annotations

import fcntl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from engines.whole_file import write_whole
from engines.whole_json import write_json
from schemas.errors import InvalidSettings
from stream.backfill.table_folder import refuse_anything_else, refuse_differences, write_table

from .answers import KINDS, REJECTIONS, REPORTS, Counts, Kind, WantedLane
from .ranges import Place, Range, file_name, ranges_in
from .readme import readme

MANIFEST, SUMMARY, README, LOCK = "manifest.json", "summary.json", "README.md", ".collect.lock"
COLUMNS = "columns.parquet"
"""A file without rows in each table: whoever reads a table that is still empty finds its columns."""
COUNTS = b"cardiacnets.counts"
"""Where a file's metadata says what became of the messages of its offsets that are no rows."""


class Made(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of `manifest.json`. What continues a dataset must agree in all but `MAY_DIFFER`.

    Attributes:
        cluster: the id of the Kafka cluster.
        topics: the broker's names.
        begins: the first offset that each partition had when the dataset was begun; 0 for one that came later.
        schema: of the columns.
    """

    format_version: Literal[1] = 1
    collected: Literal[True] = True
    program_version: str
    created_at: datetime
    broker: str
    cluster: str | None
    topics: list[str]
    lane: WantedLane
    begins: dict[str, int]
    schema: str


MAY_DIFFER = {"created_at", "program_version", "broker", "begins"}


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of `summary.json`, and what `--json` prints at the end. Counts are of the whole dataset.

    Attributes:
        screened: reports.
        refused: rejections, by code.
        models: reports, by the version of the model.
        passed_over: messages that are no rows.
        deleted: offsets that Kafka deleted before they were read, by partition.
        files: how many there are.
        finished: whether everything was read that was there at the start.
        seconds: of this run.
        messages: that this run read.
    """

    screened: int
    refused: dict[str, int]
    models: dict[str, int]
    passed_over: Counts
    deleted: dict[str, int]
    files: int
    finished: bool
    seconds: float
    messages: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """A folder of what was collected, opened."""

    folder: Path
    made: Made

    def held(self, kind: Kind[Any]) -> dict[Place, list[Range]]:
        """Return which offsets the files of a table hold.

        Raises:
            InvalidSettings: two files hold the same offsets.
        """
        return ranges_in(self.folder / kind.table)

    def write(self, kind: Kind[Any], place: Place, held: Range, table: pa.Table, counts: Counts) -> None:
        """Write the file of these offsets."""
        told = {**(kind.schema.metadata or {}), COUNTS: msgspec.json.encode(counts)}
        write_table(self.folder / kind.table / file_name(place, held), table.replace_schema_metadata(told))

    def last_ids(self, kind: Kind[Any], place: Place, limit: int) -> list[str]:
        """Return the ids of the last messages of a partition that became rows, oldest first."""
        ids: list[str] = []
        for held in reversed(self.held(kind).get(place, [])):
            path = self.folder / kind.table / file_name(place, held)
            ids = _read(path, [kind.identifier])[kind.identifier].to_pylist() + ids
            if len(ids) >= limit:
                break
        return ids[-limit:]

    def counted(self) -> tuple[Counter[str], Counter[str], Counts, int]:
        """Return the reports by model, the rejections by code, what became no row, and the number of files."""
        counts, paths = Counts(), {kind.table: self._paths(kind) for kind in KINDS}
        for path in (*paths[REPORTS.table], *paths[REJECTIONS.table]):
            counts.add(_counts_of(path))
        models = _by(paths[REPORTS.table], "model_version")
        return models, _by(paths[REJECTIONS.table], "code"), counts, sum(map(len, paths.values()))

    def _paths(self, kind: Kind[Any]) -> list[Path]:
        held = self.held(kind)
        names = (file_name(place, one) for place, ranges in held.items() for one in ranges)
        return [self.folder / kind.table / name for name in names]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other process of this machine collect into the folder.

        Raises:
            InvalidSettings: another one does.
        """
        with (self.folder / LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                sentence = (
                    f"another process collects into {self.folder}: let it work, or name another folder with --out"
                )
                raise InvalidSettings(sentence) from None
            yield


def create(folder: Path, made: Made) -> Dataset:
    """Return a new dataset. Its manifest comes last."""
    for kind in KINDS:
        (folder / kind.table).mkdir(parents=True, exist_ok=True)
        write_table(folder / kind.table / COLUMNS, kind.schema.empty_table())
    write_whole(folder / README, readme().encode())
    write_json(folder / MANIFEST, made)
    return Dataset(folder, made)


def find(folder: Path) -> Dataset | None:
    """Return the dataset in a folder, or None if the folder is new or empty.

    Raises:
        InvalidSettings: something else lies there, or the manifest cannot be read.
    """
    path = folder / MANIFEST
    try:
        return Dataset(folder, msgspec.json.decode(path.read_bytes(), type=Made))
    except FileNotFoundError:
        left = {README, *(kind.table for kind in KINDS)}  # by a run that was killed while it began
        refuse_anything_else(folder, left, "nothing that was collected")
        return None
    except msgspec.MsgspecError as error:
        sentence = f"{path} is no manifest of collected answers: name a new folder with --out"
        raise InvalidSettings(f"{sentence} ({error})") from error


def refuse_other(dataset: Dataset, wanted: Made) -> None:
    """Refuse to continue a dataset of other topics, another lane or another cluster.

    Raises:
        InvalidSettings: they are others; says which.
    """
    refuse_differences(dataset.folder, dataset.made, wanted, MAY_DIFFER)


def _by(paths: list[Path], column: str) -> Counter[str]:
    counted: Counter[str] = Counter()
    for path in paths:
        counted.update(_read(path, [column])[column].to_pylist())
    return counted


def _counts_of(path: Path) -> Counts:
    try:
        return msgspec.json.decode(pq.read_metadata(path).metadata[COUNTS], type=Counts)
    except (OSError, KeyError, TypeError, pa.ArrowException, msgspec.MsgspecError) as error:
        raise _damaged(path) from error


def _read(path: Path, columns: list[str]) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> InvalidSettings:
    again = "remove it, and the same command reads its offsets again while Kafka has them"
    return InvalidSettings(f"{path} cannot be read: {again}")
