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

Kind: TypeAlias = Literal["folder", "mimic-iv-ecg", "ptb-xl", "list"]
Ids: TypeAlias = Literal["name", "path"]

PATH = "path"
"""The column of a plan that names the file, below the archive's root. The other columns are the archive's own."""
ARCHIVES = "archive_"
"""Comes before the name of a column of the archive's list that is the name of one of ours."""
RECORD_LIST, RECORD_COLUMN = "record_list.csv", "path"
PTB_XL_LIST, PTB_XL_COLUMN = "ptbxl_database.csv", "filename_hr"


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
        table = _listed(self.list_file, self.path_column) if self.list_file else _walked(self.root, tell)
        if not table.num_rows:
            raise InvalidSettings(f"there is no ECG in {self.list_file or self.root}")
        table = table.sort_by(PATH)
        _refuse_doubled(table[PATH], self.list_file or self.root)
        return table


def open_archive(root: Path, list_file: Path | None = None, path_column: str | None = None) -> Archive:
    """Return the archive at `root`: by the list that is named, by the list of a known archive, or by walking it.

    Raises:
        InvalidSettings: there is no such folder or file.
    """
    if not root.is_dir():
        raise InvalidSettings(f"{root} is no folder: name the folder of the archive")
    if list_file is not None:
        if not list_file.is_file():
            raise InvalidSettings(f"{list_file} is not there: name the table of the archive's ECGs")
        return Archive("list", root, "path", list_file, path_column or PATH)
    if path_column is not None:
        raise InvalidSettings("--path-column names a column of the table that --list names: name both, or neither")
    if (root / RECORD_LIST).is_file():
        return Archive("mimic-iv-ecg", root, "name", root / RECORD_LIST, RECORD_COLUMN)
    if (root / PTB_XL_LIST).is_file():
        return Archive("ptb-xl", root, "name", root / PTB_XL_LIST, PTB_XL_COLUMN)
    return Archive("folder", root, "path")


def _walked(root: Path, tell: Callable[[FileNote], object]) -> pa.Table:
    paths = [found.relative_to(root).as_posix() for found in _ecgs(root, tell)]
    return pa.table({PATH: pa.array(paths, pa.string())})


def _ecgs(root: Path, tell: Callable[[FileNote], object]) -> Iterator[Path]:
    for found in walk([root]):
        if isinstance(found, FileNote):
            tell(found)
        else:
            yield found


def _listed(path: Path, column: str) -> pa.Table:
    table = _read_table(path, column)
    if column not in table.column_names:
        names = ", ".join(table.column_names)
        raise InvalidSettings(f"{path} has no column {column}: name one with --path-column. It has: {names}")
    paths = table[column]
    if paths.null_count:
        raise InvalidSettings(f"{path} names no file in {paths.null_count} rows of its column {column}")
    others = [name for name in table.column_names if name != column]
    return pa.table({PATH: paths} | {ARCHIVES + name if name == PATH else name: table[name] for name in others})


def _read_table(path: Path, column: str) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            return table.set_column(table.column_names.index(column), column, table[column].cast(pa.string()))
        text = pacsv.ConvertOptions(column_types={column: pa.string()}, strings_can_be_null=True)
        parse = pacsv.ParseOptions(newlines_in_values=True)
        return pacsv.read_csv(path, convert_options=text, parse_options=parse)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InvalidSettings(f"{path} is no table of ECGs, as CSV or Parquet: {error}") from error


def _refuse_doubled(paths: pa.ChunkedArray, source: Path) -> None:
    counts = paths.value_counts()
    doubled = [row["values"] for row in counts.to_pylist() if row["counts"] > 1] if len(counts) < len(paths) else []
    if doubled:
        raise InvalidSettings(f"{source} names {len(doubled)} ECGs more than once, {doubled[0]} among them")
