"""An archive in a store: the same archives by the same lists as in a folder."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import msgspec
import pyarrow as pa

from inference.reading.content import HEAD_BYTES, printable
from inference.reading.file_note import FileNote, refusal_note
from inference.reading.wfdb_folder import SIGNAL_SUFFIXES, is_header
from inference.reading.wfdb_header import MAX_HEADER_BYTES
from schemas.errors import InvalidSettings, UnreadableFile

from .archive import KNOWN, PATH, Archive, Ids, Kind, in_order, listed, open_archive, walked
from .fetch import AT_ONCE, is_inside
from .store import OpenStore, Store, place_named


@dataclass(frozen=True, slots=True)
class StoredArchive:
    """A folder of a store with ECGs, with a list of them or without.

    Attributes:
        list_at: the table that names the ECGs, here or in a store; None: the folder is walked.
    """

    kind: Kind
    store: Store
    ids: Ids
    list_at: Path | Store | None = None
    path_column: str = PATH

    @property
    def root(self) -> Store:
        """What paths are below."""
        return self.store

    @property
    def place(self) -> str:
        """Where the archive lies, for the manifest."""
        return self.store.url

    @property
    def list_place(self) -> str | None:
        """Where its list lies, for the manifest."""
        return str(self.list_at) if self.list_at else None

    def plan(self, tell: Callable[[FileNote], object]) -> pa.Table:
        """Return the table of the ECGs, in the order in which they will be screened: by path.

        Args:
            tell: is told of the files of a folder that are no ECGs.

        Raises:
            InvalidSettings: as `Archive.plan`.
            DeploymentError: the store does not answer.
        """
        with TemporaryDirectory(prefix="cardiacnets-", ignore_cleanup_errors=True) as folder:
            if self.list_at is None:
                return in_order(_walked(OpenStore(self.store), Path(folder), tell), self.store)
            return in_order(listed(_fetched(self.list_at, Path(folder)), self.path_column, self.list_at), self.list_at)


def archive_at(root: str, list_file: str | None = None, path_column: str | None = None) -> Archive | StoredArchive:
    """Return the archive that a path or an address names.

    Raises:
        InvalidSettings: there is none, or the address holds a password.
        DeploymentError: the store does not answer.
    """
    place, list_at = place_named(root), place_named(list_file) if list_file else None
    if isinstance(place, Path):
        if isinstance(list_at, Store):
            raise InvalidSettings(f"{list_at} lies in a store, and {place} does not: copy the list to this machine")
        return open_archive(place, list_at, path_column)
    store = OpenStore(place)
    store.refuse_if_away()
    if list_at is not None:
        return StoredArchive("list", place, "path", list_at, path_column or PATH)
    if path_column is not None:
        raise InvalidSettings("--path-column names a column of the table that --list names: name both, or neither")
    for kind, name, column in KNOWN:
        if store.has(name):
            return StoredArchive(kind, place, "name", Store(f"{place}/{name}"), column)
    return StoredArchive("folder", place, "path")


def _fetched(list_at: Path | Store, folder: Path) -> Path:
    """Return the path of a list on this machine.

    Raises:
        InvalidSettings: there is no such list.
    """
    name = list_at.name if isinstance(list_at, Path) else PurePosixPath(list_at.url).name
    if isinstance(list_at, Path):
        if not list_at.is_file():
            raise InvalidSettings(f"{list_at} is not there: name the table of the archive's ECGs")
        return list_at
    above = OpenStore(Store(list_at.url.removesuffix(f"/{name}")))
    if not above.has(name):
        raise InvalidSettings(f"{list_at} is not there: name the table of the archive's ECGs")
    above.save(name, folder / name)
    return folder / name


def _walked(store: OpenStore, folder: Path, tell: Callable[[FileNote], object]) -> pa.Table:
    """Return the table of the ECGs below a store's folder, which the heads of its files tell as those on a disk do."""
    paths = store.paths()
    headers = {str(PurePosixPath(path).with_suffix("")) for path in paths if is_header(path)}

    def copy(path: str) -> FileNote | None:
        return _copy_head(store, path, folder, is_part=_is_part(PurePosixPath(path), headers))

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for note in filter(None, threads.map(copy, paths)):
            tell(note)
    start, place = f"{printable(folder)}/", f"{store.store}/"

    def tell_of_the_store(note: FileNote) -> None:
        path, detail = note.path.replace(start, place), note.detail.replace(start, place)
        tell(msgspec.structs.replace(note, path=path, detail=detail))

    return walked(folder, tell_of_the_store)


def _is_part(path: PurePosixPath, headers: set[str]) -> bool:
    """Return whether a file is a signal file beside a header of its name, by which it is known without its content."""
    return path.suffix in SIGNAL_SUFFIXES and str(path.with_suffix("")) in headers


def _copy_head(store: OpenStore, path: str, folder: Path, *, is_part: bool) -> FileNote | None:
    """Copy the first bytes of a file; return what is to be said where they cannot be had."""
    try:
        size = MAX_HEADER_BYTES if is_header(path) else HEAD_BYTES
        head = b"\0" if is_part else store.first_bytes(path, size)
    except UnreadableFile as refusal:
        return refusal_note(Path(f"{store.store}/{path}"), refusal)
    to = folder / path
    if head is not None and is_inside(path):
        with suppress(OSError, ValueError):  # a name that no file may have, or that of a folder as well
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(head)
    return None
