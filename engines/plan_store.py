"""Keeps plans: networks that a library compiled for one GPU, each with a note of what it was built from and for.

A plan is machine code. It is kept in a folder that others cannot write to, and opened only if its digest is the note's.
"""

from __future__ import annotations

import hashlib
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from schemas.errors import EngineUnavailable

from .choice_cache import cache_folder
from .plan_note import PlanKey, PlanNote
from .whole_file import write_whole
from .whole_json import write_json

PLAN, NOTE = ".plan", ".json"

log = logging.getLogger(__name__)


class PlanStore:
    """The plans of a user, in a folder.

    Args:
        chosen: the folder of what engines keep; None: the user's cache.
    """

    def __init__(self, chosen: Path | None) -> None:
        self.folder = cache_folder(chosen) / "plans"

    def keep(self, key: PlanKey, plan: bytes, built_s: float) -> PlanNote:
        """Write a plan and its note, and return the note.

        Raises:
            EngineUnavailable: the folder cannot be written to.
        """
        note = PlanNote(key=key, sha256=hashlib.sha256(plan).hexdigest(), size=len(plan), built_s=round(built_s, 3))
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(self._path(key, PLAN), plan)
            write_json(self._path(key, NOTE), note)
        except OSError as error:
            raise EngineUnavailable(f"the plan cannot be kept in {self.folder}: {error.strerror}") from error
        return note

    def find(self, key: PlanKey, name: str) -> tuple[PlanNote, bytes]:
        """Return the plan for a key: of as many rows, else of the most. Bigger batches are answered in parts.

        Args:
            key: as the plan should be.
            name: the engine's, for errors.

        Raises:
            EngineUnavailable: there is none, the one that is there is stale, or it was changed since it was built.
        """
        known = list(self._notes())
        fitting = [note for note in known if _but_rows(note.key) == _but_rows(key)]
        if not fitting:
            raise EngineUnavailable(f"{name} {_why_none(key, [note.key for note in known])}: {_remedy(name)}")
        best = max(fitting, key=lambda note: (note.key.rows == key.rows, note.key.rows))
        return best, self._read(best, name)

    def read_timing(self, library: str, gpu: str) -> bytes:
        """Return what earlier buildings measured, or nothing."""
        try:
            return self._timing(library, gpu).read_bytes()
        except OSError:
            return b""

    def keep_timing(self, library: str, gpu: str, measured: bytes) -> None:
        """Write what a building measured. A folder that cannot be written to only costs time."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(self._timing(library, gpu), measured)
        except OSError as error:
            log.warning("what was measured while building is not remembered: %s", error)

    def _notes(self) -> Iterator[PlanNote]:
        for path in sorted(self.folder.glob(f"*{NOTE}")):
            try:
                note = msgspec.json.decode(path.read_bytes(), type=PlanNote)
            except (OSError, msgspec.DecodeError, UnicodeError) as error:
                log.warning("the note of a plan in %s is ignored: %s", path, error)
                continue
            if path.name == note.key.digest() + NOTE:
                yield note

    def _read(self, note: PlanNote, name: str) -> bytes:
        path = self._path(note.key, PLAN)
        try:
            refuse_writable_by_others(path)
            plan = path.read_bytes()
        except OSError as error:
            raise EngineUnavailable(
                f"{name}: the plan {path} cannot be read ({error.strerror}): {_remedy(name)}"
            ) from error
        if hashlib.sha256(plan).hexdigest() != note.sha256:
            raise EngineUnavailable(f"{name}: the plan {path} was changed since it was built: {_remedy(name)}")
        return plan

    def _path(self, key: PlanKey, suffix: str) -> Path:
        return self.folder / (key.digest() + suffix)

    def _timing(self, library: str, gpu: str) -> Path:
        return self.folder / f"{hashlib.sha256(f'{library} {gpu}'.encode()).hexdigest()[:32]}.timing"


def refuse_writable_by_others(path: Path) -> None:
    """Refuse a file, or a folder around it, that other users may write to: what lies there would be run.

    Raises:
        EngineUnavailable: says whose right it is too much.
        OSError: it is not there.
    """
    for place in (path, path.parent):
        if place.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise EngineUnavailable(f"{place} can be written to by other users, and a plan is code: chmod go-w {place}")


def _but_rows(key: PlanKey) -> PlanKey:
    return msgspec.structs.replace(key, rows=0)


def _why_none(key: PlanKey, known: list[PlanKey]) -> str:
    """Return a sentence about the nearest plan: what it was built for, where this process has something else."""
    same = [other for other in known if (other.graph, other.precision) == (key.graph, key.precision)]
    if not same:
        return "has no plan of this network yet"
    near = max(same, key=lambda other: (other.library.split(" ")[0] == key.library.split(" ")[0], other.gpu == key.gpu))
    stale = [
        f"for {getattr(near, field)}, and this is {getattr(key, field)}"
        for field in ("library", "gpu")
        if getattr(near, field) != getattr(key, field)
    ]
    return "has a plan of this network that was built " + ", ".join(stale)


def _remedy(name: str) -> str:
    return f"cardiacnets compile --engine {name}"
