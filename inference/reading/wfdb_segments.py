"""WFDB records of several segments: those segments are read that make the first ten seconds of 12 leads.

A segment is an ordinary record with a header of its own. In a record of variable layout, the segments have different
signals, and the first one only lists them all. Between segments there may be gaps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from inference.gate import LIMITS
from inference.leads import standard_name
from inference.waveform import MAX_DURATION_S
from schemas.ecg_record import LEADS, Remark
from schemas.errors import UnreadableFile

from .assemble import describe
from .candidates import INDEPENDENT, TOLERANCE
from .content import SPECIAL_FILE, printable, read_content, refuse_huge
from .joined import LONGEST_GAP_S
from .recording import Channel, Part
from .wfdb_channels import is_lead, most_frames, read_stretch, unread
from .wfdb_files import find_beside
from .wfdb_header import MAX_HEADER_BYTES, NO_FILE, Header, Segment, Signal, misread, parse_header

MAX_SEGMENTS = 10_000
MAX_SPAN_S = 1e9
"""No recording is longer."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment with samples.

    Attributes:
        number: its place in the record, from 1 on.
        start: its first frame in the record.
        frames: how many it has.
        header: its own.
        path: of its header.
    """

    number: int
    start: int
    frames: int
    header: Header
    path: Path

    @property
    def leads(self) -> tuple[Signal, ...]:
        """The signals that are leads, in the order of the standard: each segment may have an order of its own."""
        signals = (signal for signal in self.header.signals if is_lead(signal) and signal.has_samples)
        return tuple(sorted(signals, key=lambda signal: LEADS.index(standard_name(signal.name) or "")))


@dataclass(slots=True)
class Run:
    """Segments that follow each other without a long gap and have the same leads."""

    pieces: list[Piece] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """The frames from the beginning of the first segment to the end of the last one."""
        return self.pieces[-1].start + self.pieces[-1].frames - self.pieces[0].start

    def duration_s(self, rate_hz: float) -> float:
        """How long it lasts."""
        return self.frames / rate_hz

    def is_continued_by(self, piece: Piece, rate_hz: float) -> bool:
        """Whether a segment has the same leads, and comes after no gap that parts two recordings."""
        gap = piece.start - self.pieces[0].start - self.frames
        is_near = gap <= min(LONGEST_GAP_S * rate_hz, self.pieces[-1].frames)
        return is_near and list(map(_kind, self.pieces[-1].leads)) == list(map(_kind, piece.leads))


def read_segments(header: Header, path: Path) -> tuple[tuple[Part, ...], tuple[Remark, ...], Header]:
    """Return the segments to take as parts, the doubts about them, and the header of the first one.

    Raises:
        UnreadableFile: no segments in a row hold 12 leads for long enough, or one that does cannot be read.
    """
    runs = _runs(header, path)
    usable = [
        run for run in runs if _is_complete(run) and run.duration_s(header.rate_hz) * TOLERANCE >= LIMITS.min_duration_s
    ]
    if not usable:
        needed = f"{LIMITS.min_duration_s:g} s of 12 leads at one time"
        listed = describe([_listed(run, header.rate_hz) for run in runs])
        raise UnreadableFile(
            f"{path} was read as a WFDB record of several segments and holds no {needed}. It holds: {listed}"
        )
    run = next((run for run in usable if run.duration_s(header.rate_hz) * TOLERANCE >= MAX_DURATION_S), usable[0])
    parts, remarks = _read_run(run, header.rate_hz)
    return parts, (*remarks, *_others(run, usable)), run.pieces[0].header


def _runs(header: Header, path: Path) -> list[Run]:
    runs: list[Run] = []
    for piece in _pieces(header, path):
        if runs and runs[-1].is_continued_by(piece, header.rate_hz):
            runs[-1].pieces.append(piece)
        else:
            runs.append(Run([piece]))
    return runs


def _pieces(header: Header, path: Path) -> Iterator[Piece]:
    """Yield the segments that have samples. A gap has none, and neither has a layout or a null record."""
    segments = header.segments or ()
    if len(segments) > MAX_SEGMENTS or sum(segment.frames for segment in segments) / header.rate_hz > MAX_SPAN_S:
        raise misread(path, f"it describes {len(segments)} segments: more than a recording has")
    headers: dict[str, tuple[Header, Path]] = {}
    start = 0
    for number, segment in enumerate(segments, start=1):
        if segment.name != NO_FILE and segment.frames:
            if segment.name not in headers:
                headers[segment.name] = _header_of(segment, header, path)
            own, place = headers[segment.name]
            if any(signal.has_samples for signal in own.signals):
                yield Piece(number, start, segment.frames, own, place)
        start += segment.frames


def _header_of(segment: Segment, whole: Header, path: Path) -> tuple[Header, Path]:
    """Return the header of a segment.

    Raises:
        UnreadableFile: it is missing, or contradicts the record's header.
    """
    place = find_beside(path, f"{segment.name}.hea", "segment header")
    header = read_header(place)
    if header.segments is not None:
        raise misread(path, f"its segment {segment.name!r} has segments itself, which header(5) rules out")
    if header.rate_hz != whole.rate_hz:
        rates = f"{header.rate_hz:g} Hz, and the record {whole.rate_hz:g} Hz"
        raise misread(path, f"its segment {segment.name!r} has {rates}")
    if header.frames not in (None, segment.frames):
        raise misread(
            path, f"its segment {segment.name!r} has {header.frames} frames, but is listed with {segment.frames}"
        )
    return header, place


def read_header(path: Path) -> Header:
    """Return the header of a file.

    Raises:
        UnreadableFile: it is too large, or no header.
        OSError: it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise UnreadableFile(f"{printable(path)} is {SPECIAL_FILE}", code="special_file")
    refuse_huge(path)
    content = read_content(path)
    if len(content) > MAX_HEADER_BYTES:
        raise misread(path, f"it has more than {MAX_HEADER_BYTES >> 20} MiB: a header is a short text")
    return parse_header(content, path)


