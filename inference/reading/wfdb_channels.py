"""The channels of an ordinary WFDB record: as many frames as a message holds, in mV, on one time line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.leads import standard_name
from schemas.ecg_record import MAX_STEP, Remark
from schemas.errors import UnreadableFile
from schemas.record_limits import BYTES_PER_SAMPLE, MAX_SAMPLE_BYTES

from .recording import Channel
from .units import millivolts_per
from .wfdb_files import Group, find_group, group_signals
from .wfdb_flac import FLAC_BITS
from .wfdb_header import Header, Signal, misread
from .wfdb_samples import SAMPLE_FORMATS, Integers


@dataclass(frozen=True, slots=True)
class Stretch:
    """The beginning of a record.

    Attributes:
        channels: of the signals, in the order of the header. Those that are no leads have no values, but a length.
        frames: that were read.
        of_frames: that the record has.
        remarks: the doubts about them.
    """

    channels: tuple[Channel, ...]
    frames: int
    of_frames: int
    remarks: tuple[Remark, ...]


def read_stretch(header: Header, path: Path, frames: int | None = None) -> Stretch:
    """Return the beginning of an ordinary record.

    Args:
        header: of the record.
        path: of the header.
        frames: how many are wanted; by default, as many as a message holds.

    Raises:
        UnreadableFile: a signal file that holds a lead is missing, too short, or of an unknown format.
    """
    groups = [find_group(group, path) for group in group_signals(header.signals, path) if any(map(is_lead, group))]
    of_frames = _frames_of(header, groups, path)
    taken = min(of_frames, most_frames(header.signals), *(group.most_frames for group in groups), frames or of_frames)
    if groups and not taken:
        raise misread(path, f"its signal files hold no frame: {', '.join(group.path.name for group in groups)}")
    channels: dict[int, Channel] = {}
    damaged: list[str] = []
    for group in groups:
        for signal, digital in zip(group.signals, group.read(taken), strict=True):
            if is_lead(signal):
                channels[id(signal)] = _read(signal, digital, header)
                if taken == header.frames and _is_damaged(signal, digital):
                    damaged.append(signal.name)
    placed = (channels.get(id(signal)) or unread(signal, header, taken) for signal in header.signals)
    return Stretch(tuple(placed), taken, of_frames, _remarks(header, damaged))


def is_lead(signal: Signal) -> bool:
    """Return whether a signal is one of the 12 leads."""
    return standard_name(signal.name) is not None


def most_frames(signals: Iterable[Signal]) -> int:
    """Return how many frames of the leads a message holds."""
    samples = sum(signal.samples_per_frame for signal in signals if is_lead(signal))
    return MAX_SAMPLE_BYTES // BYTES_PER_SAMPLE // max(samples, 1)


def _frames_of(header: Header, groups: Sequence[Group], path: Path) -> int:
    """Return how many frames the record has. header(5) lets a header leave that to its signal files."""
    if not groups:
        if any(map(is_lead, header.signals)):
            raise misread(path, "it names no signal file for its leads")
        return header.frames or 0
    held, shortest = min((group.frames(), group.path.name) for group in groups)
    if header.frames is not None and held < header.frames:
        sentence = f"it announces {header.frames} frames, but {shortest} holds {held}: copy the signal file again"
        raise UnreadableFile(f"{path} cannot be read as an ECG: {sentence}")
    return held if header.frames is None else header.frames


def unread(signal: Signal, header: Header, frames: int, start_s: float = 0.0) -> Channel:
    """Return a channel of so many frames that has no samples and takes no memory."""
    nothing = np.broadcast_to(np.float64(np.nan), frames * signal.samples_per_frame)
    return Channel(signal.name, nothing, header.rate_hz * signal.samples_per_frame, start_s)


def _read(signal: Signal, digital: Integers, header: Header) -> Channel:
    """Return the channel of a lead. Frames that lie before the record's first one come at negative times."""
    scale_mv = millivolts_per(signal.units)
    unusable = "" if scale_mv is not None else f"in {signal.units!r}, which is no known unit of voltage"
    step_mv = (scale_mv or 1.0) / abs(signal.gain)
    steps = _steps(signal, digital) if scale_mv == 1.0 else None
    return Channel(
        name=signal.name,
        samples=_millivolts(signal, digital, scale_mv or 1.0) if steps is None else steps,
        rate_hz=header.rate_hz * signal.samples_per_frame,
        start_s=-signal.skew / header.rate_hz,
        step_uv=step_mv * 1e3 if signal.baseline.is_integer() else None,
        unusable=unusable,
        steps_per_mv=None if steps is None else abs(signal.gain),
    )


def _steps(signal: Signal, digital: Integers) -> Integers | None:
    """Return the samples as an int16 holds them from 0 mV on, or None if they are no such steps, or one is missing."""
    if not signal.baseline.is_integer() or not digital.size:
        return None
    lowest, highest, baseline = int(digital.min()), int(digital.max()), int(signal.baseline)
    mark = _mark(signal.format)
    if mark is not None and lowest <= mark:
        return None
    if max(highest - baseline, baseline - lowest) > MAX_STEP:
        return None
    if not baseline and signal.gain > 0:
        return digital.astype(np.int16, copy=False)
    steps = digital.astype(np.int64) - baseline
    return (steps if signal.gain > 0 else -steps).astype(np.int16)


def _millivolts(signal: Signal, digital: Integers, scale_mv: float) -> NDArray[np.float64]:
    values = digital.astype(np.float64)
    if signal.baseline:
        values -= signal.baseline
    values /= signal.gain
    if scale_mv != 1.0:
        values *= scale_mv
    mark = _mark(signal.format)
    if mark is not None and (missing := digital == mark).any():
        values[missing] = np.nan
    return values


def _mark(number: str) -> int | None:
    """Return the sample that stands for none."""
    known = SAMPLE_FORMATS.get(number)
    return known.missing if known else -(1 << (FLAC_BITS[number] - 1))


def _is_damaged(signal: Signal, digital: Integers) -> bool:
    """Return whether a signal that was read to its end has another checksum. Tools that compute none write 0."""
    return bool(signal.checksum) and (int(digital.sum(dtype=np.int64)) - (signal.checksum or 0)) % (1 << 16) != 0


def _remarks(header: Header, damaged: Sequence[str]) -> tuple[Remark, ...]:
    leads = [signal for signal in header.signals if is_lead(signal)]
    remarks = []
    if damaged:
        sentence = f"the file may be damaged, for its header has another checksum of {', '.join(damaged)}"
        remarks.append(Remark("file_checksum", sentence))
    if bare := ", ".join(signal.name for signal in leads if not signal.calibrated):
        remarks.append(Remark("uncalibrated", f"the header has no gain, so 200 steps were taken for 1 mV: {bare}"))
    if foreign := ", ".join(f"{lead.name} in {lead.units!r}" for lead in leads if millivolts_per(lead.units) is None):
        remarks.append(Remark("unknown_unit", f"left out, for the unit is no known one of voltage: {foreign}"))
    return tuple(remarks)
