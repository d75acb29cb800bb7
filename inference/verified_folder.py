"""Folders of a manifest and the files that it lists. Every file is verified before anything is read from it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Generic, TypeVar

import msgspec

from engines.onnx_content import NoOnnx, has_external_data
from engines.regular_file import open_regular
from engines.whole_json import write_json
from schemas.errors import CorruptBundle, InvalidSettings

from .manifest import FORMAT_VERSION, ModelManifest, fingerprint

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 2**20
MAX_FILE_BYTES = 2 * 2**30
"""Protocol Buffers, and so an ONNX graph, go no further."""
MAX_FILES = 100
GRAPH_SUFFIX = ".onnx"
DOCUMENTS, DOCUMENT_SUFFIXES = ("license", "licence", "notice", "readme"), (".md", ".txt")
"""A folder that is completed may hold these files beside the model's: a licence, a model card. They are listed too."""

DOCUMENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What a manifest may list."""

UNKNOWN_FIELD = re.compile(r"contains unknown field `(?P<name>.*?)`(?: - at `\$\.?(?P<place>[^`]*)`)?\Z", re.DOTALL)
"""How msgspec reports a field that a struct does not have."""

ManifestT = TypeVar("ManifestT", bound=ModelManifest)


@dataclass(frozen=True, slots=True)
class FolderKind(Generic[ManifestT]):
    """A kind of folder.

    Attributes:
        manifest: the type of `manifest.json`.
        files: the names that every manifest lists.
        optional: the names that a manifest may list as well.
        contradictions: yields a sentence for each claim of a manifest that this program cannot use.
        name: what an error calls such a folder.
    """

    manifest: type[ManifestT]
    files: tuple[str, ...]
    contradictions: Callable[[ManifestT], Iterable[str]]
    name: str
    optional: tuple[str, ...] = ()

    def read(self, folder: Path) -> ManifestT:
        """Return a folder's manifest. Every file is verified against it.

        Raises:
            CorruptBundle: a file is missing, altered or not listed, or the manifest cannot be used.
        """
        manifest = self.parse(self._read_text(folder), folder / MANIFEST)
        refuse_strangers(folder, (MANIFEST, *manifest.files))
        if len(manifest.files) > MAX_FILES:
            raise CorruptBundle(f"the manifest in {folder} lists {len(manifest.files)} files, and at most {MAX_FILES}")
        for name, expected in manifest.files.items():
            if _is_graph(name):
                with suppress(NoOnnx):  # it will never be run: `read_file` refuses it
                    self._refuse_external_data(self._verified(folder / name, expected), folder / name)
            elif self._digest(folder / name) != expected:
                raise self._altered(folder / name)
        return manifest

    def read_file(self, path: Path, expected: str) -> bytes:
        """Return the content of a file whose digest is known. What is returned is what was verified.

        Raises:
            CorruptBundle: it is another content, cannot be read, or is a graph that no library should be given.
        """
        content = self._verified(path, expected)
        if _is_graph(path.name):
            self._require_graph(content, path)
        return content

    def _verified(self, path: Path, expected: str) -> bytes:
        try:
            with _open(path) as file:
                content = file.read(os.fstat(file.fileno()).st_size)
        except OSError as error:
            raise self._unreadable(path, error) from error
        if hashlib.sha256(content).hexdigest() != expected:
            raise self._altered(path)
        return content

    def parse(self, text: bytes, path: Path) -> ManifestT:
        """Return the manifest of a JSON text that was read from `path`.

        Raises:
            CorruptBundle: it is not such a manifest, contradicts itself, or has the version of another manifest.
        """
        manifest = self._decode(text, path)
        for problem in self.contradictions(manifest):
            raise CorruptBundle(f"the manifest in {path.parent} cannot be used: {problem}")
        release, _, written = manifest.version.partition("+")
        if written != (actual := fingerprint(text, self.manifest.evidence)):
            raise CorruptBundle(
                f"the manifest in {path.parent} was changed but not its version, by which every answer names its "
                f"model: undo the change or, if it is meant, set the version to {release}+{actual}"
            )
        return manifest

    def write(self, folder: Path, manifest: ManifestT) -> ManifestT:
        """Complete a folder that holds the files: write its manifest, with their digests and the version.

        Args:
            folder: holds `files`, and nothing else but what is optional and documents, which are listed as well.
            manifest: its `files` are ignored. Its `version` is a release, to which the fingerprint is added.

        Raises:
            CorruptBundle: such a folder may not have these files or this manifest.
        """
        optional = [name for name in self.optional if (folder / name).exists()]
        digests = {name: self._digest(folder / name) for name in (*self.files, *optional, *_documents_in(folder))}
        checked = self._decode(msgspec.json.encode(manifest), folder / MANIFEST)
        complete = msgspec.structs.replace(checked, files=digests)
        release = manifest.version.partition("+")[0]
        version = f"{release}+{fingerprint(msgspec.json.encode(complete), self.manifest.evidence)}"
        complete = msgspec.structs.replace(complete, version=version)
        write_json(folder / MANIFEST, complete)
        return self.read(folder)

    @contextmanager
    def replacing(self, folder: Path) -> Iterator[Path]:
        """Yield an empty folder for new files. They replace those in `folder` when the block ends.

        If the block fails, `folder` stays as it was and can still be used. After the block, `write` completes it.

        Raises:
            CorruptBundle: the folder holds other things.
            InvalidSettings: the folder cannot be written to.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            refuse_strangers(folder, (MANIFEST, *self.files, *self.optional, *_documents_in(folder)))
            stage = TemporaryDirectory(dir=folder.resolve().parent, prefix=f".{folder.name}.")
        except OSError as error:
            raise InvalidSettings(f"{folder} cannot be written to as a folder: {error.strerror}") from error
        with stage as place:
            yield Path(place)
            (folder / MANIFEST).unlink(missing_ok=True)  # a folder of old and new files must not load
            for name in self.files:
                (Path(place) / name).replace(folder / name)
            for name in self.optional:
                (folder / name).unlink(missing_ok=True)
                with suppress(FileNotFoundError):
                    (Path(place) / name).replace(folder / name)

    def _read_text(self, folder: Path) -> bytes:
        path = folder / MANIFEST
        try:
            with open_regular(path) as file:
                text = file.read(MAX_MANIFEST_BYTES + 1)
        except OSError as error:
            raise CorruptBundle(
                f"{folder} is not a {self.name}: {MANIFEST} cannot be read ({error.strerror})"
            ) from error
        if len(text) > MAX_MANIFEST_BYTES:
            raise CorruptBundle(f"{path} is larger than a manifest may be ({MAX_MANIFEST_BYTES} bytes)")
        return text

    def _decode(self, text: bytes, path: Path) -> ManifestT:
        try:
            self._refuse_newer(text, path)
            manifest = msgspec.json.decode(text, type=self.manifest)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise CorruptBundle(self._complaint(path, error)) from error
        _refuse_doubled_keys(text, path)
        return manifest

    def _refuse_newer(self, text: bytes, path: Path) -> None:
        """Refuse a manifest of a newer format, before its unknown fields give an error that explains nothing."""
        found = msgspec.json.decode(text, type=_Format).format_version
        if found > FORMAT_VERSION:
            raise CorruptBundle(
                f"{path} is a manifest of format {found}, and this program reads format {FORMAT_VERSION}: install a "
                f"newer cardiacnets, or use a {self.name} of format {FORMAT_VERSION}"
            )

    def _complaint(self, path: Path, error: Exception) -> str:
        if not (unknown := UNKNOWN_FIELD.search(str(error))):
            return f"{path} is not a manifest of a {self.name}: {error}"
        field = ".".join(filter(None, (unknown["place"], unknown["name"])))
        return (
            f"{path} has the field {field[:200]}, which this program does not know: install a newer cardiacnets, or "
            f"fetch the {self.name} again if the field should not be there"
        )

    def _digest(self, path: Path) -> str:
        try:
            with _open(path) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise self._unreadable(path, error) from error

    def _require_graph(self, graph: bytes, path: Path) -> None:
        try:
            self._refuse_external_data(graph, path)
        except NoOnnx as error:
            raise CorruptBundle(f"{path} is not an ONNX graph: {error}; fetch the {self.name} again") from error

    def _refuse_external_data(self, graph: bytes, path: Path) -> None:
        if has_external_data(graph):
            raise CorruptBundle(
                f"{path} keeps tensors in another file, where no digest is checked: export it again as one file"
            )

    def _altered(self, path: Path) -> CorruptBundle:
        return CorruptBundle(f"{path} is not the file that the manifest describes: fetch the {self.name} again")

    def _unreadable(self, path: Path, error: OSError) -> CorruptBundle:
        return CorruptBundle(f"{path} cannot be read ({error.strerror}): fetch the {self.name} again")


