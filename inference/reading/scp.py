"""SCP-ECG (EN 1064): the rhythm of section 6, with the times of section 3, and what section 1 says of the patient."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from inference.lead_names import SCP_NUMBERS
from schemas.ecg_record import Remark
from schemas.errors import UnreadableFile

from .patient import plausible_age
from .recording import Channel, Part, Recording
from .scp_huffman import BrokenCode, Table, decode, tables_of
from .scp_sections import LONG_RHYTHM, Sections, sections_of

FORMAT_NAME = "SCP-ECG"
AGE, SEX, DATE, TIME, HISTORY, ZONE = 4, 8, 25, 26, 32, 34
"""The tags of section 1 that are read. Names, numbers and the birth date are not among them."""
READ_TAGS = frozenset({AGE, SEX, DATE, TIME, HISTORY, ZONE})
LAST_TAG = 255
YEARS = {1: 1.0, 2: 1 / 12, 3: 7 / 365.25, 4: 1 / 365.25, 5: 1 / 8766}
SEXES: Mapping[int, Literal["female", "male"]] = {1: "male", 2: "female"}
PACEMAKER = 42
"""The code of a pacemaker in the table 0 of medical histories."""
NO_ZONE = 0x7FFF
MISSING = -32768
"""A sample that is written as it is and has this value is missing."""

VERSION_3 = 30
"""From this version on, no rhythm is bimodal, and its byte means nothing."""
SUBTRACTED, SIMULTANEOUS = 0b1, 0b100
"""Flags of section 3: beats were subtracted from the rhythm; all leads were recorded at one time."""
MAX_LEADS = 64
LEAD, BEAT = struct.Struct("<IIB"), struct.Struct("<HIII")


class _Unreadable(Exception):  # noqa: N818 -- it names the condition, as the others do
    """A section contradicts itself, or is of a kind that is not read; says which."""


@dataclass(frozen=True, slots=True)
class _Lead:
    """A lead of section 3: the numbers of its first and last samples, and which lead it is."""

    first: int
    last: int
    number: int

    @property
    def name(self) -> str:
        """The lead's name, or its number if it is none of the 12."""
        return SCP_NUMBERS.get(self.number, f"SCP-ECG lead {self.number}")

    @property
    def samples(self) -> int:
        """How many samples section 3 announces."""
        return max(self.last - self.first + 1, 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Signals:
    """What section 5 or 6 holds: for each lead integers in steps of so many nanovolts."""

    rows: Sequence[NDArray[np.int64]]
    step_nv: int
    interval_us: int
    missing: Sequence[NDArray[np.bool_]]


def read_scp(content: bytes, path: Path) -> Recording:
    """Return the rhythm of an SCP-ECG content.

    Raises:
        UnreadableFile: it holds no rhythm that is read, or contradicts itself.
    """
    sections = sections_of(content, path)
    try:
        return _recording(sections)
    except (_Unreadable, BrokenCode) as error:
        raise UnreadableFile(
            f"{path} was read as {FORMAT_NAME}, but {error}: export the ECG again, or otherwise"
        ) from error


def _recording(sections: Sections) -> Recording:
    leads, flags = _leads(sections[3])
    if not sections[6]:
        long = "its rhythm is the long one of version 3 (section 12), which is not read"
        raise _Unreadable(long if LONG_RHYTHM in sections.bodies else "it has no rhythm (section 6)")
    tables = tables_of(sections[2]) if 2 in sections.bodies else ()
    rhythm = _rhythm(sections, leads, tables, flags)
    tags = _tags(sections[1])
    return Recording(
        FORMAT_NAME,
        (Part("the rhythm of section 6", tuple(_channels(leads, rhythm))),),
        recorded_at=_recorded_at(tags),
        age_years=_age(tags.get(AGE, [b""])[0]),
        sex=SEXES.get(tags.get(SEX, [b""])[0][:1].ljust(1, b"\0")[0]),
        paced=True if any(value[:1] == b"\0" and PACEMAKER in value[1:] for value in tags.get(HISTORY, [])) else None,
        remarks=(*_of_checksums(sections), *_of_lengths(leads, rhythm), *_of_simultaneity(leads, flags)),
    )


def _leads(section: bytes) -> tuple[list[_Lead], int]:
    if len(section) < 2 + LEAD.size or len(section) < 2 + LEAD.size * section[0]:
        raise _Unreadable("its list of leads (section 3) is missing or cut short")
    if not 1 <= section[0] <= MAX_LEADS:
        raise _Unreadable(f"it announces {section[0]} leads")
    return [_Lead(*LEAD.unpack_from(section, 2 + LEAD.size * place)) for place in range(section[0])], section[1]


def _rhythm(sections: Sections, leads: Sequence[_Lead], tables: Sequence[Table], flags: int) -> _Signals:
    section = sections[6]
    if len(section) > 5 and section[5] and sections.version < VERSION_3:
        raise _Unreadable(
            "its rhythm is in bimodal compression, with fewer samples between the beats, which is not read"
        )
    rhythm = _signals(section, 6, [lead.samples for lead in leads], tables)
    return _with_beats(rhythm, sections, leads, tables) if flags & SUBTRACTED else rhythm


def _signals(section: bytes, number: int, counts: Sequence[int], tables: Sequence[Table]) -> _Signals:
    """Return the signals of section 5 or 6: after Huffman's code, if there are tables, and without differences."""
    start = 6 + 2 * len(counts)
    if len(section) < start:
        raise _Unreadable(f"section {number} is cut short")
    step_nv, interval_us, differences = struct.unpack_from("<HHB", section)
    if not interval_us or differences > 2:
        what = f"a sample each {interval_us} µs, and differences of the order {differences}"
        raise _Unreadable(f"section {number} has {what}")
    rows = []
    for size, count in zip(_sizes(section, number, counts, coded=bool(tables)), counts, strict=True):
        data = section[start : start + size]
        rows.append(decode(data, count, tables) if tables else np.frombuffer(data[: len(data) // 2 * 2], "<i2")[:count])
        start += size
    missing = [row == MISSING if not tables and not differences else np.zeros(len(row), bool) for row in rows]
    return _Signals([_summed(row.astype(np.int64), differences) for row in rows], step_nv, interval_us, missing)


def _sizes(section: bytes, number: int, counts: Sequence[int], *, coded: bool) -> list[int]:
    """Return the bytes of each lead. The file writes them in 16 bits, which longer leads overflow."""
    sizes = list(struct.unpack_from(f"<{len(counts)}H", section, 6))
    held, plain = len(section) - 6 - 2 * len(counts), [2 * count for count in counts]
    if not coded and held == sum(plain) and all((a - b) % 65536 == 0 for a, b in zip(sizes, plain, strict=True)):
        return plain
    if held < sum(sizes):
        raise _Unreadable(f"section {number} has {held:,} bytes of samples and announces {sum(sizes):,}")
    if held - sum(sizes) >= 65536:
        raise _Unreadable(f"section {number} has leads of more bytes than {FORMAT_NAME} can write down")
    return sizes


def _summed(values: NDArray[np.int64], differences: int) -> NDArray[np.int64]:
    """Return the samples of which the values are the first or second differences, which wrap around at 16 bits."""
    if differences == 2 and len(values) > 1:
        values = np.concatenate([values[:1], np.cumsum(np.concatenate([values[1:2] - values[:1], values[2:]]))])
    return np.cumsum(values).astype(np.int16).astype(np.int64) if differences else values


def _with_beats(rhythm: _Signals, sections: Sections, leads: Sequence[_Lead], tables: Sequence[Table]) -> _Signals:
    """Return the rhythm with the reference beat added where it was subtracted: in the zones of section 4."""
    length_ms, fiducial, beats = struct.unpack("<HHH", sections[4][:6].ljust(6, b"\0"))
    if not sections[5] or not length_ms or len(sections[4]) < 6 + BEAT.size * beats:
        raise _Unreadable("a beat was subtracted from its rhythm, and the beat (sections 4 and 5) is missing")
    (interval_us,) = struct.unpack_from("<H", sections[5].ljust(4, b"\0"), 2)
    if interval_us != rhythm.interval_us:
        raise _Unreadable("a beat of another sample rate was subtracted from its rhythm, which is not read")
    beat = _signals(sections[5], 5, [round(length_ms * 1000 / interval_us)] * len(leads), tables)
    step_nv = math.gcd(beat.step_nv, rhythm.step_nv)
    if not step_nv or not (beat.step_nv and rhythm.step_nv):
        raise _Unreadable("its rhythm or the beat that was subtracted from it has no scale")
    rows = [row * (rhythm.step_nv // step_nv) for row in rhythm.rows]
    zones = [BEAT.unpack_from(sections[4], 6 + BEAT.size * place) for place in range(beats)]
    for row, shape, lead in zip(rows, beat.rows, leads, strict=True):
        for kind, first, middle, last in zones:
            if kind == 0:
                _add(row, lead.first, shape * (beat.step_nv // step_nv), middle - fiducial + 1, (first, last))
    return _Signals(rows, step_nv, rhythm.interval_us, rhythm.missing)


def _add(
    row: NDArray[np.int64], row_first: int, beat: NDArray[np.int64], beat_first: int, zone: tuple[int, int]
) -> None:
    """Add a beat to a row within a zone. All places are numbers of samples of the recording."""
    first = max(zone[0], row_first, beat_first)
    end = min(zone[1] + 1, row_first + len(row), beat_first + len(beat))
    if first < end:
        row[first - row_first : end - row_first] += beat[first - beat_first : end - beat_first]


def _channels(leads: Sequence[_Lead], rhythm: _Signals) -> Iterator[Channel]:
    rate_hz, first = 1e6 / rhythm.interval_us, min(1, *(lead.first for lead in leads))
    step_uv = rhythm.step_nv / 1e3
    for lead, row, missing in zip(leads, rhythm.rows, rhythm.missing, strict=True):
        millivolts = np.where(missing, np.nan, row * (step_uv / 1e3))
        start_s = (lead.first - first) / rate_hz
        yield Channel(lead.name, millivolts, rate_hz, start_s, step_uv or None, "" if step_uv else "without a scale")


def _of_checksums(sections: Sections) -> Iterator[Remark]:
    if sections.wrong:
        yield Remark("file_checksum", f"wrong checksums: {', '.join(sections.wrong)}")


def _of_lengths(leads: Sequence[_Lead], rhythm: _Signals) -> Iterator[Remark]:
    """Yield a remark on leads that are shorter than section 3 says; by one sample, if its author counts from 0."""
    lacking = max((lead.samples - (not lead.first) - len(row) for lead, row in zip(leads, rhythm.rows, strict=True)))
    if lacking > 0:
        announced = max(lead.samples for lead in leads)
        yield Remark(
            "file_length", f"the rhythm ends {lacking} samples before the {announced} that section 3 announces"
        )


def _of_simultaneity(leads: Sequence[_Lead], flags: int) -> Iterator[Remark]:
    together = flags >> 3
    if not flags & SIMULTANEOUS and 0 < together < len(leads) and len({lead.first for lead in leads}) == 1:
        sentence = f"section 3 calls {together} leads simultaneous, and gives all {len(leads)} one time"
        yield Remark("doubtful_times", sentence)


def _tags(section: bytes) -> dict[int, list[bytes]]:
    """Return the values of each tag of section 1, as far as the section can be followed."""
    tags: dict[int, list[bytes]] = {}
    place = 0
    while place + 3 <= len(section) and section[place] != LAST_TAG:
        tag, length = struct.unpack_from("<BH", section, place)
        if tag in READ_TAGS:
            tags.setdefault(tag, []).append(section[place + 3 : place + 3 + length])
        place += 3 + length
    return tags


def _recorded_at(tags: Mapping[int, Sequence[bytes]]) -> datetime | None:
    """Return when the recording began; without a zone, where the file names none."""
    day, time = tags.get(DATE, [b""])[0], tags.get(TIME, [b""])[0]
    if len(day) < 4 or len(time) < 3:
        return None
    with suppress(ValueError):
        began = datetime(*struct.unpack_from("<HBB", day), *time[:3])  # noqa: DTZ001 -- its zone follows, if it has one
        return began.replace(tzinfo=_zone(tags.get(ZONE, [b""])[0]))
    return None


def _zone(value: bytes) -> tzinfo | None:
    minutes = struct.unpack_from("<h", value)[0] if len(value) > 1 else NO_ZONE
    return timezone(timedelta(minutes=minutes)) if abs(minutes) < 24 * 60 else None


def _age(value: bytes) -> float | None:
    if len(value) < 3:
        return None
    number, unit = struct.unpack_from("<HB", value)
    return plausible_age(number * YEARS[unit]) if number and unit in YEARS else None
