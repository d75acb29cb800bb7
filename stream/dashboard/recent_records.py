"""The newest records that the dashboard keeps: report, request and result of each, compressed and bounded."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from schemas.messages import DISEASES, CmrRequest, CmrResult, Risk, RiskReport, decode_message
from schemas.topics import CMR_REQUESTS, CMR_RESULTS, ECG_RISK, LARGEST
from schemas.zstd_frames import compress, decompress
from stream.alerting.facts import Facts, contradiction, facts_of

from .doubts import NOT_ASSESSABLE, Doubt, doubts_of

ReportIs: TypeAlias = Literal["first", "repeated", "contradicting"]

MAX_MESSAGE_BYTES = max(LARGEST[topic] for topic in (ECG_RISK, CMR_REQUESTS, CMR_RESULTS))
BYTES_A_RECORD = 16 * 2**10
"""The bound on what is kept of all records, in the mean. A record of ours takes 7 kB, compressed."""
OTHER_BYTES = 512
"""What a kept record takes beside its messages, about."""
MOST_RISKS = len(DISEASES)
SLACK = 256
"""How far the records may grow beyond their bound before the oldest are dropped together."""


class RecordRow(msgspec.Struct, kw_only=True):
    """A record as the list of records shows it."""

    record_id: str
    patient_id: str | None
    created_at: float
    risks: tuple[tuple[str, float, float, bool, bool], ...]
    """Disease, probability, threshold, whether it is flagged, whether it is assessable."""
    site: str | None
    doubts: tuple[Doubt, ...]
    trained: bool
    cine: str | None
    """'requested', 'generated' or 'failed'; None if no cine was requested."""
    contradicted: bool
    """Whether another report came under the record's id that cannot be of the same ECG."""


