"""Screens one shard: a function of its files, the model and the settings, whoever runs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

import msgspec

from inference.reading.content import printable
from inference.reading.read_ecg import read_or_refuse
from inference.screen_files import screen_sources
from inference.screener import Refused, ScreenedOrRefused, Screener
from schemas.ecg_record import EcgRecord
from schemas.errors import EngineFailed, OversizedRecord, RecordError, TransientError
from schemas.record_limits import MAX_ID_CHARACTERS, is_identifier

from .archive import PATH, Ids
from .columns import Columns, Row
from .dataset import Dataset

TRIES = 3
WAIT_S = 2.0
"""Before what failed for a moment is tried again; twice as long the next time."""
OF_THE_MOMENT = frozenset({"read_error"})
"""Codes of files that a disk or a network drive did not give, and may give later."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the files of an archive become records."""

    root: Path
    ids: Ids
    zone: tzinfo | None
    records_a_batch: int

    def read(self, path: str) -> EcgRecord | RecordError:
        """Return the ECG of a file under the id that the archive gives it, or why it has none."""
        record = read_or_refuse(self.root / path, self.zone)
        if self.ids == "name" or isinstance(record, RecordError):
            return record
        if not is_identifier(path):
            sentence = f"{printable(Path(path))} is longer than {MAX_ID_CHARACTERS} characters, and cannot be an id"
            return OversizedRecord(sentence)
        return msgspec.structs.replace(record, record_id=path)


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
    rows = [_row(place, answers[place]) for place in range(len(paths))]
    dataset.write(number, columns, plan, rows)
    return rows


def _screen(
    screener: Screener, paths: Sequence[str], places: Sequence[int], reading: Reading
) -> dict[int, ScreenedOrRefused]:
    def read(place: int) -> EcgRecord | RecordError:
        return reading.read(paths[place])

    return dict(screen_sources(screener, places, read, records_a_batch=reading.records_a_batch))


def _may_pass(answer: ScreenedOrRefused) -> bool:
    if not isinstance(answer, Refused):
        return False
    return isinstance(answer.error, TransientError) or answer.error.wire_code in OF_THE_MOMENT


def _raise_what_no_file_has_done(answers: Iterable[ScreenedOrRefused]) -> None:
    """Raise the first error that is not the record's own: its shard must not be taken for done."""
    for answer in answers:
        if isinstance(answer, Refused) and isinstance(answer.error, TransientError):
            raise answer.error


def _row(place: int, answer: ScreenedOrRefused) -> Row:
    record_id = answer.record.record_id if answer.record else None
    return Row(place, record_id, answer)
