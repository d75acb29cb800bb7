"""A place that fsspec reaches: an object store, a server of files.

fsspec finds credentials where it always does, in the environment and in the files of each store's own tools.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from inference.reading.content import why_unreadable
from schemas.errors import DeploymentError, InvalidSettings, UnreadableFile

LOCAL_SCHEMES = frozenset({"file", "local"})
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""The extra of ours that brings what reaches a store."""
SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Store:
    """The address of a folder in a store. It holds no password, and may be shown and sent.

    Attributes:
        url: without a slash at its end.
    """

    url: str

    def __str__(self) -> str:
        """Return the address."""
        return self.url


class OpenStore:
    """A store in this process. Any thread may ask it.

    Args:
        store: its address.

    Raises:
        InvalidSettings: no library here reaches such a place.
        DeploymentError: the place cannot be reached.
    """

    def __init__(self, store: Store) -> None:
        import fsspec

        self.store = store
        try:
            with _answering(store):
                self._files, self._root = fsspec.core.url_to_fs(store.url)
        except (ImportError, ValueError) as error:
            raise _unknown(store, error) from error

    def refuse_if_away(self) -> None:
        """Refuse a place that does not answer, or holds nothing.

        Raises:
            InvalidSettings: there is nothing at the address.
            DeploymentError: the place cannot be reached.
        """
        with _answering(self.store):
            self._files.invalidate_cache()
        if self._kind(self._root) is None:
            raise InvalidSettings(
                f"{self.store} holds nothing: name the folder of the archive, as PROTOCOL://PLACE/FOLDER"
            )

    def has(self, path: str) -> bool:
        """Return whether there is a file of that name."""
        return self._kind(self._key(path)) == "file"

    def paths(self) -> list[str]:
        """Return the paths of all files below the folder."""
        with _answering(self.store):
            found = self._files.find(self._root)
        start = f"{self._root.rstrip('/')}/"
        return sorted(name.removeprefix(start) for name in map(str, found) if not name.endswith("/"))

    def save(self, path: str, to: Path) -> None:
        """Copy a file to a local place, whatever its size."""
        with _answering(self.store):
            self._files.get_file(self._key(path), str(to))

    def first_bytes(self, path: str, size: int) -> bytes | None:
        """Return a file's content, of a longer one so many bytes; None if there is no such file.

        Raises:
            UnreadableFile: it cannot be had: `permission_denied`, or `read_error`, which may pass.
        """
        key = self._key(path)
        try:
            return bytes(self._files.cat_file(key, start=0, end=size))
        except (FileNotFoundError, IsADirectoryError):
            return None
        except PermissionError as error:
            raise why_unreadable(Path(path), PermissionError(errno.EACCES, "")) from error
        except Exception as error:
            if self._is_empty(key):  # of no bytes, some stores give no range
                return b""
            raise _away(path, error) from error

    def _kind(self, key: str) -> str | None:
        """Return what a key leads to, or None. fsspec's own `exists` takes an error for a no."""
        with _answering(self.store):
            try:
                return str(self._files.info(key)["type"])
            except FileNotFoundError:
                return None

    def _is_empty(self, key: str) -> bool:
        try:
            return bool(self._files.info(key)["size"] == 0)
        except Exception:  # noqa: BLE001 -- the error that led here is told
            return False

    def _key(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}"


def place_named(text: str) -> Path | Store:
    """Return the folder that a text names: by a path, or by an address such as `s3://bucket/folder`.

    Raises:
        InvalidSettings: the address holds a password or a key, which would stand in tables and logs.
    """
    if "://" not in text:
        return Path(text)
    parts = urlsplit(text)
    if parts.password or parts.query:
        sentence = (
            f"the address of {parts.scheme}://{parts.hostname} holds a password or a key, which tables would keep"
        )
        raise InvalidSettings(f"{sentence}: give it by the environment, as the store's own tools take it")
    if parts.scheme in LOCAL_SCHEMES:
        return Path(text.partition("://")[2])
    return Store(text.rstrip("/"))


def _unknown(store: Store, error: Exception) -> InvalidSettings:
    scheme = store.url.partition("://")[0]
    if extra := EXTRAS.get(scheme):
        return InvalidSettings(f"{store} cannot be reached from here: pip install 'cardiacnets[{extra}]'")
    return InvalidSettings(f"{store} cannot be reached from here: {_shown(error)}")


@contextmanager
def _answering(store: Store) -> Iterator[None]:
    """Raise in words what a store's library raises: each has errors of its own."""
    try:
        yield
    except (ImportError, ValueError):
        raise
    except Exception as error:
        sentence = f"{store} does not answer, or not to us ({_shown(error)})"
        raise DeploymentError(f"{sentence}: check the address, the network and the credentials") from error


def _away(path: str, error: Exception) -> UnreadableFile:
    why = f"the store did not give it ({type(error).__name__}): check the network, and the store"
    return UnreadableFile(f"{path} cannot be read as an ECG: {why}", code="read_error")


def _shown(error: Exception) -> str:
    return (str(error).partition("\n")[0] or type(error).__name__)[:SHOWN_CHARACTERS]
