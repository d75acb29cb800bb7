"""Screens ECG files without Kafka: files in, one answer a file out, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Literal

import msgspec

from schemas.ecg_record import EcgRecord
from schemas.errors import CardiacNetsError, Number, RecordError
from schemas.messages import RiskReport

from .files import printable, read_or_refuse
from .report import compose_report
from .screener import Screener, Screening

FILES_A_BATCH = 8


class Screened(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a file that could be screened."""

    source: str
    record_id: str
    status: Literal["screened"] = "screened"
    report: RiskReport


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a file that could not be."""

    source: str
    record_id: str | None
    status: Literal["rejected"] = "rejected"
    code: str
    detail: str
    numbers: dict[str, Number]


FileAnswer = Screened | Rejected


def screen_files(screener: Screener, paths: Iterable[Path]) -> Iterator[FileAnswer]:
    """Yield one answer a file, in order; a file that cannot be read is answered too."""
    remaining = iter(paths)
    while batch := list(islice(remaining, FILES_A_BATCH)):
        items = [read_or_refuse(path) for path in batch]
        for path, item, outcome in zip(batch, items, screener.screen(items), strict=True):
            yield _answer(screener, path, item, outcome)


def _answer(
    screener: Screener, path: Path, item: EcgRecord | RecordError, outcome: Screening | CardiacNetsError
) -> FileAnswer:
    if isinstance(outcome, Screening):
        report = compose_report(
            outcome.record, outcome.quality, outcome.finding, screener.bundle.reference, datetime.now(UTC)
        )
        return Screened(source=printable(path), record_id=report.record_id, report=report)
    return Rejected(
        source=printable(path),
        record_id=item.record_id,
        code=outcome.wire_code,
        detail=str(outcome),
        numbers=outcome.numbers,
    )
