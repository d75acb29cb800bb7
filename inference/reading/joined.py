"""Parts that continue each other, as the segments of one recording do, made one part again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .recording import Channel, Part

LONGEST_GAP_S = 1.0
"""A longer gap parts two recordings, and so does a gap that is longer than what came before it. A shorter one becomes
missing samples. So the joined part is at most twice as long as its pieces."""


def joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return the parts, those that continue each other joined, in the order of the file."""
    runs: list[list[Part]] = []
    for part in parts:
        if runs and _continues(runs[-1][-1], part):
            runs[-1].append(part)
        else:
            runs.append([part])
    return tuple(_as_one(run) for run in runs)


def _continues(first: Part, then: Part) -> bool:
    """Whether the same channels go on, all after a gap of the same length, without overlapping."""
    if not first.channels or first.derived != then.derived or len(first.channels) != len(then.channels):
        return False
    return all(_goes_on(one, other) for one, other in zip(first.channels, then.channels, strict=True))


def _goes_on(one: Channel, other: Channel) -> bool:
    if (one.name, one.rate_hz, one.unusable) != (other.name, other.rate_hz, other.unusable):
        return False
    gap_s = other.start_s - one.start_s - one.duration_s
    return -0.5 / one.rate_hz < gap_s <= min(LONGEST_GAP_S, one.duration_s)


def _as_one(run: Sequence[Part]) -> Part:
    if len(run) == 1:
        return run[0]
    channels = tuple(_in_a_row(pieces) for pieces in zip(*(part.channels for part in run), strict=True))
    return Part(f"{run[0].title} to {run[-1].title}", channels, run[0].derived)


def _in_a_row(pieces: Sequence[Channel]) -> Channel:
    """Return one channel of all pieces, NaN in the gaps between them."""
    first = pieces[0]
    places = [round((piece.start_s - first.start_s) * first.rate_hz) for piece in pieces]
    row: NDArray[np.float64] = np.full(places[-1] + len(pieces[-1].samples), np.nan)
    for place, piece in zip(places, pieces, strict=True):
        row[place : place + len(piece.samples)] = piece.millivolts
    steps = {piece.step_uv for piece in pieces}
    return replace(first, samples=row, steps_per_mv=None, step_uv=steps.pop() if len(steps) == 1 else None)
