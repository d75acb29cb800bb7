"""MFER files (ISO 22077-1): frames of samples, each after the definitions that say how it is laid out.

The patient's name, number and birth date are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from inference.lead_names import SCP_NUMBERS
from schemas.ecg_record import Remark
from schemas.errors import UnreadableFile

from . import mfer_definitions as tags
from .content import MAX_FILE_BYTES
from .mfer_definitions import Definition, definitions
from .patient import plausible_age
from .recording import Channel, Part, Recording

ByteOrder: TypeAlias = Literal["big", "little"]
Samples: TypeAlias = NDArray[np.float64]

DATA_TYPES = ("i2", "u2", "i4", "u1", "u2", "i1", "u4", "f4", "f8")
STATUS_TYPE = 4
"""Samples of this type are a monitor's states."""
DEFAULT_HZ = 1000.0
"""The standard's rate, where a file gives none."""
HERTZ, SECONDS = 0, 1
VOLTS = 0
DOMINANT_BEAT = 9
SEXES: dict[int, Literal["female", "male"]] = {1: "male", 2: "female"}
MAX_CHANNELS = 128
LOWEST_HZ, HIGHEST_HZ = 1e-3, 1e6
LARGEST_STEP_V = 1.0
MAX_MILLIVOLTS = 1e9
"""A sample beyond it is none: a type of samples has values for what is no number."""
MAX_FRAMES = 1000
ASSUMED_RATE = Remark("assumed_rate", "the file gives no sample rate: 1000 Hz was taken, which is the standard's")
CUT_SHORT = Remark(
    "file_length", "the file ends within a frame of samples: what is missing is taken as missing samples"
)
MORE_FRAMES = Remark("file_length", f"the file has more than {MAX_FRAMES} frames of samples: the first ones were read")


class _Value(NamedTuple):
    """A value, and the byte order that held where it stands."""

    content: bytes
    order: ByteOrder

    def integer(self, start: int = 0, stop: int | None = None, *, signed: bool = False) -> int:
        return int.from_bytes(self.content[start:stop], self.order, signed=signed)

    def scaled(self) -> tuple[int, float]:
        """Return a unit's code, and the decimal number after it: an exponent of 10, and an integer."""
        exponent = int.from_bytes(self.content[1:2], "big", signed=True)
        return self.content[0], self.integer(2, signed=True) * 10.0**exponent

    def sample(self, kind: np.dtype[Any]) -> float | None:
        """Return a value of the samples' type, in its own byte order; None if it has another length."""
        own = kind.newbyteorder("<" if self.order == "little" else ">")
        return float(np.frombuffer(self.content, own)[0]) if len(self.content) == own.itemsize else None


Values: TypeAlias = dict[int, _Value]


