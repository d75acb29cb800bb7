"""How far a run of publishing came, in a file, so that the same command goes on after it was killed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from platformdirs import user_state_path

from engines.whole_json import write_json
from schemas.errors import InvalidSettings

from .encoded_files import Reached

WRITE_EVERY_S = 1.0
"""After a kill, the records of about so long are published once more. A record that comes again has the same answer."""


class Journal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of a journal's file.

    Attributes:
        topic: by the broker's name.
        list_file: the table that names the ECGs, if there is one.
        records: how many ECGs it names.
        skip: how many ECG files at the beginning need not be published again.
        last: one of these, so that a folder is known that has changed.
        finished: whether all were published.
    """

    paths: list[str]
    broker: str
    topic: str
    ids: str
    time_zone: str | None
    list_file: str | None = None
    records: int | None = None
    skip: int = 0
    last: Reached | None = None
    finished: bool = False


OF_THE_RUN = ("paths", "broker", "topic", "ids", "time_zone", "list_file")
"""What makes a run another one."""


def read_journal(path: Path, wanted: Journal) -> Journal:
    """Return what the journal says, or `wanted` if there is none yet.

    Raises:
        InvalidSettings: it is the journal of another run, or none at all.
    """
    try:
        there = msgspec.json.decode(path.read_bytes(), type=Journal)
    except FileNotFoundError:
        return wanted
    except msgspec.MsgspecError as error:
        raise InvalidSettings(f"{path} is no journal of publish: name another file with --journal") from error
    for name in (*OF_THE_RUN, "records"):
        if (was := getattr(there, name)) != (now := getattr(wanted, name)):
            sentence = f"{path} is the journal of another run, with {name} {was!r} and not {now!r}"
            raise InvalidSettings(f"{sentence}: name another file with --journal, or remove it")
    return there


def place_of_journal(journal: Journal) -> Path | None:
    """Return where the journal of a run lies whose user names no place: hidden beside the archive.

    Where nobody may write there, it lies among the user's files; None where nobody may write there either. Another
    broker, topic or list has another name.
    """
    what = msgspec.json.encode([getattr(journal, name) for name in OF_THE_RUN])
    digest = hashlib.blake2b(what, digest_size=6).hexdigest()
    archive = Path(journal.paths[0])
    if os.access(archive.parent, os.W_OK):
        return archive.with_name(f".{archive.name}.publish-{digest}.json")
    try:
        folder = user_state_path("cardiacnets", ensure_exists=True)
    except OSError:
        return None
    return folder / f"{archive.name}.publish-{digest}.json" if os.access(folder, os.W_OK) else None


class JournalWriter:
    """Writes the journal, at most once a second.

    Args:
        is_kept: whether the journal of a run that is finished stays, and says so.

    Attributes:
        path: of the journal.
        journal: what is known now.
    """

    def __init__(
        self, path: Path, journal: Journal, clock: Callable[[], float] = time.monotonic, *, is_kept: bool = True
    ) -> None:
        self.path, self._clock, self._is_kept = path, clock, is_kept
        self.journal = journal
        self._written = -WRITE_EVERY_S

    def begin(self) -> bool:
        """Write the journal if there is none yet, and return whether there was one: then this run goes on."""
        if self.path.exists():
            return True
        self._write()
        return False

    def confirmed(self, skip: int, last: Reached | None = None) -> None:
        """Note that so many ECG files at the beginning are done with, and one of the last."""
        self.journal = msgspec.structs.replace(self.journal, skip=skip, last=last)
        if self._clock() - self._written >= WRITE_EVERY_S:
            self._written = self._clock()
            self._write()

    def end(self, *, finished: bool) -> None:
        """Write what is known at the end."""
        self.journal = msgspec.structs.replace(self.journal, finished=finished)
        if finished and not self._is_kept:
            self.path.unlink(missing_ok=True)
        else:
            self._write()

    def _write(self) -> None:
        write_json(self.path, self.journal)
