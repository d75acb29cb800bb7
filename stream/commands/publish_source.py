"""Which ECGs `publish` sends: files and folders as they are named, or what an archive's list names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from schemas.errors import InvalidSettings

if TYPE_CHECKING:
    import pyarrow as pa

    from inference.reading.file_note import FileNote
    from stream.backfill.archive import Archive

Ids: TypeAlias = Literal["name", "path"]


@dataclass(frozen=True, slots=True)
class Source:
    """The ECGs of a run, in order.

    Attributes:
        named: the paths on the command line.
        paths: of files, and of folders that are walked.
        total: how many ECGs there are; None where nobody knows before the folder is walked.
        ids: where the ids of the records come from.
        roots: the folders that ids are below which come from the path; None: those among the paths.
        list_file: the table that names the ECGs.
    """

    named: Sequence[Path]
    paths: Iterable[Path]
    total: int | None
    ids: Ids
    roots: tuple[Path, ...] | None = None
    list_file: Path | None = None


def source_of(
    named: Sequence[Path],
    *,
    is_archive: bool,
    list_file: Path | None,
    path_column: str | None,
    ids: Ids | None,
    tell: Callable[[FileNote], object],
) -> Source:
    """Return what is to be published.

    Args:
        named: the paths on the command line.
        is_archive: whether a folder may be an archive that has a list.
        list_file: the table that names the ECGs.
        path_column: of that table.
        ids: where the ids of the records come from; None: as is usual for the source.
        tell: is told of files.

    Raises:
        InvalidSettings: a list is named without one folder, or cannot be read.
    """
    if (list_file or path_column) and not (len(named) == 1 and named[0].is_dir()):
        raise InvalidSettings("--list names ECGs below one folder: name that folder, and nothing else, beside it")
    archive = _archive(named, list_file, path_column) if is_archive or list_file or path_column else None
    if archive is None or archive.list_file is None:
        has_folders = any(path.is_dir() for path in named)  # a folder is walked while it is published
        return Source(named, named, None if has_folders else len(named), ids or "name")
    plan = archive.plan(tell)
    paths = _Listed(archive.root, plan)
    return Source(named, paths, plan.num_rows, ids or archive.ids, (archive.root,), archive.list_file)


def _archive(named: Sequence[Path], list_file: Path | None, path_column: str | None) -> Archive | None:
    from stream.backfill.archive import open_archive

    is_one = len(named) == 1 and named[0].is_dir()
    return open_archive(named[0], list_file, path_column) if is_one else None


@dataclass(frozen=True, slots=True)
class _Listed:
    """The paths of a plan, one after the other: 800,000 of them would take memory."""

    root: Path
    plan: pa.Table

    def __iter__(self) -> Iterator[Path]:
        for chunk in self.plan["path"].chunks:
            for path in chunk:
                yield self.root / path.as_py()
