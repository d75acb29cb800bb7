"""The sets of channels of a recording that may make an ECG record, and which of them is the best.

A candidate is one part of the file, or channels of several parts that ran at one rate and time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from inference.gate import LIMITS
from inference.leads import DERIVATIONS, standard_name
from inference.waveform import MAX_DURATION_S
from schemas.ecg_record import LEADS

from .recording import Channel, Part

INDEPENDENT = frozenset(LEADS) - set(DERIVATIONS)
"""The leads that no other lead replaces."""
TOLERANCE = 1 + 1e-6
"""A length that lacks less than this was rounded."""
MOST_TRIALS = 1_000_000
"""A combination is looked for at so many starts that this many channels are looked at."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Channels that may make the record: of one rate, and each lead once, but for the `doubled` ones.

    Attributes:
        parts: those that the channels come from.
        doubled: leads of which one part has two different channels. Nobody can tell which one is meant.
    """

    parts: tuple[Part, ...]
    channels: tuple[Channel, ...]
    doubled: tuple[str, ...] = ()

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
        return self.is_complete and not self.doubled and self.lasts(LIMITS.min_duration_s)

    @property
    def is_derived(self) -> bool:
        """Whether a part was computed from other samples."""
        return any(part.derived for part in self.parts)

    @property
    def has_usable_rate(self) -> bool:
        """Whether the gate accepts the rate. A pacemaker channel, for one, may have a higher one."""
        return LIMITS.min_rate_hz <= self.channels[0].rate_hz <= LIMITS.max_rate_hz

    def lasts(self, duration_s: float) -> bool:
        """Whether all channels run at once for so long."""
        return self.shared_s * TOLERANCE >= duration_s


def best_of(candidates: Iterable[Candidate]) -> Candidate:
    """Return the candidate to take: one that was recorded before a derived one, 10 s before 9 s, and then the first."""
    return min(candidates, key=_order)


def candidates_of(parts: Sequence[Part]) -> list[Candidate]:
    """Return the leads of each part by their rate; where none of these is usable, combinations of parts as well."""
    alone = [Candidate((part,), *_each_once(channels)) for part in parts for channels in by_rate(part.channels)]
    if len(parts) < 2 or any(candidate.is_usable for candidate in alone):
        return alone
    return alone + list(_combinations(parts, alone))


def other_samples(chosen: Candidate, parts: Sequence[Part]) -> list[str]:
    """Return the leads that a recorded part has with other samples at the same time and rate than the chosen ones."""
    own = {standard_name(channel.name): channel for channel in chosen.channels}
    found = [
        standard_name(channel.name)
        for part in parts
        if not part.derived
        for channel in part.channels
        if not channel.unusable and (known := own.get(standard_name(channel.name))) and not _agree(known, channel)
    ]
    return [lead for lead in dict.fromkeys(found) if lead]


def by_rate(channels: Iterable[Channel]) -> list[tuple[Channel, ...]]:
    """Return the channels that are standard leads in volts, by their rate."""
    alike: dict[float, list[Channel]] = defaultdict(list)
    for channel in channels:
        if not channel.unusable and len(channel.samples) and standard_name(channel.name):
            alike[channel.rate_hz].append(channel)
    return [tuple(group) for group in alike.values()]


def _order(one: Candidate) -> tuple[bool, bool, bool, float]:
    return one.is_derived, not one.has_usable_rate, not one.lasts(MAX_DURATION_S), one.start_s


def _each_once(channels: Sequence[Channel]) -> tuple[tuple[Channel, ...], tuple[str, ...]]:
    """Return the first channel of each lead, and the leads whose further channels differ from it."""
    first: dict[str, Channel] = {}
    doubled: dict[str, None] = {}
    for channel in channels:
        lead = standard_name(channel.name) or channel.name
        if not _is_same(first.setdefault(lead, channel), channel):
            doubled[lead] = None
    return tuple(first.values()), tuple(doubled)


def _is_same(one: Channel, other: Channel) -> bool:
    return one is other or (
        one.start_s == other.start_s and np.array_equal(one.millivolts, other.millivolts, equal_nan=True)
    )


def _agree(one: Channel, other: Channel) -> bool:
    """Return whether two channels have the same samples, as far as they can be compared: at one rate, at one time."""
    if one is other or one.rate_hz != other.rate_hz:
        return True
    late = round((other.start_s - one.start_s) * one.rate_hz)
    first, second = one.millivolts[max(late, 0) :], other.millivolts[max(-late, 0) :]
    shared = min(len(first), len(second))
    return np.array_equal(first[:shared], second[:shared], equal_nan=True)


def _combinations(parts: Sequence[Part], alone: Sequence[Candidate]) -> Iterator[Candidate]:
    """Yield for each rate the channels of all recorded parts that run for long enough from one time."""
    doubled = {lead for candidate in alone for lead in candidate.doubled}
    owners = {id(channel): part for part in parts if not part.derived for channel in part.channels}
    for channels in by_rate(channel for part in parts if not part.derived for channel in part.channels):
        long = [channel for channel in channels if channel.duration_s * TOLERANCE >= LIMITS.min_duration_s]
        single = [channel for channel in long if standard_name(channel.name) not in doubled]
        starts = sorted({channel.start_s for channel in single})
        for start_s in starts[: MOST_TRIALS // max(len(single), 1)]:
            chosen = _running_from(start_s, single)
            yield Candidate(_in_order(owners[id(channel)] for channel in chosen), chosen)


def _running_from(start_s: float, channels: Sequence[Channel]) -> tuple[Channel, ...]:
    """Return one channel of each lead that runs from that time on, the longest one, in the order of the file."""
    chosen: dict[str, Channel] = {}
    for channel in channels:
        lead, end_s = standard_name(channel.name) or channel.name, channel.start_s + channel.duration_s
        if channel.start_s <= start_s + 0.5 / channel.rate_hz and end_s > start_s:
            kept = chosen.setdefault(lead, channel)
            if kept.start_s + kept.duration_s < end_s:
                chosen[lead] = channel
    return tuple(chosen.values())


def _in_order(parts: Iterable[Part]) -> tuple[Part, ...]:
    return tuple({id(part): part for part in parts}.values())
