"""Pacing spikes in the signal: what a pacemaker's pulse leaves of itself in a record of 500 Hz or more.

A pulse lasts 0.1 to 2 ms. Behind a low-pass filter of 100 Hz or more it is a peak of at most 4 ms to either side, many
times narrower than any wave of the heart. It comes out of a quiet signal, because it precedes the wave that it starts.
The current flows between two fixed places, so all pulses of an electrode divide among the leads in one proportion; only
sign and size differ, by the moment of sampling. And pulses keep time: with each other, or with the QRS complex.

Below 500 Hz a pulse falls between the samples, or the filter before the sampling removes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from schemas.ecg_record import LEADS

Signals: TypeAlias = NDArray[np.float32]
Places: TypeAlias = NDArray[np.intp]
Flags: TypeAlias = NDArray[np.bool_]

MIN_RATE_HZ = 500.0
"""Below this rate, nobody can tell whether a record is paced."""
NEAR_S = 0.004
"""A spike has ended this long after its peak."""
FAR_S = 0.01
"""The waves of the heart have not ended this long after their peak."""
SMALLEST_MV = 0.08
"""The smallest spike, as the root of the sum of its squares in the eight independent leads."""
ABOVE_NOISE = 3.5
"""A spike is so many times larger than what the same measure has in the median of the record."""
NARROWEST = 0.6
"""The height of a spike above the signal 4 ms away, relative to its height above the signal 10 ms away. A wave of 30 ms
has 0.2, one of 20 ms 0.35, a spike behind a filter of 100 Hz 1."""
QUIET = 0.5
"""How far the signal may move from 14 to 8 ms before a spike, relative to the spike's height. Behind a steep filter,
the spike itself begins up to 8 ms before its peak."""
QUIET_S = (0.014, 0.008)
BACK = 1.5
"""How far the signal may be, 4 ms after a spike, from where it was 4 ms before it, relative to the spike's height. A
step has 2, a spike whose tail decays within 25 ms 1.5."""
ALONE = 0.5
"""Nothing from 40 to 8 ms before a spike is as sharp as this share of it, or the spike is one of a burst of noise."""
ALONE_S = (0.04, 0.008)
ALIKE = 0.85
"""The cosine between two spikes of one electrode, as vectors over the leads."""
OF_A_SIZE = 2.5
"""The largest ratio of the heights of two spikes of one electrode."""
MANY_LEADS = 4
VISIBLE = 0.25
"""A pulse has this share of its largest height in at least so many of the eight independent leads."""
ONE_ELECTRODE = 0.95
"""A form that is more alike than this to what one electrode gives, as a cosine, is the noise of that electrode."""
FORMS = 3
"""So many electrodes are looked for: atrium and two ventricles."""
FEWEST = 4
"""Spikes of one form in 10 s. A pacemaker gives at least five, at 30 a minute, while it paces."""
IN_TIME = 0.8
"""The share of spikes, or of their intervals, that keep time."""
INTERVALS_S = (0.3, 2.0)
"""The intervals between pulses, at 200 to 30 a minute."""
LIKE_INTERVALS = 0.04
"""The largest difference of an interval to the median interval, relative to that."""
LIKE_DELAYS_S = 0.012
"""The largest difference of the time between spike and QRS complex to its median."""
LONGEST_DELAY_S = 0.4

LIMBS, CHEST = slice(0, 2), slice(LEADS.index("V1"), LEADS.index("V6") + 1)
INDEPENDENT = np.r_[LIMBS, CHEST]
"""The independent leads: I and II, V1 to V6. The others follow from them."""


def _electrode_forms() -> Signals:
    """Return what a potential at each of the nine electrodes gives in the independent leads, (9, 8), of length 1."""
    limbs = {"RA": (-1, -1), "LA": (1, 0), "LL": (0, 1)}
    forms = [(*pair, *(6 * [-1 / 3])) for pair in limbs.values()]  # a chest lead is taken against the mean of the limbs
    forms += [(0, 0, *(float(place == own) for place in range(6))) for own in range(6)]
    return np.array([np.divide(form, np.linalg.norm(form)) for form in forms], np.float32)


ELECTRODE_FORMS = _electrode_forms()


@dataclass(frozen=True, slots=True)
class Spikes:
    """The pacing spikes of a record.

    Attributes:
        places: where they are, in samples.
        per_minute: how many.
        amplitude_mv: the median height in the lead where it is largest.
    """

    places: Places
    per_minute: float
    amplitude_mv: float


@dataclass(frozen=True, slots=True)
class _Peaks:
    """Sharp places of several records.

    Attributes:
        owners: the index of the record of each.
        places: in samples.
        heights: (peaks, 8) above the signal 4 ms before and after.
    """

    owners: Places
    places: Places
    heights: Signals

    def kept(self, which: Flags) -> _Peaks:
        return _Peaks(self.owners[which], self.places[which], self.heights[which])

    def moved(self, signals: Signals, start: int, stop: int) -> Signals:
        """Return how far the leads move between two offsets to each peak."""
        return _at(signals, self.owners, self.places + stop) - _at(signals, self.owners, self.places + start)


def find_spikes(signals_mv: Signals, rate_hz: float) -> Iterator[tuple[int, Spikes]]:
    """Yield the records that have pacing spikes: their index, and the spikes of the electrode that gives most of them.

    Args:
        signals_mv: (records, 12, samples), NaN where a sample is missing.
        rate_hz: of the signals, at least `MIN_RATE_HZ`.
    """
    near = round(NEAR_S * rate_hz)
    sharpness = _sharpness(signals_mv, near)
    peaks = _peaks(signals_mv, sharpness, rate_hz)
    for keep in (_are_narrow, _come_back, _begin_quietly):  # few are narrow, and only these are looked at further
        peaks = peaks.kept(keep(signals_mv, peaks, rate_hz))
    peaks = peaks.kept(_are_alone(sharpness, peaks, rate_hz))
    for index in np.flatnonzero(np.bincount(peaks.owners) >= FEWEST).tolist():
        own = peaks.kept(peaks.owners == index)
        if (spikes := _in_time(signals_mv[index], own, rate_hz)) is not None:
            yield index, spikes


def _sharpness(signals: Signals, near: int) -> Signals:
    """Return how sharp the signal is at each sample but the first and the last: a square, summed over the leads."""
    sharpness = np.zeros((len(signals), signals.shape[-1] - 2 * near), np.float32)
    for part in (LIMBS, CHEST):
        leads = signals[:, part]
        rises = leads[..., near:] - leads[..., :-near]
        bends = rises[..., :-near] - rises[..., near:]
        sharpness += np.einsum("rls,rls->rs", bends, bends)
    return sharpness


def _peaks(signals: Signals, sharpness: Signals, rate_hz: float) -> _Peaks:
    """Return the places that are sharper than noise and than the places beside them."""
    near, edge = round(NEAR_S * rate_hz), round(ALONE_S[0] * rate_hz)
    level = np.median(np.nan_to_num(sharpness[:, ::16]), axis=1)
    least = np.maximum(np.float32((2 * SMALLEST_MV) ** 2), np.float32(ABOVE_NOISE**2) * level)
    owners, places = np.divmod(np.flatnonzero(sharpness > least[:, None]), sharpness.shape[1])
    inside = (places >= edge) & (places < sharpness.shape[1] - edge)
    owners, places = owners[inside], places[inside]
    around = sharpness[owners[:, None], places[:, None] + np.arange(-near, near + 1)]
    highest = np.argmax(around, axis=1) == near
    owners, places = owners[highest], places[highest] + near
    return _Peaks(owners, places, _heights(signals, owners, places, near))


def _at(signals: Signals, owners: Places, places: Places) -> Signals:
    """Return the independent leads at these places, (places, 8)."""
    return np.asarray(signals[owners[:, None], INDEPENDENT, places[:, None]])


def _heights(signals: Signals, owners: Places, places: Places, away: int) -> Signals:
    """Return how far each place lies above the signal before and after it, (places, 8)."""
    at, before, after = (_at(signals, owners, places + offset) for offset in (0, -away, away))
    return np.asarray(at - (before + after) / 2)


def _are_narrow(signals: Signals, peaks: _Peaks, rate_hz: float) -> Flags:
    """Return which peaks are narrow."""
    wide = _lengths(_heights(signals, peaks.owners, peaks.places, round(FAR_S * rate_hz)))
    return np.asarray(_lengths(peaks.heights) >= NARROWEST * wide)


def _come_back(signals: Signals, peaks: _Peaks, rate_hz: float) -> Flags:
    """Return which peaks end about where they began."""
    near = round(NEAR_S * rate_hz)
    return np.asarray(_lengths(peaks.moved(signals, -near, near)) <= BACK * _lengths(peaks.heights))


def _begin_quietly(signals: Signals, peaks: _Peaks, rate_hz: float) -> Flags:
    """Return which peaks come out of a quiet signal."""
    unrest = _lengths(peaks.moved(signals, *(-round(before * rate_hz) for before in QUIET_S)))
    return np.asarray(unrest <= QUIET * _lengths(peaks.heights))


def _are_alone(sharpness: Signals, peaks: _Peaks, rate_hz: float) -> Flags:
    """Return which peaks have nothing as sharp shortly before them."""
    first, last = (round(before * rate_hz) for before in ALONE_S)
    places = peaks.places[:, None] - round(NEAR_S * rate_hz)  # the sharpness begins that much later
    at, before = (sharpness[peaks.owners[:, None], places - away] for away in (0, np.arange(last, first)))
    return np.asarray(before.max(axis=1) <= ALONE**2 * at[:, 0])


def _in_time(signals: Signals, peaks: _Peaks, rate_hz: float) -> Spikes | None:
    """Return the spikes of the form that is most frequent among those that keep time."""
    sizes = _lengths(peaks.heights)
    forms = peaks.heights / sizes[:, None]
    ratios = sizes[:, None] / sizes
    alike = (forms @ forms.T >= ALIKE) & (ratios <= OF_A_SIZE) & (ratios >= 1 / OF_A_SIZE)
    for _ in range(FORMS):
        form = alike[np.argmax(alike.sum(axis=1))]
        places = peaks.places[form]
        if len(places) < FEWEST:
            return None
        shape = np.median(peaks.heights[form], axis=0)
        in_time = _keep_time(places / rate_hz) or _precede_qrs(signals, places, rate_hz)
        if in_time and _is_far_field(shape):
            return Spikes(places, 60 * len(places) * rate_hz / signals.shape[-1], float(np.abs(shape).max()))
        alike = alike & ~form & ~form[:, None]
    return None


def _is_far_field(shape: Signals) -> bool:
    """Return whether a form is seen in many leads and does not come from one electrode."""
    heights = np.abs(shape)
    many = (heights >= VISIBLE * heights.max()).sum() >= MANY_LEADS
    of_one = np.abs(ELECTRODE_FORMS @ shape).max() > ONE_ELECTRODE * np.linalg.norm(shape)
    return bool(many) and not of_one


def _lengths(vectors: Signals) -> Signals:
    return np.asarray(np.sqrt(np.einsum("pl,pl->p", vectors, vectors)))


def _keep_time(times_s: NDArray[np.float64]) -> bool:
    intervals = np.diff(times_s)
    usual = float(np.median(intervals))
    regular = (np.abs(intervals - usual) <= LIKE_INTERVALS * usual).mean() >= IN_TIME
    return bool(regular) and INTERVALS_S[0] <= usual <= INTERVALS_S[1]


def _precede_qrs(signals: Signals, places: Places, rate_hz: float) -> bool:
    """Return whether the steepest place after each spike comes after the same time."""
    near, width, last = round(NEAR_S * rate_hz), round(2 * FAR_S * rate_hz), round(LONGEST_DELAY_S * rate_hz)
    places = places[places + near + last < signals.shape[-1]]
    if len(places) < FEWEST:
        return False
    after = signals[:, places[:, None] + near + np.arange(last)]
    steepness = np.abs(after[..., width:] - after[..., :-width]).sum(axis=0)
    delays = np.argmax(np.nan_to_num(steepness), axis=1) / rate_hz
    return bool((np.abs(delays - np.median(delays)) <= LIKE_DELAYS_S).mean() >= IN_TIME)
