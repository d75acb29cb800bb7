"""What an archive holds: the path of each ECG below its root, and what the archive's own list says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from inference.reading.file_note import FileNote
from inference.reading.find_ecgs import walk
from schemas.errors import InvalidSettings

from .store import Store

Kind: TypeAlias = Literal["folder", "mimic-iv-ecg", "ptb-xl", "list"]
Ids: TypeAlias = Literal["name", "path"]

PATH = "path"
"""The column of a plan that names the file, below the archive's root. The other columns are the archive's own."""
ARCHIVES = "archive_"
"""Comes before the name of a column of the archive's list that is the name of one of ours."""
KNOWN: tuple[tuple[Kind, str, str], ...] = (
    ("mimic-iv-ecg", "record_list.csv", "path"),
    ("ptb-xl", "ptbxl_database.csv", "filename_hr"),
)
"""The archives that are known by their lists: the name of the list, and its column of paths."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A folder of ECGs, with a list of them or without.

    Attributes:
        root: the folder that paths are below.
        list_file: the table that names the ECGs; None: the folder is walked.
        path_column: of the table.
        ids: whether an ECG's id is its file's name, which such archives make unique, or its path.
    """

    kind: Kind
    root: Path
    ids: Ids
    list_file: Path | None = None
    path_column: str = PATH

    def plan(self, tell: Callable[[FileNote], object]) -> pa.Table:
        """Return the table of the ECGs, in the order in which they will be screened: by path.

        Args:
            tell: is told of the files of a folder that are no ECGs.

        Raises:
            InvalidSettings: the list cannot be read, has no such column, or names an ECG twice; or there is no ECG.
        """
        source = self.list_file or self.root
        table = listed(self.list_file, self.path_column, source) if self.list_file else walked(self.root, tell)
        return in_order(table, source)

    @property
    def place(self) -> str:
        """Where the archive lies, for the manifest."""
        return str(self.root.resolve())

    @property
    def list_place(self) -> str | None:
        """Where its list lies, for the manifest."""
        return str(self.list_file.resolve()) if self.list_file else None


def open_archive(root: Path, list_file: Path | None = None, path_column: str | None = None) -> Archive:
    """Return the archive at `root`: by the list that is named, by the list of a known archive, or by walking it.

    Raises:
        InvalidSettings: there is no such folder or file.
    """
    if not root.is_dir():
        raise InvalidSettings(f"{root} is no folder: name the folder of the archive")
    root = root.absolute()
    if list_file is not None:
        if not list_file.is_file():
            raise InvalidSettings(f"{list_file} is not there: name the table of the archive's ECGs")
        return Archive("list", root, "path", list_file, path_column or PATH)
    if path_column is not None:
        raise InvalidSettings("--path-column names a column of the table that --list names: name both, or neither")
    for kind, name, column in KNOWN:
        if (root / name).is_file():
            return Archive(kind, root, "name", root / name, column)
    return Archive("folder", root, "path")


def in_order(table: pa.Table, source: Path | Store) -> pa.Table:
    """Return the table of ECGs in the order in which they will be screened: by path.

    Raises:
        InvalidSettings: it has none, or one twice.
    """
    if not table.num_rows:
        raise InvalidSettings(f"there is no ECG in {source}")
    _refuse_doubled(table[PATH], source)
    return table.sort_by(PATH)


def walked(root: Path, tell: Callable[[FileNote], object]) -> pa.Table:
    """Return the table of the ECGs that are found in a folder."""
    paths = [found.relative_to(root).as_posix() for found in _ecgs(root, tell)]
    return pa.table({PATH: pa.array(paths, pa.string())})


def _ecgs(root: Path, tell: Callable[[FileNote], object]) -> Iterator[Path]:
    for found in walk([root]):
        if isinstance(found, FileNote):
            tell(found)
        else:
            yield found


def listed(path: Path, column: str, shown: Path | Store) -> pa.Table:
    """Return the table of the ECGs that a list names.

    Args:
        path: of the list.
        column: of the list that has paths.
        shown: what the list is called in errors.
    """
    table = _read_table(path, column, shown)
    if column not in table.column_names:
        names = ", ".join(table.column_names)
        raise InvalidSettings(f"{shown} has no column {column}: name one with --path-column. It has: {names}")
    paths = table[column]
    if paths.null_count:
        raise InvalidSettings(f"{shown} names no file in {paths.null_count} rows of its column {column}")
    others = [name for name in table.column_names if name != column]
    return pa.table({PATH: paths} | {ARCHIVES + name if name == PATH else name: table[name] for name in others})


def _read_table(path: Path, column: str, shown: Path | Store) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            return table.set_column(table.column_names.index(column), column, table[column].cast(pa.string()))
        text = pacsv.ConvertOptions(column_types={column: pa.string()}, strings_can_be_null=True)
        parse = pacsv.ParseOptions(newlines_in_values=True)
        return pacsv.read_csv(path, convert_options=text, parse_options=parse)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InvalidSettings(f"{shown} is no table of ECGs, as CSV or Parquet: {error}") from error


def _refuse_doubled(paths: pa.ChunkedArray, source: Path | Store) -> None:
    counts = paths.value_counts()
    doubled = [row["values"] for row in counts.to_pylist() if row["counts"] > 1] if len(counts) < len(paths) else []
    if doubled:
        raise InvalidSettings(f"{source} names {len(doubled)} ECGs more than once, {doubled[0]} among them")
