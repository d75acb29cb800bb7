"""Reads one's own pairs into a cohort: ECGs of any format, cines, and a table that says what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.file_account import FileAccount
from inference.reading.content import printable
from inference.reading.file_note import FileNote
from inference.reading.read_ecg import read_ecg
from schemas.errors import InvalidSettings, RecordError, UnreadableFile

from .layout import SHARES, Cohort, open_cohort
from .own_cines import read_cine
from .pairs_table import IMPLAUSIBLE, Pair, check_pairs
from .process_pool import each_in_order
from .source_tables import as_kept
from .text_table import open_table
from .writer import CohortWriter, write_cohort

SOURCE = "own-pairs"
UNREADABLE_SCAN = "unreadable_scan"


@dataclass(frozen=True, slots=True)
class ReadPair:
    """A pair after its files were read.

    Attributes:
        ecg: (12, 5000) int16, or why there is none.
        cine: (50, 96, 96) uint8, or why there is none; None where the table names none.
    """

    pair: Pair
    ecg: NDArray[np.int16] | RecordError
    cine: NDArray[np.uint8] | UnreadableFile | None


def import_pairs(
    root: Path,
    destination: Path,
    *,
    table: Path | None,
    ignored: Collection[str] = (),
    account: FileAccount | None = None,
    progress: Callable[[int, int], object] = lambda _done, _total: None,
    folds: tuple[float, float] = SHARES,
    processes: int | None = None,
) -> Cohort:
    """Write the cohort of one's own pairs and return it opened; files that cannot be used are counted by code.

    Args:
        root: of the paths in the table.
        destination: the cohort's folder.
        table: a row an ECG; the documents describe its columns.
        ignored: columns of the table that are left out, whatever they are called.
        account: of what is not used.
        progress: called with the number of rows done, and of all.
        folds: shares of the patients for training and for development, where the table has no folds.
        processes: that read; one a core by default. A program that asks for several must guard its own entry by
            `if __name__ == "__main__"`.

    Raises:
        InvalidSettings: a path is wrong.
        UnreadableCohort: the table has a fault, or no ECG can be used.
    """
    if not root.is_dir():
        raise InvalidSettings(f"{printable(root)} is no folder: name the folder that the table's paths are below")
    if table is None:
        raise InvalidSettings("name the table of your pairs with --table: a row an ECG")
    account = account or FileAccount()
    checked = check_pairs(open_table(table), ignored=ignored, folds=folds, tell=account.tell)
    with write_cohort(destination, source=SOURCE, rows=checked.rows, scans=checked.scans, account=account) as writer:
        taker = Taker(root, writer, account)
        every = each_in_order(partial(read_pairs, root), checked.pairs(), checked.rows, processes)
        for done, read in enumerate(every, start=1):
            taker.take(read)
            progress(done, checked.rows)
    return open_cohort(destination)


def read_pairs(root: Path, pairs: Sequence[Pair]) -> list[ReadPair]:
    """Return the pairs after their files were read, in this process."""
    return [_read_pair(root, pair) for pair in pairs]


def _read_pair(root: Path, pair: Pair) -> ReadPair:
    ecg = _read_ecg(root / pair.ecg)
    named = None if isinstance(ecg, RecordError) else pair.cine
    return ReadPair(pair, ecg, _read_cine(root / named) if named else None)


class Taker:
    """Puts what was read into the cohort. A cine that several ECGs name is kept once."""

    def __init__(self, root: Path, writer: CohortWriter, account: FileAccount) -> None:
        self._root, self._writer, self._account = root, writer, account
        self._scans: dict[str, int] = {}

    def take(self, read: ReadPair) -> None:
        """Add one pair, without its cine where that cannot be read; count what is not taken."""
        if isinstance(read.ecg, RecordError):
            self._writer.skip(read.ecg.wire_code, printable(self._root / read.pair.ecg), read.ecg.detail)
            return
        for sentence in read.pair.implausible:
            self._account.tell(FileNote(path=read.pair.place, status="taken", code=IMPLAUSIBLE, detail=sentence))
        self._writer.add(replace(read.pair.row, cine=self._scan(read)), read.ecg)

    def _scan(self, read: ReadPair) -> int:
        if read.cine is None or read.pair.cine is None:
            return -1
        if (known := self._scans.get(read.pair.cine)) is not None:
            return known
        if isinstance(read.cine, UnreadableFile):
            self._writer.skip(UNREADABLE_SCAN, printable(self._root / read.pair.cine), read.cine.detail)
            place = -1
        else:
            place = self._writer.add_scan(read.cine)
        self._scans[read.pair.cine] = place
        return place


def _read_ecg(path: Path) -> NDArray[np.int16] | RecordError:
    try:
        return as_kept(read_ecg(path))
    except RecordError as refusal:
        return refusal


def _read_cine(path: Path) -> NDArray[np.uint8] | UnreadableFile:
    try:
        return read_cine(path)
    except UnreadableFile as refusal:
        return refusal
