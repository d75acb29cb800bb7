"""Screens ECG files without Kafka, and answers each file in order.

While the engine runs one batch, a thread reads and prepares the next batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, tzinfo
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec

from schemas.ecg_record import EcgRecord
from schemas.errors import Number, RecordError
from schemas.messages import RiskReport

from .reading.content import printable
from .reading.file_note import FileNote
from .reading.in_child import interrupted_with_us
from .reading.read_ecg import read_or_refuse
from .report import compose_report
from .screener import PreparedBatch, ScreenedOrRefused, Screener, Screening

Source = TypeVar("Source")
Item: TypeAlias = EcgRecord | RecordError

RECORDS_A_BATCH = 8


class Screened(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a file that could be screened."""

    source: str
    record_id: str
    status: Literal["screened"] = "screened"
    report: RiskReport


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a file that could not be screened."""

    source: str
    record_id: str | None
    status: Literal["rejected"] = "rejected"
    code: str
    detail: str
    numbers: dict[str, Number]


FileAnswer = Screened | Rejected


class _Batch(NamedTuple, Generic[Source]):
    sources: Sequence[Source]
    prepared: PreparedBatch


def screen_files(screener: Screener, paths: Iterable[Path], *, zone: tzinfo | None = None) -> Iterator[FileAnswer]:
    """Yield the answer to each file, in order. A file that cannot be read has an answer as well.

    Args:
        screener: of one model.
        paths: of files; the reading thread iterates over it.
        zone: of times in files that name none; None: the zone of this computer.
    """
    for path, outcome in screen_sources(screener, paths, partial(read_or_refuse, zone=zone)):
        yield _file_answer(path, outcome)


def rejection_note(answer: Rejected) -> FileNote:
    """Return what the errors file says of an ECG that was not screened."""
    return FileNote(
        path=answer.source, status="refused", code=answer.code, detail=answer.detail, numbers=answer.numbers
    )


def screen_sources(
    screener: Screener,
    sources: Iterable[Source],
    read: Callable[[Source], Item],
    *,
    records_a_batch: int = RECORDS_A_BATCH,
) -> Iterator[tuple[Source, ScreenedOrRefused]]:
    """Yield each source with its answer, in order. At most one batch is read ahead, so memory stays bounded.

    Args:
        screener: its `prepare` is called in the reading thread, its `run` in the caller's.
        sources: whatever `read` takes; the reading thread iterates over it.
        read: returns the ECG of a source, or why it has none; called in the reading thread.
        records_a_batch: how many sources make a batch.

    Raises:
        EngineFailed: the engine failed for a whole batch.
        Exception: whatever else `sources` or `read` raises. It comes after the answers of the batches before it.
    """
    remaining = iter(sources)

    def read_batch() -> _Batch[Source] | None:
        batch = list(islice(remaining, records_a_batch))
        return _Batch(batch, screener.prepare([read(source) for source in batch])) if batch else None

    with ThreadPoolExecutor(1, thread_name_prefix="ecg-reader") as reader, interrupted_with_us():
        upcoming = reader.submit(read_batch)
        while batch := upcoming.result():
            upcoming = reader.submit(read_batch)
            yield from zip(batch.sources, screener.run(batch.prepared), strict=True)


def _file_answer(path: Path, outcome: ScreenedOrRefused) -> FileAnswer:
    source = printable(path)
    if isinstance(outcome, Screening):
        at = datetime.now(UTC)
        report = compose_report(
            outcome.record,
            outcome.quality,
            outcome.finding,
            outcome.model,
            at,
            measurements=outcome.measurements,
        )
        return Screened(source=source, record_id=report.record_id, report=report)
    error, record = outcome.error, outcome.record
    return Rejected(
        source=source,
        record_id=record.record_id if record else None,
        code=error.wire_code,
        detail=str(error),
        numbers=error.numbers,
    )
