"""Fetches ECGs from a store into a folder, some ahead of who reads them, many at once: a store answers after 20-100 ms.

A WFDB record is fetched by its header, which names its other files. What is fetched of an ECG goes when it was read.
"""

from __future__ import annotations

import glob
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory, gettempdir
from threading import Lock
from typing import TypeAlias

from engines.whole_file import is_running
from inference.reading.content import MAX_FILE_BYTES, decompressed
from inference.reading.wfdb_folder import COMPRESSED, HEADER_SUFFIX, SIGNAL_SUFFIXES, is_header
from schemas.errors import UnreadableFile

from .store import OpenStore, Store

AT_ONCE = 32
AHEAD = 64
"""ECGs that are fetched before somebody reads them."""
WAIT_S = 300.0
"""For one ECG. The libraries of stores give up earlier."""
MAX_FILES = 256
"""Of an ECG: a header with more segments is a recording of days."""
HEADER_ENDINGS = (HEADER_SUFFIX, HEADER_SUFFIX.upper(), HEADER_SUFFIX + COMPRESSED)

Take: TypeAlias = Callable[[str], "Fetched"]
"""Takes a path below the store's folder, and returns what was fetched for it."""


class Fetched:
    """The files of one ECG, in a folder of their own, below which they have the store's paths.

    Attributes:
        refusal: why they could not be had.
    """

    def __init__(self, folder: Path, refusal: UnreadableFile | None) -> None:
        self.folder, self.refusal = folder, refusal

    def remove(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def fetching(store: Store, paths: Sequence[str]) -> Iterator[Take]:
    """Yield what gives the fetched files of each path. It is quickest where paths are taken in order, each once.

    Raises:
        DeploymentError: the store cannot be reached.
    """
    opened = OpenStore(store)
    with _own_folder() as folder:
        threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ecg-fetcher")
        try:
            yield _Window(opened, paths, folder, threads).take
        finally:
            threads.shutdown(cancel_futures=True)


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Yield a temporary folder. One that a killed process of this host left is removed first."""
    prefix = f"cardiacnets-fetched.{socket.gethostname()}."  # containers that share a folder have names of their own
    for left in Path(gettempdir()).glob(f"{glob.escape(prefix)}*"):
        if not is_running(left.name.removeprefix(prefix).partition(".")[0]):
            shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(prefix=f"{prefix}{os.getpid()}.", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


class _Window:
    """The ECGs that are being fetched, or wait to be read."""

    def __init__(self, store: OpenStore, paths: Sequence[str], folder: Path, threads: ThreadPoolExecutor) -> None:
        self._store, self._paths, self._folder, self._threads = store, paths, folder, threads
        self._places = {path: place for place, path in enumerate(paths)}
        self._fetched: dict[int, Future[Fetched]] = {}
        self._begun = 0
        self._lock = Lock()

    def take(self, path: str) -> Fetched:
        place = self._places[path]
        with self._lock:
            for ahead in range(self._begun, min(place + AHEAD, len(self._paths))):
                self._fetched[ahead] = self._threads.submit(self._fetch, ahead)
                self._begun = ahead + 1
            future = self._fetched.pop(place)
        try:
            return future.result(WAIT_S)
        except TimeoutError:
            late = UnreadableFile(f"{path} cannot be read as an ECG: the store did not give it", code="read_error")
            return Fetched(self._folder / str(place), late)

    def _fetch(self, place: int) -> Fetched:
        folder = self._folder / str(place)
        try:
            fetch_ecg(self._store, self._paths[place], folder)
        except UnreadableFile as refusal:
            return Fetched(folder, refusal)
        return Fetched(folder, None)


def fetch_ecg(store: OpenStore, path: str, folder: Path) -> None:
    """Copy what an ECG needs. What is not there is not copied, and its reader says so.

    Args:
        store: where the ECG lies.
        path: of the ECG below the store's folder, as `read_ecg` takes it.
        folder: below which the files have the store's paths.

    Raises:
        UnreadableFile: the path leads out of the archive, a file is larger than an ECG, or it cannot be had.
    """
    if not is_inside(path):
        sentence = f"{path} cannot be read as an ECG: it leads out of the archive, or is a folder"
        raise UnreadableFile(f"{sentence}: name a file below the archive's folder", code="missing_file")
    for name in _files_meant(path):
        content = _copy(store, name, folder)
        if content is None:
            continue
        if is_header(name):
            _copy_named(store, name, content, folder)
        return


def _files_meant(path: str) -> tuple[str, ...]:
    """Return the files of which a path means the first one that is there; a record's name means its header."""
    name = PurePosixPath(path)
    if is_header(name.name):
        return (path,)
    record = str(name.with_suffix("")) if name.suffix.lower() in SIGNAL_SUFFIXES else path
    headers = tuple(f"{record}{ending}" for ending in HEADER_ENDINGS)
    return (path, *headers) if name.suffix and record == path else (*headers, path)


def _copy_named(store: OpenStore, header: str, content: bytes, folder: Path) -> None:
    """Copy the files that a header names: signal files, or the headers of segments and their signal files."""
    waiting, seen = [(header, content)], {header}
    while waiting:
        of, text = waiting.pop()
        for name in _names_in(text, Path(of)):
            path = str(PurePosixPath(of).parent / name)
            if path in seen or not is_inside(name) or len(seen) >= MAX_FILES:
                continue
            seen.add(path)
            for spelled in (path, path + COMPRESSED):
                if (copied := _copy(store, spelled, folder)) is not None:
                    waiting += [(spelled, copied)] if is_header(spelled) else []
                    break


def _names_in(content: bytes, path: Path) -> list[str]:
    """Return the files that a header names in the first word of each line, after that of the record."""
    text = decompressed(content, path) if path.suffix.lower() == COMPRESSED else content
    lines = (line.split() for line in text.decode(errors="replace").splitlines() if line.lstrip()[:1] != "#")
    first, *others = [words[0] for words in lines if words] or [""]
    return [f"{name}{HEADER_SUFFIX}" if "/" in first else name for name in others if name != "~"]


def _copy(store: OpenStore, path: str, folder: Path) -> bytes | None:
    """Copy a file, and return its content, or None if there is none."""
    content = store.first_bytes(path, MAX_FILE_BYTES + 1)
    if content is None:
        return None
    if len(content) > MAX_FILE_BYTES:
        sentence = f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB, and is read from a store only up to that"
        raise UnreadableFile(f"{sentence}: copy the recording to a disk, or cut it")
    with suppress(OSError, ValueError):  # a name that no file may have: its reader says so
        to = folder / path
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(content)
    return content


def is_inside(path: str) -> bool:
    """Return whether a name means a file below the folder in which it is named."""
    return ".." not in path.split("/") and not path.startswith("/") and not path.endswith("/") and bool(path)
