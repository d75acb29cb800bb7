"""EDF, EDF+, BDF and BDF+: signals in data records, whose times EDF+ keeps.

The gate must know of gaps between data records. `ecgdatakit` joins the data records end to end, so this is a reader of
ours: it takes each data record with its time, and reads bytes, for a file may be compressed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.gate import LIMITS
from inference.leads import standard_name
from schemas.ecg_record import Remark
from schemas.errors import UnreadableFile

from .edf_header import ANNOTATIONS, EdfHeader, EdfSignal, read_edf_header
from .patient import sex_of
from .recording import Channel, Part, Recording
from .units import millivolts_per

MAX_PARTS = 100
MAX_MILLIVOLTS = 1e9
"""No signal of a body has a range beyond this."""
MAX_START_S = 1e9
"""No data record begins later after the start of a recording."""

_TIME = re.compile(rb"([+-]\d{1,12}(?:\.\d{0,12})?)(?:\x15[\d.]*)?\x14")
"""The start of a data record, as the first annotation in it says."""
_REFERENCE = re.compile(r"-ref$", re.IGNORECASE)
"""A label may say that the lead is against the common reference, as every lead of an ECG is."""


@dataclass(frozen=True, slots=True, eq=False)
class _Stretch:
    """Data records with no gap between them that is too long to be bridged.

    Attributes:
        first: the place of its first data record in the file.
        start_s: when it begins, after the file's first data record.
        delays_s: for each data record, the sum of the gaps before it within the stretch.
    """

    first: int
    start_s: float
    delays_s: NDArray[np.float64]

    @property
    def last(self) -> int:
        """The place after its last data record."""
        return self.first + len(self.delays_s)


def read_edf(content: bytes, path: Path) -> Recording:
    """Return what an EDF or BDF file holds: a part for each stretch of data records without a long gap.

    Raises:
        UnreadableFile: the header or the times contradict themselves, or a lead has no unit of voltage.
    """
    header = read_edf_header(content, path)
    rows, remarks = _data_records(content, header, path)
    starts_s, doubts = _starts(header, rows, path)
    stretches = _stretches(starts_s - starts_s[0], header, _fastest_hz(header))
    long_enough = [stretch for stretch in stretches if _duration(stretch, header) >= LIMITS.min_duration_s]
    return Recording(
        format_name=header.name,
        parts=tuple(_parts((long_enough or stretches)[:MAX_PARTS], header, rows, path)),
        recorded_at=header.started_at and header.started_at + timedelta(seconds=float(starts_s[0])),
        sex=sex_of(header.sex),
        remarks=(*remarks, *doubts),
    )


def _data_records(content: bytes, header: EdfHeader, path: Path) -> tuple[NDArray[np.uint8], list[Remark]]:
    """Return the bytes of the complete data records, one a row."""
    if not header.record_bytes:
        raise UnreadableFile(f"{path} was taken for {header.name}, but its data records hold no sample")
    there, rest = divmod(len(content) - header.size, header.record_bytes)
    records = there if header.records is None else min(header.records, there)
    if not records:
        raise UnreadableFile(f"{path} was taken for {header.name}, but holds no complete data record: copy it again")
    rows = np.frombuffer(content, np.uint8, records * header.record_bytes, header.size)
    if header.records is None or (header.records, rest) == (there, 0):
        return rows.reshape(records, -1), []
    found = there + rest / header.record_bytes
    said = f"the header announces {header.records} data records, and the file has {found:.6g}: {records} were read"
    return rows.reshape(records, -1), [Remark("file_length", said)]


def _starts(header: EdfHeader, rows: NDArray[np.uint8], path: Path) -> tuple[NDArray[np.float64], list[Remark]]:
    """Return when each data record begins."""
    one_after_another = np.arange(len(rows), dtype=np.float64) * header.record_s
    if header.continuity is None:
        return one_after_another, []
    starts_s = np.fromiter(_written_starts(header, rows), np.float64, len(rows))
    overlap_s = header.record_s - np.diff(starts_s)
    is_sound = bool(np.isfinite(starts_s).all()) and not (overlap_s > _tolerance(header)).any()
    if is_sound and header.continuity == "C" and (overlap_s < -_tolerance(header)).any():
        doubt = (
            "the file says that it has no gaps, but the times of its data records show some: the times were believed"
        )
        return starts_s, [Remark("doubtful_times", doubt)]
    if is_sound:
        return starts_s, []
    if header.continuity == "D":
        raise UnreadableFile(
            f"{path} was taken for {header.name}, whose data records may have gaps between them, but the times of its "
            "data records are missing or overlap: export the file again, without gaps"
        )
    if not np.isfinite(starts_s).any():
        return one_after_another, []
    doubt = "the times of the data records are missing or overlap: they were taken one after another, as the file says"
    return one_after_another, [Remark("doubtful_times", doubt)]


def _written_starts(header: EdfHeader, rows: NDArray[np.uint8]) -> Iterator[float]:
    places = [place for place, signal in enumerate(header.signals) if signal.label in ANNOTATIONS]
    if not places:
        yield from [np.nan] * len(rows)
        return
    begin, end = _columns(header, places[0])
    for row in rows:
        found = _TIME.match(row[begin:end].tobytes())
        start_s = float(found[1]) if found else np.nan
        yield start_s if abs(start_s) <= MAX_START_S else np.nan


def _stretches(starts_s: NDArray[np.float64], header: EdfHeader, rate_hz: float) -> list[_Stretch]:
    """Return the stretches between the gaps that the gate would not bridge.

    A stretch has no more bridged samples than recorded ones, which bounds what a file can make us allocate.
    """
    gaps_s = np.diff(starts_s, prepend=starts_s[0] - header.record_s) - header.record_s
    gaps_s[np.abs(gaps_s) * rate_hz < 0.5] = 0.0
    longest_s = min(LIMITS.missing_run_s, header.record_s)
    edges = [*np.flatnonzero((gaps_s > longest_s) | (np.arange(len(gaps_s)) == 0)).tolist(), len(gaps_s)]
    return [
        _Stretch(first, float(starts_s[first]), np.cumsum(np.append(0.0, gaps_s[first + 1 : last])))
        for first, last in pairwise(edges)
    ]


def _parts(stretches: list[_Stretch], header: EdfHeader, rows: NDArray[np.uint8], path: Path) -> Iterator[Part]:
    for stretch in stretches:
        channels = (
            _channel(place, stretch, header, rows, path)
            for place, signal in enumerate(header.signals)
            if signal.label not in ANNOTATIONS and signal.samples
        )
        yield Part(_title(stretch, len(rows)), tuple(channels))


def _title(stretch: _Stretch, records: int) -> str:
    if len(stretch.delays_s) == records:
        return "the signals"
    if len(stretch.delays_s) == 1:
        return f"data record {stretch.last} of {records}"
    return f"data records {stretch.first + 1} to {stretch.last} of {records}"


def _channel(place: int, stretch: _Stretch, header: EdfHeader, rows: NDArray[np.uint8], path: Path) -> Channel:
    """Return a signal. One that is no lead is named, and its samples are left alone."""
    signal = header.signals[place]
    label, rate_hz = _REFERENCE.sub("", signal.label), _rate(signal, header, path)
    if not standard_name(label):
        return Channel(label, np.empty(0, np.float32), rate_hz, stretch.start_s)
    begin, end = _columns(header, place)
    digital = _integers(rows[stretch.first : stretch.last, begin:end], header.sample_bytes)
    step, zero = _scale(signal, header, path)
    line = _spread(digital * step + zero, stretch, rate_hz)
    return Channel(label, line, rate_hz, stretch.start_s, step_uv=abs(step) * 1e3)


def _scale(signal: EdfSignal, header: EdfHeader, path: Path) -> tuple[float, float]:
    """Return the mV of one step, and of 0. A physical minimum above the maximum turns the signal over, as meant."""
    taken_for = f"{path} was taken for {header.name}, but its lead {signal.label}"
    unit = millivolts_per(signal.unit)
    if unit is None:
        raise UnreadableFile(
            f"{taken_for} is in {signal.unit!r}, no unit of voltage that is known: export it in uV or mV"
        )
    (low, high), (digital_low, digital_high) = signal.physical, signal.digital
    is_sane = np.isfinite([digital_low, digital_high]).all() and max(abs(low), abs(high)) * unit <= MAX_MILLIVOLTS
    if not is_sane or low == high or digital_low == digital_high:
        raise UnreadableFile(
            f"{taken_for} has no scale, for {digital_low:g} to {digital_high:g} stand for {low:g} to {high:g} "
            f"{signal.unit}: export the file again, with the range of each signal"
        )
    step = unit * (high - low) / (digital_high - digital_low)
    return step, unit * low - step * digital_low


def _spread(samples: NDArray[np.floating[Any]], stretch: _Stretch, rate_hz: float) -> NDArray[np.floating[Any]]:
    """Return the samples of data records (records, samples) on one time line, NaN in the gaps."""
    delays = np.round(stretch.delays_s * rate_hz).astype(np.int64)
    if not delays[-1]:
        return samples.reshape(-1)
    line = np.full(samples.size + int(delays[-1]), np.nan)
    places = np.arange(samples.size).reshape(samples.shape) + delays[:, None]
    line[places] = samples
    return line


def _integers(columns: NDArray[np.uint8], sample_bytes: int) -> NDArray[np.int16] | NDArray[np.int32]:
    """Return little-endian integers of two or three bytes, (records, samples)."""
    if sample_bytes == 2:
        return np.ascontiguousarray(columns).view("<i2")
    triples = columns.reshape(len(columns), -1, 3).astype(np.int32)
    unsigned: NDArray[np.int32] = triples[..., 0] | triples[..., 1] << 8 | triples[..., 2] << 16
    return unsigned - ((unsigned & 0x800000) << 1)


def _columns(header: EdfHeader, place: int) -> tuple[int, int]:
    """Return where a signal begins and ends in the bytes of a data record."""
    before = sum(signal.samples for signal in header.signals[:place]) * header.sample_bytes
    return before, before + header.signals[place].samples * header.sample_bytes


def _rate(signal: EdfSignal, header: EdfHeader, path: Path) -> float:
    if not header.record_s:
        raise UnreadableFile(
            f"{path} was taken for {header.name}, but its data records last 0 s, so the sample rate "
            "is not known: export the file again"
        )
    return signal.samples / header.record_s


def _fastest_hz(header: EdfHeader) -> float:
    samples = [signal.samples for signal in header.signals if signal.label not in ANNOTATIONS]
    return max(samples, default=0) / header.record_s if header.record_s else 0.0


def _tolerance(header: EdfHeader) -> float:
    """Return by how much data records may overlap: half the time between two samples."""
    fastest_hz = _fastest_hz(header)
    return 0.5 / fastest_hz if fastest_hz else 0.0


def _duration(stretch: _Stretch, header: EdfHeader) -> float:
    return len(stretch.delays_s) * header.record_s + float(stretch.delays_s[-1])
