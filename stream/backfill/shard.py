"""Screens one shard: a function of its files, the model and the settings, whoever runs it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import TypeAlias

import msgspec

from inference.reading.content import printable
from inference.reading.read_ecg import read_or_refuse
from inference.screen_files import screen_sources
from inference.screener import Refused, ScreenedOrRefused, Screener
from schemas.ecg_record import EcgRecord
from schemas.errors import EngineFailed, InvalidSettings, OversizedRecord, RecordError, TransientError
from schemas.record_limits import MAX_ID_CHARACTERS, is_identifier

from .archive import PATH, Ids
from .columns import Columns, Row
from .dataset import Dataset
from .fetch import Fetched, fetching
from .store import OpenStore, Store

TRIES = 3
WAIT_S = 2.0
"""Before what failed for a moment is tried again; twice as long the next time."""
OF_THE_MOMENT = frozenset({"read_error"})
"""Codes of files that a disk or a network drive did not give, and may give later."""
NOT_THERE = OF_THE_MOMENT | {"missing_file"}
"""Codes of files that are away, or whose whole archive is."""
KEEP_GOING = "What is done is kept; the same command goes on"

Read: TypeAlias = Callable[[str], EcgRecord | RecordError]


@dataclass(frozen=True, slots=True)
class Reading:
    """How the files of an archive become records."""

    root: Path | Store
    ids: Ids
    zone: tzinfo | None
    records_a_batch: int

    @contextmanager
    def opened(self, paths: Sequence[str]) -> Iterator[Read]:
        """Yield what reads each of the paths, quickest in this order. Files of a store are fetched ahead.

        Raises:
            DeploymentError: the store does not answer.
        """
        if isinstance(self.root, Path):
            yield partial(self.read, self.root)
            return
        with fetching(self.root, paths) as take:
            yield lambda path: self._read_fetched(take(path), path)

    def read(self, root: Path, path: str) -> EcgRecord | RecordError:
        """Return the ECG of a file under the id that the archive gives it, or why it has none.

        Args:
            root: the folder that the path is below.
            path: of the file.
        """
        record = read_or_refuse(root / path, self.zone)
        if isinstance(record, RecordError):
            return _told_below(root, record)
        if self.ids == "name":
            return record
        if not is_identifier(path):
            sentence = f"{printable(Path(path))} is longer than {MAX_ID_CHARACTERS} characters, and cannot be an id"
            return OversizedRecord(sentence)
        return msgspec.structs.replace(record, record_id=path)

    def refuse_if_away(self) -> None:
        """Refuse an archive that cannot be reached from here, or holds nothing.

        Raises:
            InvalidSettings: there is no such folder, or nothing in it.
            DeploymentError: the store does not answer.
        """
        if isinstance(self.root, Store):
            OpenStore(self.root).refuse_if_away()
        elif not (self.root.is_dir() and any(self.root.iterdir())):
            sentence = f"{self.root} holds no archive as {socket.gethostname()} sees it"
            raise InvalidSettings(f"{sentence}: it went away, or this machine does not share the folder. {KEEP_GOING}")

    def _read_fetched(self, fetched: Fetched, path: str) -> EcgRecord | RecordError:
        try:
            return fetched.refusal or self.read(fetched.folder, path)
        finally:
            fetched.remove()


def _told_below(root: Path, refusal: RecordError) -> RecordError:
    """Return a refusal that names files as the plan does, so that a row does not depend on where the archive lies."""
    refusal.detail = refusal.detail.replace(f"{printable(root)}/", "")
    refusal.args = (refusal.detail,)
    return refusal


def screen_shard(
    screener: Screener,
    dataset: Dataset,
    number: int,
    reading: Reading,
    *,
    sleep: Callable[[float], object] = time.sleep,
) -> list[Row]:
    """Screen a shard, write its tables, and return its rows.

    What a moment's fault refuses is tried again. A file that stays unreadable is refused like any other.

    Raises:
        EngineFailed: the engine failed each time.
        DeploymentError: the archive went away.
    """
    columns = Columns(screener.bundle.manifest, dataset.plan_schema())
    plan = dataset.plan(number)
    paths = plan[PATH].to_pylist()
    answers: dict[int, ScreenedOrRefused] = {}
    for attempt in range(TRIES):
        missing = [place for place in range(len(paths)) if place not in answers or _may_pass(answers[place])]
        if not missing:
            break
        if attempt:
            sleep(WAIT_S * attempt)
        try:
            answers |= _screen(screener, paths, missing, reading)
        except EngineFailed:
            if attempt + 1 == TRIES:
                raise
    _raise_what_no_file_has_done(answers.values())
    if any(map(_is_not_there, answers.values())):
        reading.refuse_if_away()
    rows = [_row(place, answers[place]) for place in range(len(paths))]
    dataset.write(number, columns, plan, rows)
    return rows


def _screen(
    screener: Screener, paths: Sequence[str], places: Sequence[int], reading: Reading
) -> dict[int, ScreenedOrRefused]:
    with reading.opened([paths[place] for place in places]) as read:

        def read_at(place: int) -> EcgRecord | RecordError:
            return read(paths[place])

        return dict(screen_sources(screener, places, read_at, records_a_batch=reading.records_a_batch))


def _may_pass(answer: ScreenedOrRefused) -> bool:
    if not isinstance(answer, Refused):
        return False
    return isinstance(answer.error, TransientError) or answer.error.wire_code in OF_THE_MOMENT


def _is_not_there(answer: ScreenedOrRefused) -> bool:
    return isinstance(answer, Refused) and answer.error.wire_code in NOT_THERE


def _raise_what_no_file_has_done(answers: Iterable[ScreenedOrRefused]) -> None:
    """Raise the first error that is not the record's own: its shard must not be taken for done."""
    for answer in answers:
        if isinstance(answer, Refused) and isinstance(answer.error, TransientError):
            raise answer.error


def _row(place: int, answer: ScreenedOrRefused) -> Row:
    record_id = answer.record.record_id if answer.record else None
    return Row(place, record_id, answer)