@dataclass(slots=True)
class _State:
    """The definitions that hold at a place of the file: of all channels, and of single ones."""

    order: ByteOrder = "big"
    channels: int = 1
    common: Values = field(default_factory=dict)
    own: dict[int, Values] = field(default_factory=dict)

    def define(self, definition: Definition) -> None:
        if len(definition.value) not in tags.LENGTHS.get(definition.tag, range(MAX_FILE_BYTES)):
            raise UnreadableFile(f"its tag 0x{definition.tag:02X} has a value of {len(definition.value)} bytes")
        values = self.common if definition.channel is None else self.own.setdefault(definition.channel, {})
        if definition.tag == tags.BYTE_ORDER:
            self.order = "little" if definition.value[:1] == b"\x01" else "big"
        elif definition.tag == tags.CHANNELS:
            self.channels, self.own = _Value(definition.value, self.order).integer() or 1, {}
        elif definition.value:
            values[definition.tag] = _Value(definition.value, self.order)
        else:
            values.pop(definition.tag, None)

    def of_channel(self, channel: int) -> Values:
        """Return what holds for a channel. A lead that is defined for all is the first one's."""
        common = self.common if channel == 0 else {tag: it for tag, it in self.common.items() if tag != tags.LEAD}
        return {**common, **self.own.get(channel, {})}


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the samples of one channel lie in a frame: `sequences` times a block."""

    values: Values
    kind: np.dtype[Any]
    block: int
    sequences: int | None
    is_status: bool


def read_mfer(content: bytes, path: Path) -> Recording:
    """Return what an MFER file holds: a part for each frame.

    Raises:
        UnreadableFile: the definitions contradict themselves, or the samples are compressed.
    """
    state, parts, remarks = _State(), list[Part](), dict[Remark, None]()
    end_s = 0.0
    try:
        for definition in definitions(content):
            if definition.tag != tags.SAMPLES:
                state.define(definition)
            elif len(parts) == MAX_FRAMES:
                remarks[MORE_FRAMES] = None
                break
            else:
                remarks |= dict.fromkeys(_remarks(definition, state))
                part = _frame(definition.value, state, end_s, len(parts) + 1)
                parts.append(part)
                end_s = end_s if part.derived else max((_end_s(channel) for channel in part.channels), default=end_s)
    except UnreadableFile as refusal:
        raise UnreadableFile(f"{path} was taken for MFER, but {refusal.detail}: export the file again") from refusal
    if not parts:
        raise UnreadableFile(f"{path} was taken for MFER, but holds no samples: copy or export the file again")
    return Recording(
        format_name="MFER",
        parts=tuple(parts),
        recorded_at=_recorded_at(state.common.get(tags.TIME)),
        age_years=_age(state.common.get(tags.AGE)),
        sex=SEXES.get(state.common[tags.SEX].content[0]) if tags.SEX in state.common else None,
        remarks=tuple(remarks),
    )


def _remarks(frame: Definition, state: _State) -> Iterator[Remark]:
    if not frame.is_whole:
        yield CUT_SHORT
    if any(tags.INTERVAL not in state.of_channel(channel) for channel in range(min(state.channels, MAX_CHANNELS))):
        yield ASSUMED_RATE


def _frame(samples: bytes, state: _State, end_s: float, number: int) -> Part:
    """Return a frame. One whose place is not given follows the frames before it."""
    if state.channels > MAX_CHANNELS:
        raise UnreadableFile(f"it announces {state.channels} channels, more than {MAX_CHANNELS}")
    code = state.common[tags.COMPRESSION].integer(0, 2) if tags.COMPRESSION in state.common else 0
    if code:
        raise UnreadableFile(f"its samples are compressed (code {code}), for which there is no reader")
    pointer = state.common.pop(tags.POINTER, None)
    start_s = pointer.integer(signed=True) / _rate(state.common) if pointer else end_s
    layouts = [_layout(state.of_channel(channel), state.order) for channel in range(state.channels)]
    lines = _lines(samples, layouts)
    channels = (_channel(layout, line, start_s) for layout, line in zip(layouts, lines, strict=True))
    waveform = state.common.get(tags.WAVEFORM)
    derived = waveform is not None and waveform.integer(0, 2) == DOMINANT_BEAT
    return Part(f"frame {number}" + (" (dominant beat)" if derived else ""), tuple(channels), derived)


def _layout(values: Values, order: ByteOrder) -> _Layout:
    code = values[tags.DATA_TYPE].content[0] if tags.DATA_TYPE in values else 0
    if code >= len(DATA_TYPES):
        raise UnreadableFile(f"its samples are of type {code}, for which there is no reader")
    return _Layout(
        values=values,
        kind=np.dtype(DATA_TYPES[code]).newbyteorder("<" if order == "little" else ">"),
        block=values[tags.BLOCK].integer() if tags.BLOCK in values else 1,
        sequences=values[tags.SEQUENCES].integer() if tags.SEQUENCES in values else None,
        is_status=code == STATUS_TYPE,
    )


def _lines(content: bytes, layouts: Sequence[_Layout]) -> list[Samples]:
    """Return the samples of each channel as they are written: in each sequence, one channel's block after the other.

    A channel with fewer sequences than others leaves the later ones to them. Samples that the file lacks are NaN.
    """
    size = sum(layout.block * layout.kind.itemsize for layout in layouts)
    if not all(layout.block for layout in layouts) or size > 2 * len(content):
        raise UnreadableFile(f"a frame has {len(content)} bytes of samples, where one sequence alone takes {size}")
    counts = [-(-len(content) // size) if layout.sequences is None else layout.sequences for layout in layouts]
    pieces: list[list[Samples]] = [[np.empty(0)] for _ in layouts]
    place = done = 0
    for stop in sorted(set(counts)):
        active = [channel for channel, count in enumerate(counts) if count > done]
        row = sum(layouts[channel].block * layouts[channel].kind.itemsize for channel in active)
        rows = min(stop - done, -(-(len(content) - place) // row)) if row and place < len(content) else 0
        table = np.frombuffer(content[place : place + rows * row].ljust(rows * row, b"\x00"), np.uint8).reshape(
            rows, row
        )
        begin = 0
        for channel in active:
            kind, width = layouts[channel].kind, layouts[channel].block * layouts[channel].kind.itemsize
            with np.errstate(invalid="ignore"):
                line = np.ascontiguousarray(table[:, begin : begin + width]).view(kind).ravel().astype(np.float64)
            absent_bytes = place + (rows - 1) * row + begin + width - len(content)
            absent = min(-(-max(absent_bytes, 0) // kind.itemsize), layouts[channel].block) if rows else 0
            line[len(line) - absent :] = np.nan
            pieces[channel].append(line)
            begin += width
        place, done = place + rows * row, stop
    return [np.concatenate(piece) for piece in pieces]


def _channel(layout: _Layout, line: Samples, start_s: float) -> Channel:
    """Return a channel in mV, its samples freed of the value that stands for none."""
    values, kind = layout.values, layout.kind
    null = values[tags.NULL].sample(kind) if tags.NULL in values else None
    offset = values[tags.OFFSET].sample(kind) if tags.OFFSET in values else None
    skew_s = values[tags.SKEW].integer() * 1e-9 if tags.SKEW in values else 0.0
    unit, step = values[tags.SENSITIVITY].scaled() if tags.SENSITIVITY in values else (None, 1.0)
    unusable = _why_unusable(layout, unit, step)
    known = line if null is None else np.where(line == null, np.nan, line)
    with np.errstate(over="ignore", invalid="ignore"):
        millivolts = known if unusable else (known + (offset or 0.0)) * (step * 1e3)
    return Channel(
        name=_name(values.get(tags.LEAD)),
        samples=np.where(np.abs(millivolts) <= MAX_MILLIVOLTS, millivolts, np.nan),
        rate_hz=_rate(values),
        start_s=start_s + skew_s,
        step_uv=None if unusable else step * 1e6,
        unusable=unusable,
    )


def _why_unusable(layout: _Layout, unit: int | None, step: float) -> str:
    if layout.is_status:
        return "a state and no signal"
    if unit not in {None, VOLTS}:
        return f"in a unit that is no voltage (code {unit})"
    return "" if unit == VOLTS and 0 < step <= LARGEST_STEP_V else "without a scale"


def _name(lead: _Value | None) -> str:
    if lead is None:
        return ""
    code = lead.integer(0, 2)
    text = lead.content[2:].decode("utf-8", errors="replace").strip("\x00 ")
    return SCP_NUMBERS.get(code) or text or f"lead of code {code}"


def _rate(values: Values) -> float:
    if tags.INTERVAL not in values:
        return DEFAULT_HZ
    unit, number = values[tags.INTERVAL].scaled()
    rate_hz = number if unit == HERTZ else 1 / number if unit == SECONDS and number > 0 else 0.0
    if not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
        raise UnreadableFile(f"its sample rate is {number:g} in unit {unit}, which is no rate that can be")
    return rate_hz


def _end_s(channel: Channel) -> float:
    return channel.start_s + channel.duration_s


def _recorded_at(time: _Value | None) -> datetime | None:
    """Return the time of recording: year, month, day, hour, minute, second, and what is less."""
    if time is None or len(time.content) < 7:
        return None
    month, day, hour, minute, second = time.content[2:7]
    microseconds = time.integer(7, 9) * 1000 + time.integer(9, 11)
    try:
        return datetime(time.integer(0, 2), month, day, hour, minute, second, min(microseconds, 999_999))  # noqa: DTZ001 -- the file names no zone
    except ValueError:
        return None


def _age(age: _Value | None) -> float | None:
    """Return the age in years. It is known if the years or the days after them are not 0."""
    known = age is not None and any(age.content[:3])
    return plausible_age(age.content[0]) if age is not None and known else None
