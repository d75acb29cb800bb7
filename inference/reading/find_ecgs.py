"""Finds the ECGs of folders by their content, and says of every other file why it is none.

A walk is lazy and sorted. It holds the names of one folder at a time. It follows links, and never walks a folder twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

from schemas.errors import UnreadableFile

from .content import SPECIAL_FILE, head_of, why_unreadable
from .file_note import PART, FileNote, passed_over, refusal_note
from .other_content import name_other
from .wfdb_folder import WfdbFolder, is_header, wfdb_folder
from .why_no_ecg import why_no_ecg

Found: TypeAlias = Path | FileNote
"""An ECG, or what is to be said of another file."""

ECG_SUFFIXES = (".xml", ".dcm", ".dicom", ".scp", ".ecg", ".mwf", ".edf", ".bdf", ".ishne")
"""A file that ends so is meant to be an ECG: where its content is of no format, it is refused and not passed over."""
OF_THE_SYSTEM = frozenset({
    "__MACOSX", "Thumbs.db", "ehthumbs.db", "desktop.ini", "@eaDir", "$RECYCLE.BIN", "System Volume Information",
})  # fmt: skip
"""What file managers leave in folders, beside names that begin with a dot."""


def find_ecgs(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files as they are named. In folders, yield the ECGs, folder by folder, sorted."""
    return (found for found in walk(paths) if isinstance(found, Path))


def walk(paths: Iterable[Path]) -> Iterator[Found]:
    """Yield the files as they are named. In folders, yield the ECGs, and a note of every file that is none."""
    for path in paths:
        if _is_folder(path):
            yield from _walk_folder(path)
        else:
            yield path


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # of a file in a folder that may not be looked into; reading it says so
        return False


class _Listing(NamedTuple):
    """The names in a folder, by what they are. A link counts as what it leads to.

    Attributes:
        links: those of the folders that are links.
        notes: of what is neither a file nor a folder to walk.
    """

    files: list[str]
    folders: list[str]
    links: set[str]
    notes: list[FileNote]


def _walk_folder(root: Path) -> Iterator[Found]:
    waiting = [(root, os.path.realpath(root), frozenset[str]())]
    trees = {real for _, real, _ in waiting}
    while waiting:
        folder, real, named_above = waiting.pop()
        try:
            listing = _list(folder)
        except OSError as error:
            yield refusal_note(folder, why_unreadable(folder, error))
            continue
        yield from listing.notes
        wfdb = wfdb_folder(folder, listing.files, named_above)
        yield from _judge_files(folder, listing.files, wfdb)
        below = []
        for name in listing.folders:
            if target := _new_folder(folder / name, real, trees, is_link=name in listing.links):
                below.append((folder / name, target, wfdb.named_in(name)))
            else:
                detail = "this folder is walked under another name"
                yield passed_over(folder / name, code="walked_already", detail=detail)
        waiting.extend(reversed(below))


def _new_folder(path: Path, parent: str, trees: set[str], *, is_link: bool) -> str | None:
    """Return the real path of a folder, or None if it is walked under another name. A link begins a tree."""
    if not is_link:
        target = f"{parent.rstrip(os.sep)}{os.sep}{path.name}"
        return None if target in trees else target
    target = os.path.realpath(path)
    if target in trees or _is_within(target, trees):
        return None
    trees.add(target)
    return target


def _is_within(target: str, trees: set[str]) -> bool:
    """Return whether a walk of the trees comes to a folder by itself. A walk enters no hidden folder."""
    path = Path(target)
    tree = next((parent for parent in path.parents if str(parent) in trees), None)
    return tree is not None and not any(map(_is_of_the_system, path.relative_to(tree).parts))


def _list(folder: Path) -> _Listing:
    """Return what a folder holds, sorted.

    Raises:
        OSError: the folder cannot be read.
    """
    listing = _Listing([], [], set(), [])
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                _sort_in(entry, listing)
            except OSError as error:
                listing.notes.append(refusal_note(Path(entry.path), why_unreadable(Path(entry.path), error)))
    listing.files.sort()
    listing.folders.sort()
    listing.notes.sort(key=lambda note: note.path)
    return listing


def _sort_in(entry: os.DirEntry[str], listing: _Listing) -> None:
    if _is_of_the_system(entry.name):
        detail = "hidden, or a file that the system keeps for itself: what it holds is not looked at"
        listing.notes.append(passed_over(Path(entry.path), code="hidden", detail=detail))
    elif entry.is_file():
        listing.files.append(entry.name)
    elif entry.is_dir():
        listing.folders.append(entry.name)
        if entry.is_symlink():
            listing.links.add(entry.name)
    elif entry.is_symlink():
        Path(entry.path).stat()  # raises what is wrong with the link, unless it leads to a device
        listing.notes.append(_special(entry))
    else:
        listing.notes.append(_special(entry))


def _special(entry: os.DirEntry[str]) -> FileNote:
    return passed_over(Path(entry.path), code="special_file", detail=SPECIAL_FILE)


def _is_of_the_system(name: str) -> bool:
    return name.startswith((".", "~$")) or name in OF_THE_SYSTEM


def _judge_files(folder: Path, names: list[str], wfdb: WfdbFolder) -> Iterator[Found]:
    for name in names:
        path = folder / name
        if wfdb.names(name):
            yield passed_over(path, code=PART, detail="a part of a WFDB record")
        elif is_header(name):
            yield path
        else:
            yield _judge_by_content(path, wfdb)


def _judge_by_content(path: Path, wfdb: WfdbFolder) -> Found:
    try:
        head = head_of(path)
    except OSError as error:
        return refusal_note(path, why_unreadable(path, error))
    if head and (other := name_other(head)):
        return passed_over(path, code=other.code, detail=other.sentence)
    refusal = _refusal_of(path, head)
    if refusal is None or _is_meant_for_an_ecg(path):
        return path
    if head and path.stem.lower() in wfdb.stems:
        return passed_over(path, code=PART, detail="a part of a WFDB record")
    if refusal.wire_code == "missing_header":
        return refusal_note(path, refusal)
    return passed_over(path, code=refusal.wire_code, detail=refusal.detail)


def _refusal_of(path: Path, head: bytes) -> UnreadableFile | None:
    try:
        return why_no_ecg(path, head)
    except Exception:  # noqa: BLE001 -- one odd file must not end a walk: reading it says what broke
        return None


def _is_meant_for_an_ecg(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(ECG_SUFFIXES)
