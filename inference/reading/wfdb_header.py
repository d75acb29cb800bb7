"""The text of a WFDB header: what header(5) says a record line, its signal or segment lines and its comments mean.

Where header(5) leaves something open, a header means what the Python package `wfdb` takes it for. A test holds that.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from schemas.errors import UnreadableFile

MAX_HEADER_BYTES = 2**20
DEFAULT_RATE_HZ = 250.0
DEFAULT_GAIN = 200.0
EXTREME = 1e12
"""A gain or a baseline beyond it is none of an ECG, and would overflow."""
NO_FILE = "~"
"""Stands for a signal, or a segment, that has no samples."""
NULL_FORMAT = "0"
SLOWEST_HZ, FASTEST_HZ = 1e-4, 1e9
"""Beyond these, a rate is a slip, and times that are computed from it overflow."""
LONGEST_TOKEN = 64
"""No field of a line but a name is longer. It bounds the numbers that are read."""

_LINE_END = re.compile(r"\r\n|\r|\n")
_NAME = re.compile(r"(\S+?)(?:/([0-9]{1,9}))?")
_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_RATE = re.compile(rf"({_NUMBER})(?:/.*)?")
_INTEGER = re.compile(r"([+-]?[0-9]{1,18})(?:\.0*)?")
_FIELD = r"(?:\s+(?P<{}>[+-]?[0-9]{{1,18}})(?:\.0*)?(?=\s|$)"
_SIGNAL = re.compile(
    r"(?P<file>\S+)\s+(?P<format>[0-9]{1,4})"
    r"(?:x(?P<per_frame>[0-9]{1,6}))?(?::(?P<skew>[0-9]{1,9}))?(?:\+(?P<offset>[0-9]{1,18}))?(?=\s|$)"
    rf"(?:\s+(?P<gain>{_NUMBER})(?:\((?P<baseline>{_NUMBER})\))?(?:/(?P<units>\S*))?(?=\s|$)"
    + "".join(map(_FIELD.format, ("resolution", "zero", "initial", "checksum", "block")))
    + r")?)?)?)?)?)?\s*(?P<name>.*)"
)
_LOOKS_NUMERIC = re.compile(r"[0-9+.(-]")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:\.([0-9]{1,6}))?")
_DATE = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})")
_NAMED_MONTH = re.compile(r"([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})")
"""The archives of the PhysioNet Challenges write the date so, before the time."""
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FIRST_YEAR, _LAST_YEAR = 1900, 2999


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal line.

    Attributes:
        file: the name of its signal file; `NO_FILE` where it has none.
        format: the number of the sample format.
        samples_per_frame: how many samples of it a frame holds.
        skew: how many frames of it lie before the record's first frame.
        byte_offset: of the first sample in the file. In FLAC files it counts samples.
        gain: steps of the converter a physical unit. A negative one turns the signal over.
        calibrated: whether the header gives a gain.
        baseline: the step at 0 physical units.
        units: the physical unit.
        initial: the value before the first difference, where the format keeps differences.
        checksum: the sum of all samples, of which the lowest 16 bits count; None where the header gives none.
        name: as the header writes it; empty where it gives none.
    """

    file: str
    format: str
    samples_per_frame: int = 1
    skew: int = 0
    byte_offset: int = 0
    gain: float = DEFAULT_GAIN
    calibrated: bool = False
    baseline: float = 0.0
    units: str = "mV"
    initial: int = 0
    checksum: int | None = None
    name: str = ""

    @property
    def has_samples(self) -> bool:
        """Whether there are samples of it; a layout and a null record list signals without any."""
        return self.file != NO_FILE and self.format != NULL_FORMAT


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment line: a record's name, or `NO_FILE` for a gap, and how many frames it has."""

    name: str
    frames: int


@dataclass(frozen=True, slots=True)
class Header:
    """A header.

    Attributes:
        rate_hz: frames a second.
        frames: of the record; None where the header does not say.
        recorded_at: when the record begins, without a time zone.
        signals: of an ordinary record, in order.
        segments: of a record of several segments, in order; None of an ordinary record.
        comments: the text of the comment lines, line by line.
    """

    rate_hz: float
    frames: int | None
    recorded_at: datetime | None
    signals: tuple[Signal, ...]
    segments: tuple[Segment, ...] | None
    comments: tuple[str, ...]


def parse_header(content: bytes, path: Path) -> Header:
    """Return what a header says.

    Args:
        content: of the header file.
        path: of the header file, for the words of errors.

    Raises:
        UnreadableFile: it is no header, or a line of it cannot be understood.
    """
    lines, comments = _lines(content)
    if not lines:
        raise misread(path, "it has no record line: the file is empty, or holds comments alone")
    name, n_signals, rate_hz, frames, recorded_at = _record_line(lines[0], path)
    described = lines[1:]
    if name[1] is not None:
        segments = tuple(_segment_line(line, path) for line in _first(described, int(name[1]), "segment", path))
        return Header(rate_hz, frames, recorded_at, (), segments, comments)
    signals = tuple(_signal_line(line, path) for line in _first(described, n_signals, "signal", path))
    return Header(rate_hz, frames, recorded_at, signals, None, comments)


