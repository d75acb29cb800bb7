"""Makes an ECG record of what a reader found: the part, or the combination of parts, that holds 12 leads for 9 s.

The first part of a file does not stand for the file. A DICOM may hold a median beat before the rhythm, or the limb
leads and the chest leads in two groups. Channels are put on one time line before they are called simultaneous.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import tzinfo
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.gate import LIMITS
from inference.geometry import MICROVOLTS_PER_STEP
from inference.lead_names import listed
from inference.leads import standard_name
from schemas.ecg_record import LEADS, MAX_STEP, MISSING_SAMPLE, EcgRecord, Remark, bounded_remarks
from schemas.errors import UnreadableFile
from schemas.record_limits import is_identifier

from .candidates import INDEPENDENT, Candidate, best_of, by_rate, candidates_of, other_samples
from .joined import joined
from .recorded_at import instant
from .recording import Channel, Part, Recording
from .time_line import stretch_of

LISTED_PARTS = 8
LISTED_CHANNELS = 12
"""An error lists at most this many parts, and this many channels of a part one by one."""
COARSEST_STEP_UV = 1.0
"""A record has this step, where the file has no step of its own for all leads, or a finer one."""
EXACT = 1e-3
"""Samples that are off a step by less of it are multiples of the step, but for the rounding of their arithmetic."""


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
    parts = joined([_timed(part) for part in recording.parts])
    candidate, remarks = _choose(recording, parts, path)
    stretch = stretch_of(candidate)
    samples, step_uv = stretch.samples, stretch.step_uv
    if step_uv is None:
        samples, step_uv = in_steps(samples, _own_step(candidate.channels))
    recorded_at, doubts = instant(recording.recorded_at, stretch.start_s, zone)
    return EcgRecord(
        record_id=path.stem,
        patient_id=_identifier(recording.patient_id),
        device_id=_identifier(recording.device_id),
        leads=tuple(standard_name(channel.name) or channel.name for channel in candidate.channels),
        sample_rate_hz=float(candidate.channels[0].rate_hz),
        microvolts_per_step=step_uv,
        samples=samples.astype("<i2", copy=False).tobytes(),
        recorded_at=recorded_at,
        age_years=recording.age_years,
        sex=recording.sex,
        paced=recording.paced,
        remarks=bounded_remarks(tuple(dict.fromkeys((*remarks, *stretch.remarks, *recording.remarks, *doubts)))),
    )


def in_steps(millivolts: NDArray[Any], own_step_uv: float | None = None) -> tuple[NDArray[np.int16], float]:
    """Return int16 steps (leads, samples) and the step in µV. NaN becomes `MISSING_SAMPLE`.

    Args:
        millivolts: (leads, samples).
        own_step_uv: the file's step. It is kept if all samples are multiples of it that an int16 holds. If they are
            not, the step is no coarser than it.
    """
    missing = ~np.isfinite(millivolts)
    some_missing = bool(missing.any())
    known = np.where(missing, 0.0, millivolts) if some_missing else millivolts
    step_uv = own_step_uv
    whole = _whole_steps(known, step_uv) if step_uv is not None else None
    if whole is None or step_uv is None:
        highest_uv = float(np.abs(known).max(initial=0.0)) * 1e3
        wanted_uv = min(COARSEST_STEP_UV, step_uv or COARSEST_STEP_UV)
        step_uv = max(MICROVOLTS_PER_STEP if highest_uv > MAX_STEP else wanted_uv, highest_uv / MAX_STEP)
        whole = np.rint(known * (1e3 / step_uv)).clip(-MAX_STEP, MAX_STEP)
    steps = whole.astype("<i2")
    if some_missing:
        steps[missing] = MISSING_SAMPLE
    return steps, step_uv


def describe(parts: Sequence[Part]) -> str:
    """Return what a recording holds, part by part, for an error."""
    listed = [_describe_part(part) for part in parts[:LISTED_PARTS]]
    if (more := len(parts) - LISTED_PARTS) > 0:
        listed.append(f"{more} further parts")
    return "; ".join(listed) or "nothing"


def _timed(part: Part) -> Part:
    """Return a part of which no channel has an impossible rate or start."""
    return replace(part, channels=tuple(map(_timed_channel, part.channels)))


def _timed_channel(channel: Channel) -> Channel:
    if 0 < channel.rate_hz < math.inf and math.isfinite(channel.start_s):
        return channel
    when = f"at {channel.rate_hz:g} samples a second, {channel.start_s:g} s later"
    return replace(channel, samples=channel.samples[:0], rate_hz=1.0, start_s=0.0, unusable=when)


def _choose(recording: Recording, parts: Sequence[Part], path: Path) -> tuple[Candidate, list[Remark]]:
    candidates = candidates_of(parts)
    usable = [candidate for candidate in candidates if candidate.is_usable]
    if usable:
        best = best_of(usable)
        return best, _remarks_on(best, usable, parts)
    if _is_for_the_gate(candidates, parts):
        return candidates[0], []
    raise _refusal(candidates, parts, f"{path} was read as {recording.format_name}")


def _remarks_on(best: Candidate, usable: Sequence[Candidate], parts: Sequence[Part]) -> list[Remark]:
    remarks = []
    if (number := 1 + _apart_from(best, usable)) > 1:
        taken = " and ".join(part.title for part in best.parts)
        sentence = f"the file holds {number} usable ECGs: {taken} was taken"
        remarks.append(Remark("several_recordings", sentence))
    if len(best.parts) > 1 and (twice := ", ".join(other_samples(best, parts))):
        sentence = f"parts of the file that were combined have different samples of {twice}: the longer, or first, ones"
        remarks.append(Remark("lead_twice", f"{sentence} were taken"))
    if best.is_derived:
        remarks.append(Remark("derived_signal", "the file says that these samples were computed from others"))
    return remarks


def _apart_from(best: Candidate, usable: Sequence[Candidate]) -> int:
    """Return how many usable candidates share no channel with the best one, nor with each other."""
    seen = {id(channel) for channel in best.channels}
    number = 0
    for candidate in usable:
        channels = {id(channel) for channel in candidate.channels}
        if not channels & seen:
            seen |= channels
            number += 1
    return number


def _is_for_the_gate(candidates: Sequence[Candidate], parts: Sequence[Part]) -> bool:
    """Whether the file holds one simultaneous set of the leads, which is too short: the gate says by how much."""
    if len(parts) != 1 or len(candidates) != 1 or candidates[0].doubled or not candidates[0].is_complete:
        return False
    longest = max(channel.duration_s for channel in candidates[0].channels)
    return candidates[0].lasts(min(longest, LIMITS.min_duration_s))


def _refusal(candidates: Sequence[Candidate], parts: Sequence[Part], taken_for: str) -> UnreadableFile:
    holds = f"It holds: {describe(parts)}"
    if not candidates:
        return UnreadableFile(f"{taken_for} and holds none of the 12 standard leads. {holds}")
    found = {standard_name(channel.name) for candidate in candidates for channel in candidate.channels}
    if missing := ", ".join(lead for lead in LEADS if lead in INDEPENDENT and lead not in found):
        return UnreadableFile(f"{taken_for} and lacks {missing}. {holds}", code="missing_lead", leads=missing)
    if doubled := ", ".join(next((candidate.doubled for candidate in candidates if candidate.doubled), ())):
        sentence = f"{taken_for}, where two different channels are named {doubled}: name each lead once. {holds}"
        return UnreadableFile(sentence, code="duplicate_lead", leads=doubled)
    needed = f"{LIMITS.min_duration_s:g} s of 12 leads at one time"
    if any(candidate.is_complete and _ends_together(candidate) for candidate in candidates):
        return UnreadableFile(f"{taken_for} and is too short: the network needs {needed}. {holds}", code="too_short")
    sentence = f"{taken_for}, and its leads were not recorded at one time: the network needs {needed}. {holds}"
    return UnreadableFile(sentence, code="not_simultaneous")


def _ends_together(candidate: Candidate) -> bool:
    return candidate.lasts(max(channel.duration_s for channel in candidate.channels))


def _own_step(channels: Sequence[Channel]) -> float | None:
    """Return the step that all channels share; the finest one, where they have different ones."""
    steps = [channel.step_uv for channel in channels]
    known = [step for step in steps if step and math.isfinite(step) and step > 0]
    return min(known) if len(known) == len(steps) else None


def _whole_steps(millivolts: NDArray[Any], step_uv: float) -> NDArray[Any] | None:
    """Return the samples in steps, or None if they are no multiples of the step that an int16 holds."""
    steps = millivolts * (1e3 / step_uv)
    whole = np.rint(steps)
    if max(whole.max(initial=0.0), -whole.min(initial=0.0)) > MAX_STEP:
        return None
    steps -= whole
    return whole if np.abs(steps, out=steps).max(initial=0.0) <= EXACT else None


def _identifier(text: str | None) -> str | None:
    return text if text and is_identifier(text) else None


def _describe_part(part: Part) -> str:
    groups = by_rate(part.channels)
    said = [_describe_group(group) for group in groups]
    said += [f"{channel.name or 'a channel'} {channel.unusable}" for channel in part.channels if channel.unusable]
    unknown = listed([channel.name for channel in part.channels if not standard_name(channel.name)])
    if not said:
        return f"{part.title}: " + (f"no standard lead, but {unknown}" if unknown else "no channel")
    known = f"{part.title}: " + " and ".join(said[:LISTED_CHANNELS])
    return f"{known}, and what is not of the 12 leads: {unknown}" if unknown else known


def _describe_group(group: tuple[Channel, ...]) -> str:
    leads = ", ".join(dict.fromkeys(standard_name(channel.name) or channel.name for channel in group))
    longest, start = max(channel.duration_s for channel in group), min(channel.start_s for channel in group)
    return f"{leads} for {longest:.4g} s at {group[0].rate_hz:g} Hz" + (f", {start:.4g} s later" if start else "")
