"""How far a run of publishing came, in a file, so that the same command goes on after it was killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from engines.whole_json import write_json
from schemas.errors import InvalidSettings

WRITE_EVERY_S = 1.0
"""After a kill, the records of about so long are published once more. A record that comes again has the same answer."""


class Journal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of a journal's file.

    Attributes:
        skip: how many ECG files at the beginning need not be published again.
        finished: whether all were published.
    """

    paths: list[str]
    broker: str
    topic: str
    ids: str
    time_zone: str | None
    skip: int = 0
    finished: bool = False


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
    for name in ("paths", "broker", "topic", "ids", "time_zone"):
        if (was := getattr(there, name)) != (now := getattr(wanted, name)):
            sentence = f"{path} is the journal of another run, with {name} {was!r} and not {now!r}"
            raise InvalidSettings(f"{sentence}: name another file with --journal, or remove it")
    return there


class JournalWriter:
    """Writes the journal, at most once a second.

    Attributes:
        journal: what is known now.
    """

    def __init__(self, path: Path, journal: Journal, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self.journal = journal
        self._written = -WRITE_EVERY_S

    def confirmed(self, skip: int) -> None:
        """Note that so many ECG files at the beginning are done with."""
        self.journal = msgspec.structs.replace(self.journal, skip=skip)
        if self._clock() - self._written >= WRITE_EVERY_S:
            self._written = self._clock()
            self._write()

    def end(self, *, finished: bool) -> None:
        """Write what is known at the end."""
        self.journal = msgspec.structs.replace(self.journal, finished=finished)
        self._write()

    def _write(self) -> None:
        write_json(self._path, self.journal)
