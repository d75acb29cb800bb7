"""The folder of a backfill: what it is made of, its plan, and the tables of each shard.

```
OUT/manifest.json       what made it: archive, model, engine, settings
OUT/plan.parquet        the ECGs in order, with what the archive's list says of them
OUT/screened/00000.parquet …   a row for each ECG that was screened
OUT/refused/00000.parquet …    a row for each ECG that was not
OUT/summary.json        what the last run counted
OUT/claims/             which shards are in work
```
A shard is done when both of its files are there. Each file is whole or not there, and `screened` comes last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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
from schemas.messages import ModelReference

from .archive import Ids, Kind
from .columns import Columns, Row
from .table_folder import refuse_anything_else, refuse_differences, write_table

MANIFEST, PLAN, SUMMARY, README = "manifest.json", "plan.parquet", "summary.json", "README.md"
SCREENED, REFUSED, CLAIMS = "screened", "refused", "claims"


class Made(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of `manifest.json`. What continues a dataset must agree in all but the time and the root.

    Attributes:
        root: where the archive lay; it may be mounted elsewhere on another machine.
        time_zone: of times in files that name none; None: of the computer that ran.
        schema: of the columns.
    """

    format_version: Literal[1] = 1
    program_version: str
    created_at: datetime
    archive: Kind
    root: str
    list_file: str | None
    path_column: str
    ids: Ids
    time_zone: str | None
    model: ModelReference
    engine: str
    records: int
    shard_records: int
    schema: str


MAY_DIFFER = {"created_at", "root", "list_file", "program_version"}


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of `summary.json`, and what `--json` prints at the end.

    Attributes:
        shards: how many there are.
        done: how many of them are done, by this run and others.
        screened: ECGs in the done shards.
        refused: ECGs in the done shards that were refused, by code.
        seconds: of this run.
        records_per_s: of this run; None if it did nothing.
    """

    shards: int
    done: int
    screened: int
    refused: dict[str, int]
    seconds: float
    records_per_s: float | None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A backfill's folder, opened."""

    folder: Path
    made: Made

    @property
    def shards(self) -> int:
        """How many shards the plan has."""
        return -(-self.made.records // self.made.shard_records)

    def records_in(self, number: int) -> int:
        """Return how many ECGs a shard has."""
        return min(self.made.shard_records, self.made.records - number * self.made.shard_records)

    def plan(self, number: int) -> pa.Table:
        """Return the part of the plan that is one shard."""
        with pq.ParquetFile(self.folder / PLAN) as file:  # a shard is a row group, so no other is read
            return file.read_row_group(number)

    def plan_schema(self) -> pa.Schema:
        """Return the schema of the plan."""
        return pq.read_schema(self.folder / PLAN)

    def is_done(self, number: int) -> bool:
        """Whether a shard's tables are there."""
        return self.file(SCREENED, number).is_file() and self.file(REFUSED, number).is_file()

    def file(self, table: str, number: int) -> Path:
        """Return where a table of a shard lies."""
        return self.folder / table / f"{number:05}.parquet"

    def write(self, number: int, columns: Columns, plan: pa.Table, rows: Sequence[Row]) -> None:
        """Write the tables of a shard, whose part of the plan is given."""
        write_table(self.file(REFUSED, number), columns.refused_table(plan, rows))
        write_table(self.file(SCREENED, number), columns.screened_table(plan, rows))

    def open_again(self, numbers: Iterable[int], codes: frozenset[str]) -> int:
        """Open the shards in which an ECG was refused with one of the codes; return how many these are.

        The shard's other rows go too, and come again as they were: they follow from its files.
        """
        refused = [number for number in numbers if self.is_done(number) and not codes.isdisjoint(self._codes(number))]
        for number in refused:
            self.file(SCREENED, number).unlink(missing_ok=True)
        return len(refused)

    def count(self) -> tuple[int, int, dict[str, int]]:
        """Return how many shards are done, how many ECGs of them were screened, and the others by code."""
        done = [number for number in range(self.shards) if self.is_done(number)]
        screened = sum(pq.read_metadata(self.file(SCREENED, number)).num_rows for number in done)
        codes = Counter(code for number in done for code in self._codes(number))
        return len(done), screened, dict(codes.most_common())

    def _codes(self, number: int) -> list[str]:
        """Return why ECGs of a shard were refused: a code for each of them."""
        codes: list[str] = pq.read_table(self.file(REFUSED, number), columns=["code"])["code"].to_pylist()
        return codes

    def faults(self, columns: Columns) -> Iterator[str]:
        """Yield a sentence for each thing that is wrong with the shards that are done. Every column is read."""
        for number in range(self.shards):
            if self.is_done(number):
                yield from self._faults(number, columns)

    def _faults(self, number: int, columns: Columns) -> Iterator[str]:
        again = "remove it, and the same command makes it again"
        found: list[str] = []
        for name, schema in ((SCREENED, columns.screened), (REFUSED, columns.refused)):
            path = self.file(name, number)
            try:
                table = pq.read_table(path)
            except (OSError, pa.ArrowException) as error:
                yield f"{path} cannot be read: {error}; {again}"
                return
            if not table.schema.equals(schema):
                yield f"{path} has other columns than this backfill: {again}"
                return
            found += table["path"].to_pylist()
        if sorted(found) != self.plan(number)["path"].to_pylist():
            yield f"shard {number} does not hold the ECGs of its plan: remove {self.file(SCREENED, number)}"


def create(folder: Path, made: Made, plan: pa.Table, readme: str) -> Dataset:
    """Return a new dataset. Its manifest comes last, so a folder with a manifest has a plan."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (SCREENED, REFUSED):
        (folder / name).mkdir(exist_ok=True)
    write_table(folder / PLAN, plan, row_group_size=made.shard_records)
    write_whole(folder / README, readme.encode())
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
        left = {SCREENED, REFUSED, CLAIMS, PLAN, README}  # by a run that was killed while it planned
        refuse_anything_else(folder, left, "no backfill")
        return None
    except msgspec.MsgspecError as error:
        raise InvalidSettings(f"{path} is no manifest of a backfill: {error}") from error


def refuse_other(dataset: Dataset, wanted: Made) -> None:
    """Refuse to continue a dataset that another model or other settings began.

    Raises:
        InvalidSettings: they are others; says which.
    """
    refuse_differences(dataset.folder, dataset.made, wanted, MAY_DIFFER, _shown)


def _shown(value: Any) -> str:
    return f"{value.name} {value.version}" if isinstance(value, ModelReference) else repr(value)
