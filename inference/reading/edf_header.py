"""The header of an EDF, EDF+, BDF or BDF+ file: what it says of the signals, of the time, and of the patient's sex.

The patient's code, name and birth date, which stand in the header too, are not read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from schemas.errors import UnreadableFile

EDF = b"0       "
BDF = b"\xffBIOSEMI"
HEAD_BYTES = 256
"""The length of the header's first part, and of what is said of each signal."""
MAX_SIGNALS = 1000
SHORTEST_S, LONGEST_S = 1e-6, 86_400.0
"""Of a data record."""
LAST_YEAR = 2300
"""A later one is no year that an ECG was recorded in."""
ANNOTATIONS = ("EDF Annotations", "BDF Annotations")

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_STARTDATE = re.compile(r"Startdate (\d{1,2})-([A-Za-z]{3})-(\d{4})\b")
_CLIPPING_YEAR = 85
"""A year of two digits from here on lies in the last century."""
_UNKNOWN_DATE = (1985, 1, 1)
"""What writers put where the date is not known. The format is younger."""
_FIELDS = {
    "label": 16,
    "transducer": 80,
    "unit": 8,
    "physical_min": 8,
    "physical_max": 8,
    "digital_min": 8,
    "digital_max": 8,
    "filters": 80,
    "samples": 8,
    "reserved": 32,
}
"""What is said of each signal, and in how many characters: first of all signals the one, then of all the other."""


@dataclass(frozen=True, slots=True)
class EdfSignal:
    """What the header says of one signal.

    Attributes:
        samples: in each data record.
        physical: the values in `unit` that stand for the two `digital` ones. NaN: the header gives no number.
    """

    label: str
    unit: str
    samples: int
    physical: tuple[float, float]
    digital: tuple[float, float]


@dataclass(frozen=True, slots=True)
class EdfHeader:
    """What the header says.

    Attributes:
        name: of the format, such as 'EDF+D'.
        continuity: 'C' if the file says that each data record follows the one before it without a gap, 'D' if not.
            None: the format has no times.
        records: the number of data records; None where the recorder did not know it.
        record_s: the time of one data record.
        size: of the header in bytes.
    """

    name: str
    continuity: Literal["C", "D"] | None
    sample_bytes: Literal[2, 3]
    sex: str
    started_at: datetime | None
    records: int | None
    record_s: float
    signals: tuple[EdfSignal, ...]
    size: int

    @property
    def record_bytes(self) -> int:
        """The size of one data record."""
        return self.sample_bytes * sum(signal.samples for signal in self.signals)


def is_edf(head: bytes) -> bool:
    """Return whether a content begins as EDF or BDF does."""
    size = head[184:192].strip(b" \x00")
    return head.startswith((EDF, BDF)) and (len(head) < HEAD_BYTES or size.isdigit() or not size)


def read_edf_header(content: bytes, path: Path) -> EdfHeader:
    """Return the header of a content.

    Raises:
        UnreadableFile: the header is cut short, or says what cannot be. The path is for its words alone.
    """
    text = content[:HEAD_BYTES].decode("latin-1")
    family = "BDF" if content.startswith(BDF) else "EDF"
    reserved = text[192:236].strip("\x00 ")
    is_plus = reserved[:4] in {"EDF+", "BDF+"}
    continuity: Literal["C", "D"] | None = None if not is_plus else "D" if reserved[4:5] == "D" else "C"
    number = _numbers(f"{path} was taken for {family}, but its header")
    if len(content) < HEAD_BYTES:
        raise UnreadableFile(f"{path} was taken for {family}, but its header is cut short: copy the file again")
    count, records = number(text[252:256], "the number of signals"), number(text[236:244], "the number of data records")
    if not 1 <= count <= MAX_SIGNALS or len(content) < HEAD_BYTES * (count + 1):
        raise UnreadableFile(
            f"{path} was taken for {family}, but its header has no room for the {count:g} signals that it announces: "
            "copy the file again"
        )
    record_s = number(text[244:252], "the duration of a data record")
    if record_s and not SHORTEST_S <= record_s <= LONGEST_S:
        raise UnreadableFile(
            f"{path} was taken for {family}, but its data records last {record_s:g} s, which cannot be: export it again"
        )
    return EdfHeader(
        name=f"{family}+{continuity}" if continuity else family,
        continuity=continuity,
        sample_bytes=3 if family == "BDF" else 2,
        sex=_second_word(text[8:88]) if is_plus else "",
        started_at=_started_at(text[168:184], text[88:168] if is_plus else ""),
        records=int(records) if records > 0 else None,
        record_s=record_s,
        signals=_signals(content[: HEAD_BYTES * (int(count) + 1)].decode("latin-1"), int(count), number),
        size=HEAD_BYTES * (int(count) + 1),
    )


def _signals(header: str, count: int, number: Callable[[str, str], float]) -> tuple[EdfSignal, ...]:
    columns: dict[str, list[str]] = {}
    place = HEAD_BYTES
    for field, width in _FIELDS.items():
        ends = [(place + width * signal, place + width * (signal + 1)) for signal in range(count)]
        columns[field] = [header[begin:end].strip("\x00 ") for begin, end in ends]
        place += width * count
    return tuple(_signal({field: values[place] for field, values in columns.items()}, number) for place in range(count))


def _signal(fields: dict[str, str], number: Callable[[str, str], float]) -> EdfSignal:
    samples = number(fields["samples"], f"the samples of {fields['label'] or 'a signal'} in a data record")
    return EdfSignal(
        label=fields["label"],
        unit=fields["unit"],
        samples=max(int(samples), 0),
        physical=(_value(fields["physical_min"]), _value(fields["physical_max"])),
        digital=(_value(fields["digital_min"]), _value(fields["digital_max"])),
    )


def _value(text: str) -> float:
    """Return the number that a text writes, NaN if it is none. Some programs write a decimal comma."""
    try:
        return float(text.strip("\x00 ").replace(",", "."))
    except ValueError:
        return math.nan


def _numbers(taken_for: str) -> Callable[[str, str], float]:
    """Return a function that reads a number of the header, or refuses the file."""

    def number(text: str, what: str) -> float:
        value = _value(text)
        if not math.isfinite(value):
            raise UnreadableFile(f"{taken_for} has {text.strip()!r} for {what}: export the file again")
        return value

    return number


def _second_word(patient: str) -> str:
    """Return the sex of EDF+'s patient field, which is 'code sex birthdate name'."""
    words = patient.split()
    return words[1] if len(words) > 1 else ""


def _started_at(date_and_time: str, recording: str) -> datetime | None:
    """Return when the recording began, by the field 'dd.mm.yyhh.mm.ss' and, where it is given, the full date."""
    try:
        year, month, day = _date(date_and_time[:8], _STARTDATE.search(recording))
        hour, minute, second = (int(digits) for digits in date_and_time[8:].strip("\x00 ").split("."))
        known = (year, month, day) != _UNKNOWN_DATE and year <= LAST_YEAR
        return datetime(year, month, day, hour, minute, second) if known else None  # noqa: DTZ001 -- the file names no zone
    except ValueError:
        return None


def _date(short: str, full: re.Match[str] | None) -> tuple[int, int, int]:
    """Return year, month and day."""
    if full:
        return int(full[3]), _MONTHS.index(full[2].upper()) + 1, int(full[1])
    day, month, year = (int(digits) for digits in short.split("."))
    return year + (1900 if year >= _CLIPPING_YEAR else 2000), month, day
