"""Makes an ECG record of what a reader found: the part, or the combination of parts, that holds 12 leads for 9 s.

The first part of a file does not stand for the file. A DICOM may hold a median beat before the rhythm, or the limb
leads and the chest leads in two groups. Channels are put on one time line before they are called simultaneous.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta, tzinfo
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.gate import LIMITS
from inference.geometry import MICROVOLTS_PER_STEP
from inference.lead_names import listed
from inference.leads import DERIVATIONS, standard_name
from schemas.ecg_record import LEADS, MAX_STEP, MISSING_SAMPLE, EcgRecord
from schemas.errors import UnreadableFile

from .recording import Channel, Part, Recording

INDEPENDENT = frozenset(LEADS) - set(DERIVATIONS)
"""The leads that no other lead replaces."""
LISTED_PARTS = 8
"""An error lists at most this many parts."""


class Candidate(NamedTuple):
    """Channels that may make the record: of one rate, each lead once, all on one time line."""

    parts: tuple[Part, ...]
    channels: tuple[Channel, ...]

    @property
    def start_s(self) -> float:
        """When the last channel begins."""
        return max(channel.start_s for channel in self.channels)

    @property
    def shared_s(self) -> float:
        """For how long all channels run at once."""
        return min(channel.start_s + channel.duration_s for channel in self.channels) - self.start_s

    @property
    def is_complete(self) -> bool:
        """Whether the 12 leads are there, or can be derived."""
        return {standard_name(channel.name) for channel in self.channels} >= INDEPENDENT

    @property
    def is_usable(self) -> bool:
        """Whether the network could take the channels."""
        return self.is_complete and self.shared_s * (1 + 1e-6) >= LIMITS.min_duration_s


def assemble(recording: Recording, path: Path, zone: tzinfo | None = None) -> EcgRecord:
    """Return the ECG record of a recording, named after its file.

    Args:
        recording: what the reader found.
        path: of the file.
        zone: of the recording's time, where the file names none; None: the zone of this computer.

    Raises:
        UnreadableFile: no part, and no combination of parts, can be an ECG of 12 simultaneous leads. The error lists
            what the file holds.
    """
    candidate = _choose(recording, path)
    millivolts, start_s = _on_one_time_line(candidate)
    samples, step_uv = in_steps(millivolts)
    recorded_at = recording.recorded_at
    if recorded_at is not None:
        recorded_at = recorded_at.replace(tzinfo=zone) if recorded_at.tzinfo is None and zone else recorded_at
        recorded_at = recorded_at.astimezone(recorded_at.tzinfo) + timedelta(seconds=start_s)
    return EcgRecord(
        record_id=path.stem,
        patient_id=recording.patient_id,
        device_id=recording.device_id,
        leads=tuple(standard_name(channel.name) or channel.name for channel in candidate.channels),
        sample_rate_hz=float(candidate.channels[0].rate_hz),
        microvolts_per_step=step_uv,
        samples=samples.tobytes(),
        recorded_at=recorded_at,
        age_years=recording.age_years,
        sex=recording.sex,
        paced=recording.paced,
        remarks=recording.remarks,
    )


def in_steps(millivolts: NDArray[Any]) -> tuple[NDArray[np.int16], float]:
    """Return int16 steps (leads, samples) and the smallest step in µV that fits. NaN becomes `MISSING_SAMPLE`."""
    finite = np.isfinite(millivolts)
    highest_uv = float(np.abs(millivolts[finite]).max(initial=0.0)) * 1e3
    step_uv = max(MICROVOLTS_PER_STEP if highest_uv > MAX_STEP else 1.0, highest_uv / MAX_STEP)
    steps = np.round(np.where(finite, millivolts, 0.0) * (1e3 / step_uv)).clip(-MAX_STEP, MAX_STEP)
    return np.where(finite, steps, MISSING_SAMPLE).astype("<i2"), step_uv


def describe(recording: Recording) -> str:
    """Return what a recording holds, part by part, for an error."""
    listed = [_describe_part(part) for part in recording.parts[:LISTED_PARTS]]
    if more := len(recording.parts) - LISTED_PARTS:
        listed += [f"{more} further parts"] if more > 0 else []
    return "; ".join(listed) or "nothing"


def _choose(recording: Recording, path: Path) -> Candidate:
    candidates = list(_candidates([part for part in recording.parts if not part.derived]))
    usable = [candidate for candidate in candidates if candidate.is_usable]
    if usable:
        return min(usable, key=lambda candidate: candidate.start_s)
    taken_for = f"{path} was read as {recording.format_name}"
    if not candidates:
        raise UnreadableFile(f"{taken_for} and holds none of the 12 standard leads. It holds: {describe(recording)}")
    if len(recording.parts) == 1 and len(candidates) == 1 and _is_simultaneous(candidates[0]):
        return candidates[0]  # the gate says better what it lacks
    needed = f"{LIMITS.min_duration_s:g} s of 12 simultaneous leads"
    raise UnreadableFile(f"{taken_for} and holds no {needed}. It holds: {describe(recording)}")


def _candidates(parts: Sequence[Part]) -> Iterator[Candidate]:
    """Yield the leads of each part by their rate, and then of all parts together, where no lead comes twice."""
    for part in parts:
        for channels in _by_rate(part.channels):
            yield Candidate((part,), channels)
    if len(parts) > 1:
        for channels in _by_rate(channel for part in parts for channel in part.channels):
            names = [standard_name(channel.name) for channel in channels]
            if len(set(names)) == len(names):
                yield Candidate(tuple(parts), channels)


def _by_rate(channels: Iterable[Channel]) -> list[tuple[Channel, ...]]:
    alike: dict[float, list[Channel]] = defaultdict(list)
    for channel in channels:
        if standard_name(channel.name) and len(channel.millivolts):
            alike[channel.rate_hz].append(channel)
    return [tuple(group) for group in alike.values()]


def _is_simultaneous(candidate: Candidate) -> bool:
    longest = max(channel.duration_s for channel in candidate.channels)
    return candidate.shared_s >= min(longest, LIMITS.min_duration_s) * (1 - 1e-6)


def _on_one_time_line(candidate: Candidate) -> tuple[NDArray[np.float64], float]:
    """Return (leads, samples) over the time that all channels share, and when that time begins."""
    rate_hz, start_s = candidate.channels[0].rate_hz, candidate.start_s
    rows = [channel.millivolts[round((start_s - channel.start_s) * rate_hz) :] for channel in candidate.channels]
    samples = min(map(len, rows))
    return np.stack([row[:samples] for row in rows]).astype(np.float64), start_s


def _describe_part(part: Part) -> str:
    groups = _by_rate(part.channels)
    unknown = listed([channel.name for channel in part.channels if not standard_name(channel.name)])
    if not groups:
        return f"{part.title}: no standard lead, but {unknown or 'no channel'}"
    known = f"{part.title}: " + " and ".join(_describe_group(group) for group in groups)
    return f"{known}, and what is not of the 12 leads: {unknown}" if unknown else known


def _describe_group(group: tuple[Channel, ...]) -> str:
    leads = ", ".join(dict.fromkeys(standard_name(channel.name) or channel.name for channel in group))
    longest, start = max(channel.duration_s for channel in group), min(channel.start_s for channel in group)
    return f"{leads} for {longest:.4g} s at {group[0].rate_hz:g} Hz" + (f", {start:.4g} s later" if start else "")
