"""Folders of a manifest and the files that it lists, every one verified before anything is read from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Generic, TypeVar

import msgspec

from schemas.errors import CorruptBundle, InvalidSettings

from .manifest import Described, fingerprint

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 2**20
DOCUMENTS, DOCUMENT_SUFFIXES = ("license", "licence", "notice", "readme"), (".md", ".txt")
"""Files that may lie in a folder unlisted: a licence, a model card."""

ManifestT = TypeVar("ManifestT", bound=Described)


@dataclass(frozen=True, slots=True)
class FolderKind(Generic[ManifestT]):
    """A kind of folder.

    Attributes:
        manifest: what `manifest.json` holds.
        files: that every manifest lists.
        contradictions: yields a sentence for each thing in a manifest that this program cannot use.
        name: what a person fetches again.
        no_folder, no_manifest: predicates for a folder without a manifest, and for a manifest that cannot be read.
        carrier: a clause on what the version ends up in.
    """

    manifest: type[ManifestT]
    files: tuple[str, ...]
    contradictions: Callable[[ManifestT], Iterable[str]]
    name: str
    no_folder: str
    no_manifest: str
    carrier: str

    def read(self, folder: Path) -> ManifestT:
        """Return a folder's manifest, every file verified against it.

        Raises:
            CorruptBundle: a file is missing, altered or not listed, or the manifest contradicts itself.
        """
        manifest = self._read_manifest(folder)
        for problem in self.contradictions(manifest):
            raise CorruptBundle(f"the manifest in {folder} cannot be used: {problem}")
        refuse_strangers(folder, (MANIFEST, *manifest.files))
        for name, expected in manifest.files.items():
            if self._digest(folder / name) != expected:
                raise CorruptBundle(
                    f"{folder / name} is not the file that the manifest describes: fetch the {self.name} again"
                )
        self._check_version(manifest, folder)
        return manifest

    def write(self, folder: Path, manifest: ManifestT) -> ManifestT:
        """Complete a folder in which the files lie: write its manifest, with their digests and the version.

        Args:
            folder: holds `files`, and nothing else but documents.
            manifest: its `files` are ignored, and to its `version` the fingerprint is added.

        Raises:
            CorruptBundle: the files or the manifest are not what such a folder may have.
        """
        digests = {name: self._digest(folder / name) for name in self.files}
        checked = self._decode(msgspec.json.encode(manifest), folder / MANIFEST)
        complete = msgspec.structs.replace(checked, files=digests)
        release = manifest.version.partition("+")[0]
        complete = msgspec.structs.replace(complete, version=f"{release}+{fingerprint(complete)}")
        (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(complete), indent=1) + b"\n")
        return self.read(folder)

    @contextmanager
    def replacing(self, folder: Path) -> Iterator[Path]:
        """Yield an empty folder for the files, which take the place of those in `folder` when the block ends.

        What lies in `folder` is whole until then, and serves on if the block fails; `write` completes it.

        Raises:
            CorruptBundle: it holds other things.
            InvalidSettings: it cannot be written to.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            refuse_strangers(folder, (MANIFEST, *self.files))
            stage = TemporaryDirectory(dir=folder.resolve().parent, prefix=f".{folder.name}.")
        except OSError as error:
            raise InvalidSettings(f"{folder} cannot be written to as a folder: {error.strerror}") from error
        with stage as place:
            yield Path(place)
            (folder / MANIFEST).unlink(missing_ok=True)  # one that is half replaced must not load
            for name in self.files:
                (Path(place) / name).replace(folder / name)

    def _read_manifest(self, folder: Path) -> ManifestT:
        path = folder / MANIFEST
        try:
            with path.open("rb") as file:
                text = file.read(MAX_MANIFEST_BYTES + 1)
        except OSError as error:
            raise CorruptBundle(f"{folder} {self.no_folder}: {MANIFEST} cannot be read ({error.strerror})") from error
        if len(text) > MAX_MANIFEST_BYTES:
            raise CorruptBundle(f"{path} is larger than a manifest may be ({MAX_MANIFEST_BYTES} bytes)")
        return self._decode(text, path)

    def _decode(self, text: bytes, path: Path) -> ManifestT:
        try:
            return msgspec.json.decode(text, type=self.manifest)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise CorruptBundle(f"{path} {self.no_manifest}: {error}") from error

    def _check_version(self, manifest: ManifestT, folder: Path) -> None:
        release, _, written = manifest.version.partition("+")
        if written != (actual := fingerprint(manifest)):
            raise CorruptBundle(
                f"the manifest in {folder} was changed but not its version, {self.carrier}: "
                f"undo the change or, if it is meant, set the version to {release}+{actual}"
            )

    def _digest(self, path: Path) -> str:
        try:
            return sha256(path)
        except OSError as error:
            raise CorruptBundle(f"{path} cannot be read ({error.strerror}): fetch the {self.name} again") from error


def refuse_strangers(folder: Path, known: Collection[str]) -> None:
    """Refuse a folder that holds anything but the known files, documents and hidden files.

    Raises:
        CorruptBundle: names the first stranger.
    """
    for path in sorted(folder.iterdir()):
        if path.name not in known and not _is_document(path):
            raise CorruptBundle(f"{path} does not belong there: the manifest does not list it; remove it")


def _is_document(path: Path) -> bool:
    named = path.name.lower() in DOCUMENTS or path.suffix.lower() in DOCUMENT_SUFFIXES or path.name.startswith(".")
    return named and path.is_file()


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
