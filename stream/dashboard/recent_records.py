"""The newest records that the dashboard keeps: report, request and result of each, compressed and bounded."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from schemas.messages import CmrRequest, CmrResult, RiskReport, decode_message
from schemas.zstd_frames import compress, decompress

MAX_MESSAGE_BYTES = 256 * 1024
"""A report takes 8 kB, so a larger message was not written by this project."""
SLACK = 256
"""How far the records may grow beyond their bound before the oldest are dropped together."""


class RecordRow(msgspec.Struct, kw_only=True):
    """A record as the list of records shows it."""

    record_id: str
    patient_id: str | None
    created_at: float
    risks: tuple[tuple[str, float, float, bool], ...]
    """Disease, probability, threshold, flagged."""
    warnings: int
    trained: bool
    cine: str | None
    """'requested', 'generated' or 'failed'; None if no cine was requested."""


@dataclass(slots=True)
class KeptRecord:
    """What is kept of one record. The messages are compressed, since thousands of records are kept."""

    patient_id: str | None = None
    created_at: float = 0.0
    report: bytes | None = None
    request: bytes | None = None
    request_key: bytes | None = None
    result: bytes | None = None
    result_at: float = 0.0


class RecentRecords:
    """Merges the messages of each record, in whatever order they come, and keeps the newest records.

    Args:
        capacity: how many records are kept.
        spared: returns the ids of the records that are kept although they are old.
    """

    def __init__(self, capacity: int, spared: Callable[[], set[str]]) -> None:
        self._capacity = capacity
        self._spared = spared
        self._records: dict[str, KeptRecord] = {}
        self._changed: dict[str, None] = {}
        self._drops_at = capacity + SLACK

    def receive_report(self, report: RiskReport, value: bytes) -> bool:
        """Keep a report; return whether it is the first report of its record."""
        kept = self._keep(report.record_id, report.created_at)
        is_first = kept.report is None
        kept.patient_id, kept.report = report.patient_id, compress(value)
        self._changed[report.record_id] = None
        return is_first

    def receive_request(self, request: CmrRequest, value: bytes, key: bytes | None) -> None:
        """Keep the request for a record's cine."""
        kept = self._keep(request.record_id, request.created_at)
        kept.request, kept.request_key = compress(value), key

    def receive_result(self, result: CmrResult, value: bytes) -> None:
        """Keep the newest result of a record's cine."""
        kept = self._keep(result.record_id, None)
        if (at := result.created_at.timestamp()) >= kept.result_at:
            kept.result, kept.result_at = compress(value), at
            self._changed[result.record_id] = None

    def take_changed(self) -> list[str]:
        """Return the ids of the records whose report or cine came since the last call."""
        changed, self._changed = self._changed, {}
        return list(changed)

    def report(self, record_id: str) -> bytes | None:
        """Return a record's report as JSON."""
        return _decompressed((self._records.get(record_id) or KeptRecord()).report)

    def result(self, record_id: str) -> bytes | None:
        """Return the newest result of a record's cine as JSON."""
        return _decompressed((self._records.get(record_id) or KeptRecord()).result)

    def request(self, record_id: str) -> tuple[bytes | None, bytes] | None:
        """Return key and value of the request for a record's cine."""
        kept = self._records.get(record_id)
        value = _decompressed(kept.request) if kept else None
        return None if kept is None or value is None else (kept.request_key, value)

    def rows(self, limit: int, text: str = "") -> list[RecordRow]:
        """Return the newest records whose id or patient contains `text`, in any case."""
        return [_row(record_id, kept) for record_id, kept in self._newest(limit, text.casefold())]

    def _keep(self, record_id: str, created_at: datetime | None) -> KeptRecord:
        kept = self._records.setdefault(record_id, KeptRecord())
        if created_at is not None:
            kept.created_at = max(kept.created_at, created_at.timestamp())
        if len(self._records) > self._drops_at:
            self._drop_oldest()
        return kept

    def _drop_oldest(self) -> None:
        """Drop the oldest records, except the spared ones: a backfill must not empty the page that an alert leads to.

        Records with open alerts are spared, and the book bounds these, so at most twice the capacity is kept.
        """
        spared = self._spared()
        by_age = sorted(self._records, key=lambda record_id: self._records[record_id].created_at)
        for record_id in by_age[: len(by_age) - self._capacity]:
            if record_id not in spared:
                del self._records[record_id]
        self._drops_at = len(self._records) + SLACK

    def _newest(self, limit: int, text: str) -> Iterable[tuple[str, KeptRecord]]:
        reported = ((name, kept) for name, kept in self._records.items() if kept.report is not None)
        matching = (item for item in reported if text in f"{item[0]} {item[1].patient_id or ''}".casefold())
        return heapq.nlargest(limit, matching, key=lambda item: item[1].created_at)


def _row(record_id: str, kept: KeptRecord) -> RecordRow:
    report = decode_message(RiskReport, _decompressed(kept.report) or b"")
    return RecordRow(
        record_id=record_id,
        patient_id=report.patient_id,
        created_at=report.created_at.timestamp(),
        risks=tuple((risk.disease, risk.probability, risk.threshold, risk.flagged) for risk in report.risks),
        warnings=len(report.quality.warnings),
        trained=report.model.trained,
        cine=_cine_state(kept),
    )


def _cine_state(kept: KeptRecord) -> str | None:
    if (value := _decompressed(kept.result)) is not None:
        return decode_message(CmrResult, value).status
    return None if kept.request is None else "requested"


def _decompressed(value: bytes | None) -> bytes | None:
    return None if value is None else decompress(value, max_bytes=MAX_MESSAGE_BYTES)