def misread(path: Path, found: str) -> UnreadableFile:
    """Return the refusal of a file that was read as a WFDB header, in which something else was found."""
    return UnreadableFile(f"{path} was read as a WFDB header, and {found}")


def _lines(content: bytes) -> tuple[list[str], tuple[str, ...]]:
    """Return the lines that say something, and the text of the comment lines."""
    lines, comments = [], []
    for line in _LINE_END.split(_text(content)):
        stripped = line.strip()
        if stripped.startswith("#"):
            comments.append(stripped[1:].strip())
        elif stripped:
            lines.append(stripped)
    return lines, tuple(comments)


def _text(content: bytes) -> str:
    """Return the text. header(5) knows ASCII alone; what is beyond it was written as UTF-8, or by older tools."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _first(lines: list[str], wanted: int, kind: str, path: Path) -> list[str]:
    """Return the lines that the record line announces. header(5) has further ones passed over."""
    if len(lines) < wanted:
        raise misread(path, f"its record line announces {wanted} {kind}s, but it has lines for {len(lines)} alone")
    return lines[:wanted]


def _record_line(line: str, path: Path) -> tuple[tuple[str, str | None], int, float, int | None, datetime | None]:
    first, *tokens = (token[:LONGEST_TOKEN] for token in line.split(maxsplit=6)[:6])
    name = _NAME.fullmatch(first)
    n_signals = _integer(tokens[0]) if tokens else None
    if name is None or n_signals is None or n_signals < 0:
        raise misread(path, "its first line is no record line, such as '100 12 500 5000' for 12 signals at 500 Hz")
    rate_hz = _rate(tokens[1], path) if len(tokens) > 1 else DEFAULT_RATE_HZ
    frames = _integer(tokens[2]) if len(tokens) > 2 else None
    return (name[1], name[2]), n_signals, rate_hz, frames if frames and frames > 0 else None, _moment(tokens[3:])


def _rate(token: str, path: Path) -> float:
    found = _RATE.fullmatch(token)
    rate_hz = float(found[1]) if found else math.nan
    if not SLOWEST_HZ <= rate_hz <= FASTEST_HZ:
        raise misread(path, f"its record line gives the rate as {token!r}: write the frames a second, such as 500")
    return rate_hz


def _moment(tokens: list[str]) -> datetime | None:
    """Return the time and date at the end of a record line, in either order, or None without both."""
    time = next(filter(None, map(_TIME.fullmatch, tokens)), None)
    days = [_day(token) for token in tokens]
    year, month, day = next(filter(None, days), (0, 0, 0))
    if time is None or not _FIRST_YEAR <= year <= _LAST_YEAR:
        return None
    try:
        return datetime(  # noqa: DTZ001 - a header names no time zone
            year, month, day, int(time[1]), int(time[2]), int(time[3]), int((time[4] or "").ljust(6, "0"))
        )
    except ValueError:
        return None


def _day(token: str) -> tuple[int, int, int] | None:
    """Return year, month and day."""
    if numbers := _DATE.fullmatch(token):
        return int(numbers[3]), int(numbers[2]), int(numbers[1])
    named = _NAMED_MONTH.fullmatch(token)
    if named and named[2].lower() in _MONTHS:
        return int(named[3]), _MONTHS.index(named[2].lower()) + 1, int(named[1])
    return None


def _segment_line(line: str, path: Path) -> Segment:
    tokens = line.split()
    frames = _integer(tokens[1]) if len(tokens) > 1 else None
    if frames is None or frames < 0:
        raise misread(
            path, f"{line[:LONGEST_TOKEN]!r} is no segment line: a segment's record and its length are needed"
        )
    return Segment(tokens[0], frames)


def _signal_line(line: str, path: Path) -> Signal:
    """Return a signal. Fields at the end may be absent; what is no number where one is due is the name."""
    found = _SIGNAL.fullmatch(line)
    if found is None or found["per_frame"] == "0":
        raise misread(path, f"{line[:LONGEST_TOKEN]!r} is no signal line: a signal file and its format are needed")
    if found["gain"] is None and _LOOKS_NUMERIC.match(found["name"]):
        raise misread(path, f"{found['name'].split()[0][:LONGEST_TOKEN]!r} is no gain, such as 200(0)/mV")
    gain, adc_zero = float(found["gain"] or 0), int(found["zero"] or 0)
    baseline = float(adc_zero if found["baseline"] is None else found["baseline"])
    if (gain and not 1 / EXTREME < abs(gain) < EXTREME) or abs(baseline) > EXTREME:
        raise misread(path, f"a gain of {found['gain']}({baseline:g}) is that of no ECG")
    return Signal(
        file=found["file"],
        format=found["format"],
        samples_per_frame=int(found["per_frame"] or 1),
        skew=int(found["skew"] or 0),
        byte_offset=int(found["offset"] or 0),
        gain=gain or DEFAULT_GAIN,
        calibrated=bool(gain),
        baseline=baseline,
        units=found["units"] or "mV",
        initial=adc_zero if found["initial"] is None else int(found["initial"]),
        checksum=None if found["checksum"] is None else int(found["checksum"]),
        name=found["name"],
    )


def _integer(token: str) -> int | None:
    found = _INTEGER.fullmatch(token)
    return int(found[1]) if found else None