@dataclass(slots=True)
class KeptRecord:
    """What is kept of one record. The messages are compressed, since thousands of records are kept.

    Attributes:
        facts: what the report says of the record.
        site: where the ECG was recorded, as the report has it.
        flagged: whether the report flags a disease.
        doubts: about the report.
        created_at: when the report was made, or arrived, if its worker's clock is wrong.
        others: how many reports came that contradict the kept one; `other` is the newest of them.
    """

    facts: Facts | None = None
    site: str | None = None
    flagged: bool = False
    doubts: tuple[Doubt, ...] = ()
    created_at: float = 0.0
    report: bytes | None = None
    request: bytes | None = None
    request_key: bytes | None = None
    result: bytes | None = None
    result_at: float = 0.0
    others: int = 0
    other: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes that the record takes, about."""
        values = (self.report, self.request, self.request_key, self.result, self.other)
        return OTHER_BYTES + sum(len(value) for value in values if value is not None)

    @property
    def recorded_at(self) -> float:
        """When the ECG was recorded, or reported, where nobody knows the former."""
        recorded = None if self.facts is None else self.facts.recorded_at
        return self.created_at if recorded is None else recorded.timestamp()


KINDS: dict[str, Callable[[KeptRecord], bool]] = {
    "flagged": lambda kept: kept.flagged,
    "not_assessable": lambda kept: any(doubt.code == NOT_ASSESSABLE for doubt in kept.doubts),
    "doubtful": lambda kept: bool(kept.doubts),
}
"""Of which kind the records of a list may be."""


class RecentRecords:
    """Merges the messages of each record, in whatever order they come, and keeps the newest records.

    Args:
        capacity: how many records are kept, of `BYTES_A_RECORD` in the mean.
        spared: returns the ids of the records that are kept although they are old.
    """

    def __init__(self, capacity: int, spared: Callable[[], set[str]]) -> None:
        self._capacity = capacity
        self._max_bytes = (capacity + SLACK) * BYTES_A_RECORD
        self._spared = spared
        self._records: dict[str, KeptRecord] = {}
        self._of_patient: dict[str, dict[str, None]] = {}
        self._bytes = 0
        self._changed: dict[str, None] = {}
        self._drops_at = capacity + SLACK

    def receive_report(self, report: RiskReport, value: bytes, at: datetime) -> ReportIs:
        """Keep a report; return what it is to the report that is kept already.

        Args:
            at: when the report was made, as far as its worker's clock is right.
        """
        facts = facts_of(report)
        with self._changing(report.record_id, at) as kept:
            self._changed[report.record_id] = None
            if kept.facts is not None and contradiction(kept.facts, facts):
                kept.others, kept.other = kept.others + 1, compress(value)
                return "contradicting"
            is_first = kept.facts is None
            kept.facts, kept.report = facts, compress(value)
            kept.site, kept.doubts = report.site, doubts_of(report)
            kept.flagged = any(risk.flagged for risk in report.risks)
            if report.patient_id is not None:
                self._of_patient.setdefault(report.patient_id, {})[report.record_id] = None
            return "first" if is_first else "repeated"

    def receive_request(self, request: CmrRequest, value: bytes, key: bytes | None, at: datetime) -> None:
        """Keep the request for a record's cine."""
        with self._changing(request.record_id, at) as kept:
            kept.request, kept.request_key = compress(value), key

    def receive_result(self, result: CmrResult, value: bytes, at: datetime) -> None:
        """Keep the newest result of a record's cine."""
        with self._changing(result.record_id, None) as kept:
            if at.timestamp() >= kept.result_at:
                kept.result, kept.result_at = compress(value), at.timestamp()
                self._changed[result.record_id] = None

    def facts(self, record_id: str) -> Facts | None:
        """Return what a record's report says of the record."""
        return (self._records.get(record_id) or KeptRecord()).facts

    def doubts(self, record_id: str) -> tuple[Doubt, ...]:
        """Return the doubts about a record's report."""
        return (self._records.get(record_id) or KeptRecord()).doubts

    def recorded_at(self, record_id: str) -> float:
        """Return when a record's ECG was recorded, or reported, where nobody knows the former."""
        return (self._records.get(record_id) or KeptRecord()).recorded_at

    def of_same_patient(self, record_id: str) -> list[str]:
        """Return the ids of the other records of a record's patient whose reports are kept, the newest first."""
        facts = self.facts(record_id)
        if facts is None or facts.subject is None:
            return []
        others = (name for name in self._of_patient.get(facts.subject, ()) if name != record_id)
        return sorted(others, key=lambda name: (-self.recorded_at(name), name))

    def other(self, record_id: str) -> tuple[int, bytes] | None:
        """Return how many reports contradict a record's report, and the newest of them as JSON; None without one."""
        kept = self._records.get(record_id) or KeptRecord()
        value = _decompressed(kept.other)
        return None if value is None else (kept.others, value)

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

    def rows(self, limit: int, text: str = "", site: str | None = None, kind: str | None = None) -> list[RecordRow]:
        """Return the newest records whose id or patient contains `text`, in any case.

        Args:
            site: where they were recorded; the empty site is that of records without one. None: anywhere.
            kind: one of `KINDS`; of anything else every record is.
        """
        fits = KINDS.get(kind or "")
        reported = ((name, kept) for name, kept in self._records.items() if kept.report is not None)
        fitting = (item for item in reported if fits is None or fits(item[1]))
        there = (item for item in fitting if site in {None, item[1].site or ""})
        return [_row(record_id, kept) for record_id, kept in _newest(there, limit, text.casefold())]

    @contextmanager
    def _changing(self, record_id: str, created_at: datetime | None) -> Iterator[KeptRecord]:
        """Give what is kept of a record, to be changed; then drop what is too much."""
        known = self._records.get(record_id)
        kept = self._records.setdefault(record_id, KeptRecord())
        before = 0 if known is None else kept.size
        if created_at is not None:
            kept.created_at = max(kept.created_at, created_at.timestamp())
        yield kept
        self._bytes += kept.size - before
        if len(self._records) > self._drops_at or self._bytes > self._max_bytes:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        """Drop the oldest records, except the spared ones: a backfill must not empty the page that an alert leads to.

        Records with open alerts are spared, and the book bounds these, so at most twice the capacity is kept. Only a
        lack of room drops spared ones, after all others.
        """
        spared = self._spared()
        by_age = sorted(self._records, key=lambda record_id: self._records[record_id].created_at)
        surplus = len(by_age) - self._capacity
        self._drop([record_id for record_id in by_age[: max(0, surplus)] if record_id not in spared])
        if self._bytes > self._max_bytes:
            left = [record_id for record_id in by_age if record_id in self._records]
            self._drop_until_small([record_id for record_id in left if record_id not in spared])
            self._drop_until_small([record_id for record_id in left if record_id in spared])
        self._drops_at = max(self._capacity, len(self._records)) + SLACK

    def _drop_until_small(self, record_ids: Iterable[str]) -> None:
        """Drop records until a tenth of the room is free, so that this is not due again at once."""
        for record_id in record_ids:
            if self._bytes <= 0.9 * self._max_bytes:
                return
            self._drop([record_id])

    def _drop(self, record_ids: Iterable[str]) -> None:
        for record_id in record_ids:
            kept = self._records.pop(record_id)
            self._bytes -= kept.size
            self._forget_patient(_patient(kept), record_id)

    def _forget_patient(self, patient: str, record_id: str) -> None:
        if records := self._of_patient.get(patient):
            records.pop(record_id, None)
            if not records:
                del self._of_patient[patient]


def _newest(records: Iterable[tuple[str, KeptRecord]], limit: int, text: str) -> list[tuple[str, KeptRecord]]:
    matching = (item for item in records if text in f"{item[0]} {_patient(item[1])}".casefold())
    return heapq.nlargest(limit, matching, key=lambda item: item[1].created_at)


def _patient(kept: KeptRecord) -> str:
    return (kept.facts.subject if kept.facts else None) or ""


def _row(record_id: str, kept: KeptRecord) -> RecordRow:
    report = decode_message(RiskReport, _decompressed(kept.report) or b"")
    return RecordRow(
        record_id=record_id,
        patient_id=report.patient_id,
        created_at=kept.created_at,
        risks=tuple(map(_risk, report.risks[:MOST_RISKS])),
        site=kept.site,
        doubts=kept.doubts,
        trained=report.model.trained,
        cine=_cine_state(kept),
        contradicted=kept.other is not None,
    )


def _risk(risk: Risk) -> tuple[str, float, float, bool, bool]:
    return risk.disease, risk.probability, risk.threshold, risk.flagged, risk.is_assessable


def _cine_state(kept: KeptRecord) -> str | None:
    if (value := _decompressed(kept.result)) is not None:
        return decode_message(CmrResult, value).status
    return None if kept.request is None else "requested"


def _decompressed(value: bytes | None) -> bytes | None:
    return None if value is None else decompress(value, max_bytes=MAX_MESSAGE_BYTES)