def _kind(signal: Signal) -> tuple[str | None, int]:
    return standard_name(signal.name), signal.samples_per_frame


def _is_complete(run: Run) -> bool:
    return {standard_name(signal.name) for signal in run.pieces[0].leads} >= INDEPENDENT


def _read_run(run: Run, rate_hz: float) -> tuple[tuple[Part, ...], list[Remark]]:
    """Return the segments of a run, as many as a message holds."""
    room = most_frames(run.pieces[0].leads)
    parts: list[Part] = []
    remarks: list[Remark] = []
    first = run.pieces[0].start
    for piece in run.pieces:
        left = room - (piece.start - first)
        if left <= 0:
            break
        stretch = read_stretch(piece.header, piece.path, min(left, piece.frames))
        parts.append(_part(piece, stretch.channels, rate_hz))
        remarks += stretch.remarks
    if run.frames > room:
        sentence = f"only the first {room / rate_hz:.4g} s of {run.duration_s(rate_hz):.4g} s fit a record"
        remarks.append(Remark("cut_to_fit", sentence))
    return tuple(parts), remarks


def _part(piece: Piece, channels: Sequence[Channel], rate_hz: float) -> Part:
    """Return the leads of a segment as a part, in the standard's order and at their time in the record."""
    start_s = piece.start / rate_hz
    leads = {id(signal): place for place, signal in enumerate(piece.leads)}
    placed = {
        leads[id(signal)]: channel
        for signal, channel in zip(piece.header.signals, channels, strict=True)
        if id(signal) in leads
    }
    moved = (
        replace(channel, name=standard_name(channel.name) or channel.name, start_s=channel.start_s + start_s)
        for _, channel in sorted(placed.items(), key=lambda item: item[0])
    )
    return Part(_title([piece]), tuple(moved))


def _others(run: Run, usable: Sequence[Run]) -> tuple[Remark, ...]:
    if len(usable) == 1:
        return ()
    sentence = f"the file holds {len(usable)} usable ECGs: {_title(run.pieces)} was taken"
    return (Remark("several_recordings", sentence),)


def _listed(run: Run, rate_hz: float) -> Part:
    """Return a run as a part without samples, for an error."""
    first = run.pieces[0]
    channels = tuple(unread(signal, first.header, run.frames, first.start / rate_hz) for signal in first.header.signals)
    return Part(_title(run.pieces), channels)


def _title(pieces: Sequence[Piece]) -> str:
    first, last = pieces[0].number, pieces[-1].number
    return f"segment {first}" if first == last else f"segments {first} to {last}"