class _Format(msgspec.Struct):
    """The field of a manifest that says how to read the others."""

    format_version: int = FORMAT_VERSION


class _DoubledKey(Exception):  # noqa: N818 -- it names the condition, as the others do
    """An object has a key twice. Readers differ in which of the two holds."""


def _refuse_doubled_keys(text: bytes, path: Path) -> None:
    def unique(pairs: list[tuple[str, object]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DoubledKey(key)
            seen.add(key)

    try:
        json.loads(text, object_pairs_hook=unique, parse_int=str)  # of an integer of any length, which none may stop
    except _DoubledKey as error:
        raise CorruptBundle(
            f"{path} says {str(error)[:100]!r} twice, so it is not a manifest: write it once"
        ) from error
    except ValueError as error:
        raise CorruptBundle(f"{path} is not a manifest: readers of JSON differ in what it says") from error


def refuse_strangers(folder: Path, known: Collection[str]) -> None:
    """Refuse a folder that holds anything but the known files.

    Raises:
        CorruptBundle: names the first stranger.
    """
    for path in sorted(folder.iterdir()):
        if path.name not in known:
            raise CorruptBundle(
                f"{path} does not belong there: the manifest does not list it; remove it, or move it out of the folder"
            )


def _is_graph(name: str) -> bool:
    return name.lower().endswith(GRAPH_SUFFIX)


def _documents_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if _is_document(path))


def _is_document(path: Path) -> bool:
    named = path.name.lower() in DOCUMENTS or path.suffix.lower() in DOCUMENT_SUFFIXES
    return named and DOCUMENT_NAME.fullmatch(path.name) is not None and path.is_file()


def _open(path: Path) -> BufferedReader:
    """Return a model's file, open for reading.

    Raises:
        OSError: it is no regular file, cannot be opened, or is larger than a model's file may be.
    """
    file = open_regular(path)
    if (size := os.fstat(file.fileno()).st_size) <= MAX_FILE_BYTES:
        return file
    file.close()
    raise OSError(errno.EFBIG, f"it has {size} bytes, and at most {MAX_FILE_BYTES} are read", str(path))


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
