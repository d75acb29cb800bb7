"""Missing samples filled in: a gap in some leads from the other leads, a gap in all leads from the most similar beat.

A gap of a sample or two is crossed by a straight line. A straight line across a longer gap cuts off a wave, and the
network answers to what is left. docs/benchmarks.md has the figures.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from .stretch import runs

Signals: TypeAlias = NDArray[np.float32]
Flags: TypeAlias = NDArray[np.bool_]

STRAIGHT_S = 0.01
"""A gap of at most this length is crossed by a straight line."""
CONTEXT_S = 0.2
"""So much of the signal before and after a gap is compared with the rest of the record."""
EXPLAINED = 0.8
"""A lead is filled from other leads if they explain at least this share of its changes in the rest of the record."""
MOST_SEARCHES = 20
"""So many gaps of a record are filled from similar beats, so that a hostile record takes no longer than others. Gaps
at one time in several leads are one."""
RIDGE = 1e-4
"""Added to the powers of the leads, as a share of them, because the limb leads depend on each other."""


def bridge(signals_mv: Signals, rate_hz: float) -> Signals:
    """Return the signals (records, leads, samples) without NaN. They are returned as they are if they have none."""
    if not signals_mv.size or not np.isnan(signals_mv.min()):  # a minimum with a NaN among its values is NaN
        return signals_mv
    bridged = signals_mv.copy()
    for index in np.flatnonzero(np.isnan(bridged).any(axis=(1, 2))):
        bridged[index] = _bridge_record(bridged[index], rate_hz)
    return bridged


def _bridge_record(signals: Signals, rate_hz: float) -> Signals:
    missing = np.isnan(signals)
    bridged = _straight(signals, missing)
    gaps = _long_gaps(missing, STRAIGHT_S * rate_hz)
    if not gaps:
        return bridged
    powers = _powers_of_changes(bridged, missing)
    unexplained: dict[tuple[int, int], list[int]] = defaultdict(list)
    for lead, start, stop in gaps:
        weights = _weights(powers, lead, missing[:, max(0, start - 1) : stop + 1].sum(axis=1) == 0)
        if weights is None:
            unexplained[start, stop].append(lead)
        else:
            _fill(bridged, [lead], start, stop, weights @ _with_ends(bridged, start, stop))
    for (start, stop), leads in islice(unexplained.items(), MOST_SEARCHES):
        if (source := _most_similar(bridged, missing, start, stop, round(CONTEXT_S * rate_hz))) is not None:
            _fill(bridged, leads, start, stop, _with_ends(bridged[leads], source, source + stop - start))
    return bridged


def _straight(signals: Signals, missing: Flags) -> Signals:
    """Return the signals with a straight line across each gap."""
    bridged, places = signals.copy(), np.arange(signals.shape[-1])
    for lead in np.flatnonzero(missing.any(axis=1)):
        gaps = missing[lead]
        bridged[lead, gaps] = np.interp(places[gaps], places[~gaps], signals[lead, ~gaps])
    return bridged


def _long_gaps(missing: Flags, most: float) -> list[tuple[int, int, int]]:
    """Return lead, start and stop of each gap of more than so many samples."""
    found = [(lead, *run) for lead in np.flatnonzero(missing.any(axis=1)).tolist() for run in runs(missing[lead])]
    return [(lead, start, stop) for lead, start, stop in found if stop - start > most]


def _powers_of_changes(signals: Signals, missing: Flags) -> NDArray[np.float64]:
    """Return the products of the leads' changes, (leads, leads), where no lead misses a sample."""
    changes = np.diff(signals.astype(np.float64), axis=1)
    changes[:, (missing[:, 1:] | missing[:, :-1]).any(axis=0)] = 0
    return np.asarray(changes @ changes.T)


def _weights(powers: NDArray[np.float64], lead: int, known: Flags) -> NDArray[np.float64] | None:
    """Return what each lead contributes to the missing one; None if the known leads do not explain it well enough."""
    among = powers[np.ix_(known, known)]
    scale = np.trace(among) / max(1, len(among))
    if not scale > 0:
        return None
    shared = powers[known, lead]
    solved = np.linalg.solve(among + RIDGE * scale * np.eye(len(among)), shared)
    if shared @ solved < EXPLAINED * powers[lead, lead]:
        return None
    weights = np.zeros(len(powers))
    weights[known] = solved
    return weights


def _with_ends(signals: Signals, start: int, stop: int) -> Signals:
    """Return the samples of a gap and one before and after it. At an end of the record, the last one comes twice."""
    places = np.arange(start - 1, stop + 1).clip(0, signals.shape[-1] - 1)
    return signals[..., places]


def _fill(bridged: Signals, leads: list[int], start: int, stop: int, patch: NDArray[Any]) -> None:
    """Write a patch, which has one sample more on either side, so that it continues the signal on both sides."""
    after = bridged[leads, stop] - patch[..., -1] if stop < bridged.shape[-1] else None
    first = bridged[leads, start - 1] - patch[..., 0] if start or after is None else after
    last = first if after is None else after
    ramp = np.linspace(first, last, stop - start + 2, axis=-1)
    bridged[leads, start:stop] = (patch + ramp)[..., 1:-1]


def _most_similar(bridged: Signals, missing: Flags, start: int, stop: int, context: int) -> int | None:
    """Return the place whose surroundings are most like those of the gap, in all leads; None if there is no place.

    The deviation at each place is a sum of squares over the surroundings, each lead without its mean: correlations.
    """
    first, last = max(0, start - context), min(bridged.shape[-1], stop + context)
    places = bridged.shape[-1] - (last - first) + 1
    weights = np.ones(last - first)
    weights[start - first : stop - first] = 0
    wanted = bridged[:, first:last].astype(np.float64)
    wanted -= (wanted @ weights / weights.sum())[:, None]
    signals = bridged.astype(np.float64) - bridged.mean(axis=1, keepdims=True)
    size = fft.next_fast_len(bridged.shape[-1], real=True)
    spectra = fft.rfft(signals, size)
    window = fft.rfft(weights, size).conj()
    power = fft.irfft(fft.rfft((signals**2).sum(axis=0), size) * window, size)
    means = fft.irfft(spectra * window, size)
    alike = fft.irfft((spectra * fft.rfft(wanted * weights, size).conj()).sum(axis=0), size)
    deviation = (power - (means**2).sum(axis=0) / weights.sum() - 2 * alike)[:places]
    gone = np.concatenate([[0], np.cumsum(missing.any(axis=0))])
    sources = np.arange(places) + start - first
    whole = gone[np.minimum(sources + stop - start + 1, missing.shape[-1])] == gone[np.maximum(sources - 1, 0)]
    if not whole.any():
        return None
    return int(sources[np.argmin(np.where(whole, deviation, np.inf))])
